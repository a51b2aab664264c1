"""Seeded faults of sign language data and tasks: `check` reports each with its code."""

import json
from pathlib import Path

import numpy as np
import pytest
import sign_runs as runs

from trainers import registry
from trainers.data import normalise
from trainers.data.landmarks import ORDERS, RAW, Layout
from trainers.data.refusal import Unusable
from trainers.data.sign import reading
from trainers.data.sign.config import SignConfig
from trainers.engine.health import DataUnusable, Finding
from trainers.i3d_teacher.trainer import TeacherTrainer
from trainers.tasks.sign import ctc_checks, file_checks

TEACHER = "i3d-teacher"


@pytest.fixture(scope="module")
def healthy(signs: Path, signs_cache: Path) -> dict:
    return runs.check(TEACHER, signs, signs_cache, layout="pose-face-hands")


def test_the_healthy_sample_passes_and_its_broken_files_are_named(healthy):
    assert runs.errors(healthy) == set()
    assert healthy["skipped"] == []
    assert runs.of(healthy, "schema.keys")["message"].startswith("1 of 49 sentences are not used")
    assert "HOCHWASSER" in runs.of(healthy, "vocab.oov")["message"]
    assert {"collapse.locality", "ctc.ids", "len.exact", "metric.total"} <= set(healthy["checked"])


@pytest.fixture
def copy(signs: Path, tmp_path: Path) -> Path:
    return runs.linked(signs, tmp_path / "data")


def features(folder: Path, split: str = "train") -> list[Path]:
    files = sorted((folder / "phoenix" / "features" / split).glob("[0-9]*.npz"))
    assert files
    return files


def found_by_inspection(copy: Path, tmp_path: Path, **config: object) -> set[str]:
    return runs.errors(runs.check(TEACHER, copy, tmp_path / "work", **config))


def test_columns_of_another_order_than_declared_are_refused(healthy, signs, tmp_path):
    assert found_by_inspection(signs, tmp_path, layout="pose-hands-face") == {"schema.layout"}
    assert (healthy["config"]["layout"], runs.errors(healthy)) == ("pose-face-hands", set())


def test_a_layout_file_overrides_the_default_but_never_the_option(copy, tmp_path):
    (copy / "phoenix" / "layout.json").write_text(json.dumps(Layout.named("pose-hands-face").as_dict()))
    assert found_by_inspection(copy, tmp_path) == {"schema.layout"}
    with pytest.raises(DataUnusable, match="the option layout says pose-face-hands"):
        runs.opened(TEACHER, copy, tmp_path / "w", layout="pose-face-hands")


def test_every_named_layout_covers_all_columns_and_others_are_refused():
    for name in ORDERS:
        assert Layout.from_dict(Layout.named(name).as_dict()).name == name
    with pytest.raises(ValueError, match="begins at 99"):
        Layout({**Layout.named("pose-face-hands").groups, "face": (100, 1504)})


def test_masks_of_another_order_are_refused(copy, tmp_path):
    for path in features(copy) + features(copy, "dev"):
        runs.change(
            path,
            lambda a: {**a, "detection_masks": np.roll(a["detection_masks"], 42, 1)} if len(a) > 1 else a,
        )
    assert "schema.layout" in found_by_inspection(copy, tmp_path)


def test_a_sentence_in_two_splits_by_its_features_is_a_leak(copy, tmp_path):
    (there, here) = features(copy, "dev")[0], features(copy)[0]
    there.unlink()
    there.hardlink_to(here)
    assert found_by_inspection(copy, tmp_path) == {"dups"}


def corpus(copy: Path, part: str) -> Path:
    return copy / "phoenix" / "annotations" / f"{part}.SI5.corpus.csv"


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.unlink()
    path.write_text(text.replace(old, new))


def test_a_test_signer_who_is_also_in_train_is_a_leak(copy, tmp_path):
    edit(corpus(copy, "train"), "Signer01", "Signer05")
    assert found_by_inspection(copy, tmp_path) == {"split.groups"}


def test_a_sentence_too_short_for_its_glosses_is_named_and_not_trained_on(copy, tmp_path):
    line = corpus(copy, "train").read_text().splitlines()[2]
    edit(corpus(copy, "train"), line, line + " REGEN REGEN" * 9)
    task = runs.opened(TEACHER, copy, tmp_path / "w")
    id = line.split("|")[0]
    (refused,) = [refusal for refusal in task.data.listing.refused if refusal.code == "ctc.length"]
    assert refused.source == id
    assert "CTC needs" in refused.detail
    assert id not in [record.id for record in task.splits["train"]]


def test_a_gloss_that_calls_itself_the_blank_is_refused(copy, tmp_path):
    edit(corpus(copy, "train"), " REGEN", " <blank>")
    assert "vocab.roundtrip" in found_by_inspection(copy, tmp_path)


def test_no_features_at_all_is_an_error_that_names_the_first(copy, tmp_path):
    for path in (copy / "phoenix" / "features").rglob("*.np?"):
        path.unlink()
    with pytest.raises(DataUnusable, match=r"has no feature file \(first: 01April"):
        runs.opened(TEACHER, copy, tmp_path / "w")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (np.ones((9, 1630), np.float32), "not .T, 6516. or .T, 1629."),
        (np.ones((9, RAW), np.int32), "not of floating point"),
        (np.random.default_rng(0).random((3, RAW)), "fewer than 8 frames"),
        (np.ones((9, RAW), np.float32), "every frame is the same"),
        (np.random.default_rng(0).random((9, RAW)) * 1e6, "values that landmarks do not have"),
        (np.random.default_rng(0).random((9, 4 * RAW)), "are not velocity, acceleration and raw"),
    ],
)
def test_an_unusable_file_is_reported_with_the_reason(values, message, tmp_path):
    np.save(tmp_path / "x.npy", values)
    with pytest.raises(Unusable, match=message):
        reading.read(tmp_path / "x.npy", 8)


def test_features_of_every_key_and_width_are_the_same_features(tmp_path):
    raw = np.random.default_rng(1).random((12, RAW)).astype(np.float32)
    np.save(tmp_path / "a.npy", raw)
    np.savez(tmp_path / "b.npz", arr_0=reading.widen(raw))
    np.savez(tmp_path / "c.npz", feature=raw.astype(np.float16))
    np.savez(tmp_path / "d.npz", features=reading.widen(raw.astype(np.float16)).astype(np.float16))
    arrays = [reading.read(path, 8).raw for path in sorted(tmp_path.iterdir())]
    assert all(np.array_equal(arrays[0], other) for other in arrays[1:])


class Twice(TeacherTrainer):
    """A trainer that normalises in the data set and again in the training loop."""

    def frames(self, batch):
        return self.normaliser.apply(super().frames(batch))


class Unnormalised(TeacherTrainer):
    def frames(self, batch):
        right = super().frames(batch)
        return right.__class__(right.values * 100 + 7, right.lengths, right.normalised)


class Shuffled(TeacherTrainer):
    """A trainer whose glosses are shuffled against their features."""

    def unaugmented(self, split, index, epoch=0):
        records = self.splits[split]
        return super().unaugmented(split, (index + 1) % len(records), epoch)


class Padded(TeacherTrainer):
    """A trainer that includes padding in the statistics of a sample."""

    def frames(self, batch):
        right = super().frames(batch)
        mean = right.values.mean(1, keepdim=True)
        return right.__class__((right.values - mean) * right.valid, right.lengths, right.normalised)


@pytest.mark.parametrize(
    ("task", "code"), [(Unnormalised, "norm.once"), (Shuffled, "label.match"), (Padded, "pad.invariance")]
)
def test_a_faulty_task_is_caught_by_its_own_probe(task, code, signs, signs_cache):
    right = runs.opened(TEACHER, signs, signs_cache)
    check = next(check for check in registry.checks(TEACHER) if check.code == code)
    assert check.ask(right) == []
    assert [f.code for f in check.ask(task(right.config, right.data))] == [code]


def test_a_second_normalisation_raises(signs, signs_cache):
    right = runs.opened(TEACHER, signs, signs_cache)
    task = Twice(right.config, right.data)
    with pytest.raises(normalise.NormalisedTwice):
        task.loss(task.build(), task.collate([task.sample("train", 0, 0)]))


def test_statistics_without_a_floor_are_caught(signs, signs_cache):
    task = runs.opened(TEACHER, signs, signs_cache)
    assert ctc_checks.std_floor(task) == []
    task.normaliser.statistics.std[5] = 1e-9
    assert [f.code for f in ctc_checks.std_floor(task)] == ["norm.std"]


def corpus_file(folder: Path, part: str) -> Path:
    return folder / "phoenix" / "annotations" / f"{part}.SI5.corpus.csv"


def own(path: Path, text: str) -> None:
    """Replace a file that may be linked to the shared sample."""
    path.unlink()
    path.write_text(text)


def listed_findings(folder: Path, code: str) -> list[Finding]:
    listing = file_checks.scan({"phoenix": folder / "phoenix"}, SignConfig())
    return [f for check in file_checks.CHECKS if check.code == code for f in check.ask(listing)]


def test_glosses_of_another_case_than_those_of_train_are_an_error(copy):
    path = corpus_file(copy, "dev")
    head, *lines = path.read_text().splitlines()
    own(path, "\n".join([head, *(line.rsplit("|", 1)[0] + "|regen wind" for line in lines)]))
    finding = listed_findings(copy, "vocab.oov")[0]
    assert finding.severity == "error"
    assert "the WER of val cannot be below 100.0 %" in finding.message
    assert "differ from glosses of train in upper and lower case only" in finding.fix


def test_a_few_unknown_glosses_are_a_warning(copy):
    (finding,) = listed_findings(copy, "vocab.oov")
    assert finding.severity == "warning"
    assert "HOCHWASSER" in finding.message


def test_the_official_error_that_a_gloss_filter_causes_is_stated(copy):
    (finding,) = listed_findings(copy, "wer.floor")
    assert finding.message.startswith("wer_official scores glosses that no hypothesis can have: at best ")
    assert "% on val" in finding.message
    assert finding.key == "gloss_filter"
