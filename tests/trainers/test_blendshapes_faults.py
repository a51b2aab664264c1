"""Real mistakes with blendshapes, each seeded on purpose and reported with its code."""

from dataclasses import replace
from pathlib import Path

import faces
import numpy as np
import pytest
import torch
from faces import check, edit, errors, folder, messages, pristine, train_file

from trainers import registry
from trainers.blendshapes import file_checks, files, names
from trainers.blendshapes.config import Config
from trainers.blendshapes.data import values_of
from trainers.blendshapes.trainer import BlendshapesTrainer
from trainers.data import normalise
from trainers.engine import rng
from trainers.engine.events import Silent
from trainers.tasks.classifier import Sample

__all__ = ["folder", "pristine"]


@pytest.mark.parametrize(("model", "hidden"), [("dense", [16]), ("lstm", [32])])
def test_the_healthy_sample_is_passed(pristine, model, hidden):
    report, code = check(pristine, "full", model=model, hidden=hidden)
    assert (code, errors(report), report["skipped"]) == (0, set(), [])
    assert {check.code for check in registry.checks("blendshapes")} <= set(report["checked"])


def test_the_broken_rows_of_the_sample_are_named_by_line_and_reason(tmp_path):
    report, code = check(faces.write(tmp_path), tier="files")
    assert code == 0
    whys = {Path(r["file"]).name: r["why"] for r in report["data"]["refused"]}
    assert "did you mean happy?" in whys["train.csv:3"]
    assert "FER2013's are 0 angry" in whys["train.csv:4"]
    assert "holds NaN" in whys["train.csv:5"]
    assert "mouthSmileLeft is 1.7" in whys["train.csv:6"]
    assert "mouthSmileLeft is ''" in whys["train.csv:7"]
    assert "51 of 55" in whys["train.csv:8"]


# Names and their order


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("browInnerUp", "browInerUp", "did you mean browInnerUp?"),
        ("label", "labels", "did you mean label?"),
        ("mouthSmileLeft", "file2", "no blendshape"),
        ("mouthSmileLeft", "mouthSmileRight", "twice"),
        ("browInnerUp", "", "no blendshape"),
    ],
)
def test_a_column_of_another_name_refuses_the_file(folder, old, new, message):
    path = train_file(folder)
    first, rest = path.read_text().split("\n", 1)
    path.write_text(first.replace(old, new, 1) + "\n" + rest)
    report, code = check(folder)
    assert (code, message in messages(report, "schema.layout")) == (64, True)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("0.1,0.2,0.3\n0.1,0.2,0.3\n", "has no header"),
        ("label|browInnerUp\nhappy|0.1\n", "not separated by commas"),
        ("label,browInnerUp\nhappy,0.1\n", "lacks columns: browDownLeft"),
        ("\n\n", "is empty"),
        ('label,"browInnerUp\nhappy,0.1\n', "is no readable CSV"),
    ],
)
def test_a_file_that_is_no_table_of_blendshapes_is_refused(folder, content, message):
    (folder / "blendshapes" / "more.csv").write_text(content)
    report, code = check(folder)
    assert (code, message in messages(report, "schema.layout")) == (64, True)


def test_columns_in_another_order_are_matched_by_name_with_a_warning(folder, pristine):
    edit(train_file(folder), lambda rows: [dict(reversed(row.items())) for row in rows])
    report, code = check(folder)
    assert (code, "are not in MediaPipe's order" in messages(report, "schema.layout")) == (0, True)
    original, turned = (
        files.scan({"": place / "blendshapes"}, Config()).rows for place in (pristine, folder)
    )
    assert [row.values for row in original] == [row.values for row in turned]


# Values


def test_normalised_scores_are_refused_with_the_expected_form(folder):
    def normalise_all(rows: faces.Rows) -> None:
        for name in names.ALL:
            column = np.array([float(row[name]) for row in rows])
            for row, value in zip(rows, (column - column.mean()) / (column.std() + 1e-12), strict=True):
                row[name] = repr(float(value))

    for path in (folder / "blendshapes").glob("*.csv"):
        edit(path, normalise_all)
    report, code = check(folder)
    assert code == 65
    assert "outside 0 to 1" in messages(report, "labels.nonempty")


def test_broken_rows_beyond_the_budget_are_refused(folder):
    def spoil(rows: faces.Rows) -> None:
        for row in rows[::8]:
            row["jawOpen"] = "2.5"

    edit(train_file(folder), spoil)
    edit(train_file(folder), lambda rows: [{**rows[0], "label": "hapy"}, *rows[1:]])
    report, code = check(folder)
    assert (code, errors(report)) == (64, {"feature.unit"})
    fix = next(f["fix"] for f in report["findings"] if f["code"] == "feature.unit")
    assert "the model normalises by itself" in fix


def test_scores_that_never_vary_are_listed(pristine):
    report, code = check(pristine, "full", columns=52, hidden=[8])
    message = messages(report, "feature.columns")
    assert code == 0
    assert all(name in message for name in ("_neutral", "cheekSquintLeft", "noseSneerLeft", "noseSneerRight"))
    assert "mouthSmileLeft" not in message


def round_all(digits: int):
    def change(rows: faces.Rows) -> None:
        for row in rows:
            row.update({name: str(round(float(row[name]), digits)) for name in names.ALL})

    return change


def test_rounded_scores_are_reported_with_their_decimals(folder):
    for path in (folder / "blendshapes").glob("*.csv"):
        edit(path, round_all(4))
    report, code = check(folder)
    assert (code, messages(report, "dtype.truncate")) == (0, "every value is rounded to 4 decimals")


def test_rounding_that_makes_a_class_vanish_is_refused(folder):
    def fade(rows: faces.Rows) -> None:
        for number, row in enumerate(rows):  # sad faces that differ only in their fifth decimal
            if row["label"] in ("sad", "neutral"):
                row.update(dict.fromkeys(names.ALL, f"{0.2 + number * 1e-06:.6f}"))

    for path in (folder / "blendshapes").glob("*.csv"):
        edit(path, fade)
    assert "dtype.truncate" not in errors(check(folder)[0])
    for path in (folder / "blendshapes").glob("*.csv"):
        edit(path, round_all(4))
    report, code = check(folder)
    assert code == 64
    assert "every row of sad, neutral equals a row of another class" in messages(report, "dtype.truncate")


# Labels and splits


def test_a_class_that_is_missing_is_refused(folder):
    edit(folder / "blendshapes" / "val.csv", lambda rows: [row for row in rows if row["label"] != "sad"])
    report, code = check(folder)
    assert (code, "val holds no sad" in messages(report, "balance")) == (64, True)


@pytest.mark.parametrize(
    ("config", "key"),
    [
        ({"classes": ["happy"]}, "classes"),
        ({"classes": ["happy", "hapy"]}, "classes"),
        ({"classes": ["happy", "sad"], "others": "unknown"}, "others"),
        ({"columns": 30}, "columns"),
        ({"classes": "happy"}, "classes"),
    ],
)
def test_class_sets_that_make_no_sense_are_refused_by_their_key(pristine, config, key):
    report, code = check(pristine, "config", **config)
    assert (code, {f["key"] for f in report["findings"]}) == (64, {key})


def test_other_emotions_become_one_class_if_configured(pristine):
    report, code = check(pristine, classes=["happy", "sad", "unknown"], others="unknown")
    assert code == 0
    (table,) = [t for t in report["data"]["tables"] if t["title"] == "Rows by class"]
    assert [row[0] for row in table["rows"][:3]] == ["happy", "sad", "unknown"]
    assert report["data"]["used"] == report["data"]["samples"]


def test_balanced_sampling_draws_every_class_equally_often(pristine):
    folders = {"": pristine / "blendshapes"}
    trainer = BlendshapesTrainer.open(Config(sampling="balanced"), folders, pristine, Silent())
    size = trainer.size("train")
    for epoch in (0, 1):
        drawn = np.bincount([trainer.sample("train", epoch, index).label for index in range(size)])
        assert drawn.tolist() == [size // 3] * 3
    first, second = (
        [trainer.sample("train", epoch, 1).features.tolist() for _ in range(2)] for epoch in (0, 1)
    )
    assert first[0] == first[1] != second[0]
    assert trainer.class_weights.tolist() == [1.0, 1.0, 1.0]
    rows = [index for index, label in enumerate(trainer.training_labels()) if label == 1]
    turns = range(len(rows))
    laps = [[trainer.balanced.row(0, 3 * (lap * len(rows) + turn) + 1) for turn in turns] for lap in (0, 1)]
    assert sorted(laps[0]) == sorted(laps[1]) == rows
    assert laps[0] != laps[1]


class Shuffled(BlendshapesTrainer):
    """A data set whose labels are shuffled against its values."""

    def sample(self, split: str, epoch: int, index: int) -> Sample:
        sample = super().sample(split, epoch, index)
        other = int(rng.permutation(self.size(split), 1)[index])
        return replace(sample, label=super().sample(split, epoch, other).label)


class NormalisedTwice(BlendshapesTrainer):
    """A data set that normalises values which the model normalises again."""

    def features(self, record: files.Row, split: str, epoch: int) -> np.ndarray:
        values = super().features(record, split, epoch)
        return (values - self.normaliser.mean) / self.normaliser.std


class OfEverything(BlendshapesTrainer):
    """Computes statistics of all rows, including the test split."""

    def fit_normaliser(self) -> normalise.Normaliser:
        rows = [row for rows in self.data.splits.values() for row in rows]
        return normalise.fit([values_of(rows, self.config)], [row.id for row in rows])


@pytest.mark.parametrize(
    ("kind", "code"),
    [(Shuffled, "label.match"), (NormalisedTwice, "norm.once"), (OfEverything, "norm.train_only")],
)
def test_a_fault_of_the_recipe_is_caught_by_its_code(pristine, kind, code):
    report, exit_code = check(pristine, "full", kind=kind)
    assert exit_code == 64
    assert code in errors(report)


def test_uninformative_labels_are_detected_by_the_baseline(folder):
    for path in (folder / "blendshapes").glob("*.csv"):
        edit(path, lambda rows: [{**row, "label": names.FER2013[i % 7]} for i, row in enumerate(rows)])
    report, _ = check(folder, "full", classes=list(names.FER2013))
    assert "one constant answer gets 0.143" in messages(report, "baseline")


# Data as people have it


def test_scores_may_reach_the_model_as_they_are(pristine):
    report, code = check(pristine, "full", normalise="none", hidden=[64, 32])
    assert (code, errors(report), report["skipped"]) == (0, set(), [])
    trainer = BlendshapesTrainer(
        Config(normalise="none"), BlendshapesTrainer.load(Config(), folders(pristine), pristine, Silent())
    )
    assert (trainer.normaliser.mean.max(), trainer.normaliser.std.min()) == (0.0, 1.0)
    assert trainer.regression.mean.max() > 0.0


def test_square_roots_are_normalised_inside_the_model_and_weights_softened(pristine):
    report, code = check(pristine, "full", normalise="sqrt", weight_power=0.5, hidden=[64, 32])
    assert (code, errors(report), report["skipped"]) == (0, set(), [])
    config = Config(normalise="sqrt", weight_power=0.5)
    trainer = BlendshapesTrainer(
        config, BlendshapesTrainer.load(config, folders(pristine), pristine, Silent())
    )
    raw = torch.tensor([row.values for row in trainer.splits["train"]])
    assert trainer.build().normalised(raw).mean(0).abs().max() < 1e-4
    plain = trainer.replace(weight_power=1.0)
    assert torch.allclose(trainer.class_weights**2, plain.class_weights)


def folders(folder: Path) -> dict[str, Path]:
    return {"blendshapes": folder / "blendshapes"}


def test_at_most_so_many_rows_of_a_class_train_whatever_their_order(folder):
    report, code = check(folder, max_per_class=9)
    rows = {row[0]: row[1:] for row in report["data"]["tables"][0]["rows"]}
    assert (code, [rows[name][0] for name in ("happy", "sad", "neutral")]) == (0, ["9", "9", "9"])
    before = {
        row.values for row in file_checks.scan(folders(folder), Config(max_per_class=9)).splits["train"]
    }
    assert all(sum(map(int, rows[name][1:])) > 9 for name in ("happy", "sad", "neutral"))
    assert len(before) == 27
