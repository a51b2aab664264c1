"""Faces, groups and pictures of blendshapes in more than one split, and how splits are made."""

import shutil
from collections.abc import Callable
from pathlib import Path

import faces
import pytest
from faces import check, edit, errors, folder, messages, pristine, train_file

from trainers.blendshapes import files, splitting
from trainers.blendshapes.config import Config

__all__ = ["folder", "pristine"]


def test_a_face_or_a_group_in_two_splits_is_refused(folder):
    extra = faces.read(folder / "blendshapes" / "test.csv")[:1]
    edit(train_file(folder), lambda rows: rows + extra)
    report, code = check(folder)
    assert (code, errors(report)) == (64, {"dups", "split.groups"})
    assert f"train.csv:{len(faces.read(train_file(folder))) + 1} = test.csv:2" in messages(report, "dups")


def test_files_that_name_no_split_are_split_by_group_or_by_face(folder):
    rows = [row for path in sorted((folder / "blendshapes").glob("*.csv")) for row in faces.read(path)]
    for path in (folder / "blendshapes").glob("*.csv"):
        path.unlink() if path.name != "train.csv" else path.rename(path.with_name("faces.csv"))
    edit(folder / "blendshapes" / "faces.csv", lambda _: rows)
    report, code = check(folder)
    assert (code, errors(report)) == (0, set())
    edit(
        folder / "blendshapes" / "faces.csv",
        lambda arrays: [{**row, "group": ""} for row in arrays + arrays[:40]],
    )
    report, code = check(folder)
    assert (code, errors(report)) == (0, set())  # equal faces stay together


def pictured(folder: Path, name: Callable[[int, int], str]) -> Path:
    """The rows of the sample as one file without groups: three copies of each, a little apart, by `name`
    of row and copy."""
    place = folder / "blendshapes"
    rows = [row for path in sorted(place.glob("*.csv")) for row in faces.read(path)]
    copies = [
        {
            **row,
            "group": "",
            "file": name(n, copy),
            "jawOpen": repr(float(row["jawOpen"]) * (1 - 0.01 * copy)),
        }
        for n, row in enumerate(rows)
        for copy in range(3)
    ]
    for path in place.glob("*.csv"):
        path.unlink() if path.name != "train.csv" else path.rename(place / "faces.csv")
    edit(place / "faces.csv", lambda _: copies)
    return place


def test_copies_of_a_picture_stay_in_one_split_without_a_group_column(folder):
    place = pictured(folder, lambda n, _: f"{n}.png")
    edit(
        place / "faces.csv", lambda rows: [*rows[:-1], {**rows[-1], "label": "sad"}]
    )  # as a split with two classes
    report, code = check(folder)
    assert (code, errors(report), messages(report, "split.groups")) == (0, set(), "")
    listing = files.scan({"": place}, Config())
    home = splitting.split_rows(listing.rows, Config())
    homes = {
        row.source: {home[other.id] for other in listing.rows if other.source == row.source}
        for row in listing.rows
    }
    assert {len(splits) for splits in homes.values()} == {1}
    assert {split for splits in homes.values() for split in splits} == {"train", "val", "test"}


def test_equal_faces_stay_together_whatever_their_pictures_are_called(folder):
    place = pictured(folder, lambda n, copy: f"{n}-{copy}.png")
    edit(
        place / "faces.csv",
        lambda rows: [*rows, *({**row, "file": f"again-{row['file']}"} for row in rows[:90])],
    )
    report, code = check(folder)
    assert (code, errors(report)) == (0, set())


def test_a_file_column_with_one_value_is_ignored_with_a_warning(folder):
    pictured(folder, lambda n, _: "fer2013.csv")
    report, code = check(folder)
    assert (code, errors(report)) == (0, set())
    assert "`file` is fer2013.csv in all rows" in messages(report, "split.groups")
    assert "only equal faces are kept in one split" in messages(report, "split.groups")


def test_a_picture_in_two_given_splits_is_refused_by_name(folder):
    def unnamed(rows: faces.Rows) -> faces.Rows:
        return [{**row, "group": ""} for row in rows]

    (first, *_) = faces.read(folder / "blendshapes" / "test.csv")
    copy = {**first, "jawOpen": repr(float(first["jawOpen"]) * 0.99)}
    edit(train_file(folder), lambda rows: [*rows, copy])
    for path in (folder / "blendshapes").glob("*.csv"):
        edit(path, unnamed)
    report, code = check(folder)
    assert (code, errors(report)) == (64, {"split.groups"})
    assert f"1 pictures (column `file`) are in more than one split: {first['file']}" in messages(
        report, "split.groups"
    )


def test_folders_name_the_split_as_files_do(folder, pristine):
    place = folder / "blendshapes"
    for split in ("train", "val", "test"):
        (place / split).mkdir()
        (place / f"{split}.csv").rename(place / split / "faces.csv")
    straight, nested = (
        [(row.values, row.split) for row in files.scan({"": root / "blendshapes"}, Config()).rows]
        for root in (pristine, folder)
    )
    assert sorted(nested) == sorted(straight)
    assert check(folder)[1] == 0


def test_a_file_in_the_folder_of_another_split_is_refused_by_name(folder):
    place = folder / "blendshapes" / "part" / "test"
    place.mkdir(parents=True)
    shutil.copy(train_file(folder), place / "train.csv")
    report, code = check(folder)
    assert (code, errors(report)) == (64, {"labels.parse"})
    message = "is in the folder of another split: part/test/train.csv: move or rename it"
    assert message in messages(report, "labels.parse")


def test_train_and_test_alone_give_the_validation_rows_from_train(folder):
    (folder / "blendshapes" / "val.csv").unlink()
    report, code = check(folder)
    assert (code, errors(report)) == (0, set())
    (table,) = [t for t in report["data"]["tables"] if t["title"] == "Rows by class"]
    train, val, test = (int(n) for n in table["rows"][3][1:])
    assert 0.1 < val / (train + val) < 0.2
    assert test == len(
        [row for row in faces.read(folder / "blendshapes" / "test.csv") if faces.has_known_label(row)]
    )


def twins(folder: Path, label: str) -> None:
    """Append the first six faces of test to train, with this label or their own."""
    rows = faces.read(folder / "blendshapes" / "test.csv")[:6]
    copies = [{**row, "label": label or row["label"], "group": f"new{n}"} for n, row in enumerate(rows)]
    edit(train_file(folder), lambda train: [*train, *copies])


def test_all_faces_in_two_splits_are_named_at_once(folder):
    twins(folder, "")
    report, code = check(folder)
    assert (code, "6 faces are in two splits" in messages(report, "dups")) == (64, True)
    (table,) = [t for t in report["data"]["tables"] if t["title"].startswith("Equal faces")]
    assert [row[2] for row in table["rows"]] == ["train", "test"] * 6


def test_faces_in_two_splits_are_dropped_from_train_within_the_budget(folder):
    before, _ = check(folder)
    twins(folder, "")
    report, code = check(folder, duplicates="drop")
    assert (code, errors(report)) == (0, set())
    assert report["data"]["used"] == before["data"]["used"]
    report, code = check(folder, duplicates="drop", max_refused=0.001)
    assert (code, errors(report)) == (64, {"dups"})


def test_a_face_with_two_labels_is_named_and_dropped(folder):
    edit(train_file(folder), lambda rows: [*rows, {**rows[0], "label": "sad"}, {**rows[0], "label": "happy"}])
    report, code = check(folder)
    assert (code, "1 faces have two labels" in messages(report, "dups")) == (0, True)
    dropped, _ = check(folder, duplicates="drop")
    assert dropped["data"]["used"] == report["data"]["used"] - 3


def test_a_split_that_holds_a_copy_of_a_file_is_warned_about(folder):
    shutil.copy(train_file(folder), train_file(folder).with_name("copy of train.csv"))
    report, code = check(folder)
    assert (code, errors(report)) == (0, set())
    found = [finding for finding in report["findings"] if finding["code"] == "dups"]
    assert [finding["severity"] for finding in found] == ["warning"]
    assert "rows of train repeat another row of it: " in found[0]["message"]


@pytest.mark.parametrize("change", [str.upper, lambda group: f" {group}", lambda group: f"0{group}"])
def test_groups_in_two_splits_are_found_however_they_are_spelled(folder, change):
    edit(train_file(folder), lambda rows: [{**rows[0], "group": "7p"}, *rows[1:]])
    edit(folder / "blendshapes" / "test.csv", lambda rows: [{**rows[0], "group": change("7p")}, *rows[1:]])
    assert "1 groups are in more than one split" in messages(check(folder)[0], "split.groups")


def in_one_file(folder: Path, column: str, words: dict[str, str]) -> None:
    """All rows in one file; the column holds the word for the split of each."""
    place = folder / "blendshapes"
    rows = [{**row, column: words[s]} for s in words for row in faces.read(place / f"{s}.csv")]
    for split in words:
        (place / f"{split}.csv").unlink()
    (place / "faces.csv").write_text("label\n")
    edit(place / "faces.csv", lambda _: rows)


@pytest.mark.parametrize(
    ("column", "val", "test"),
    [
        ("split", "valid", "test"),
        ("split", "DEV", "Testing"),
        ("split", " eval ", "TEST"),
        ("Split", "Validation", "holdout"),
        ("Usage", "PublicTest", "PrivateTest"),
    ],
)
def test_a_column_may_name_the_splits_by_any_of_their_words(folder, column, val, test):
    def members() -> set[tuple[str, tuple[float, ...]]]:
        rows = files.scan({"": folder / "blendshapes"}, Config()).rows
        home = splitting.split_rows(rows, Config())
        return {(home[row.id], row.values) for row in rows}

    before = members()
    in_one_file(folder, column, {"train": "Training", "val": val, "test": test})
    assert members() == before
    assert check(folder)[1] == 0


@pytest.mark.parametrize(
    ("words", "code", "text"),
    [
        ({"train": "train", "val": "", "test": "test"}, "split.named", "name no split"),
        ({"train": "train", "val": "dev", "test": "eval"}, "split.named", "which both mean val"),
        ({"train": "train", "val": "later", "test": "test"}, "labels.parse", "later"),
    ],
)
def test_a_column_whose_splits_are_not_clear_is_refused(folder, words, code, text):
    in_one_file(folder, "split", words)
    report, exit_code = check(folder)
    assert exit_code == 64
    assert code in errors(report)
    assert text in messages(report, code)
