"""Forms of blendshapes files that are read: other words, labels, columns and separators."""

import shutil

import faces
import numpy as np
import pytest
from faces import check, edit, folder, messages, pristine, train_file

from trainers.blendshapes import files, names, npz
from trainers.blendshapes.config import Config
from trainers.data.refusal import Unusable

__all__ = ["folder", "pristine"]


def test_an_npz_file_gives_the_same_rows_as_a_csv_file(pristine, tmp_path):
    rows = faces.read(pristine / "blendshapes" / "test.csv")
    values = np.array([[float(row[name]) for name in names.ALL] for row in rows])
    arrays = {"names": np.array(names.ALL), "labels": np.array([row["label"] for row in rows])}
    np.savez(tmp_path / "test.npz", features=values, **arrays)
    _, read = files.read(tmp_path / "test.npz", Config())
    _, other = files.read(pristine / "blendshapes" / "test.csv", Config())
    assert [(r.values, r.label, r.split) for r in read] == [(r.values, r.label, r.split) for r in other]
    np.savez(tmp_path / "test.npz", values=values)
    with pytest.raises(Unusable, match="has no key features: it holds values"):
        npz.read(tmp_path / "test.npz")


def test_files_behind_a_linked_folder_are_read(folder, tmp_path):
    shutil.move(folder / "blendshapes", tmp_path / "disk2")
    (folder / "blendshapes").mkdir()
    (folder / "blendshapes" / "more").symlink_to(tmp_path / "disk2")
    arrays = files.scan({"": folder / "blendshapes"}, Config())
    assert {row.id.partition(":")[0] for row in arrays.rows} >= {"more/train.csv", "more/test.csv"}


def test_other_words_for_an_emotion_are_read_and_listed(folder):
    words = {"happy": "Happiness", "sad": "SADNESS", "neutral": "neutral"}
    before, _ = check(folder)
    edit(train_file(folder), lambda rows: [{**row, "label": words.get(row["label"], "fear")} for row in rows])
    report, code = check(folder)
    assert (code, report["data"]["used"]) == (0, before["data"]["used"])
    (table,) = [t for t in report["data"]["tables"] if t["title"] == "Labels read as"]
    assert [row[:2] for row in table["rows"]] == [["Happiness", "happy"], ["SADNESS", "sad"]]


def test_labels_as_numbers_are_read_with_the_option_that_names_their_set(folder):
    before, _ = check(folder)
    numbers = {name: f"{number}.0" for number, name in names.NUMBERS["raf-db"].items()}
    for path in (folder / "blendshapes").glob("*.csv"):
        edit(path, lambda rows: [{**row, "label": numbers[row["label"]]} for row in rows])
    report, code = check(folder)
    assert "set label_numbers: one of fer2013" in messages(report, "labels.parse")
    report, code = check(folder, label_numbers="raf-db")
    assert (code, report["data"]["used"]) == (0, before["data"]["used"])


def test_columns_b0_to_b51_and_one_hot_labels_are_read(folder):
    before = files.scan({"": folder / "blendshapes"}, Config()).rows
    counted = dict(zip(names.ALL, names.COUNTED, strict=True))

    def one_hot(rows: faces.Rows) -> faces.Rows:
        kinds = sorted({row["label"] for row in rows})
        return [
            {**{counted.get(name, name): cell for name, cell in row.items() if name != "label"}}
            | {kind: str(int(row["label"] == kind)) for kind in kinds}
            for row in rows
        ]

    for path in (folder / "blendshapes").glob("*.csv"):
        edit(path, one_hot)
    after = files.scan({"": folder / "blendshapes"}, Config()).rows
    assert [(row.values, row.label) for row in after] == [(row.values, row.label) for row in before]


def test_an_npz_file_with_the_keys_of_scikit_learn_is_read(tmp_path):
    values = np.random.default_rng(0).random((3, 52)).astype(np.float32)
    np.savez(tmp_path / "train.npz", X=values, y=np.array([0, 3, 6]), paths=np.array(["a", "b", "c"]))
    _, rows = files.read(tmp_path / "train.npz", Config(columns=52, label_numbers="raf-db-0"))
    assert [(row.label, row.source) for row in rows] == [("surprise", "a"), ("happy", "b"), ("neutral", "c")]


def test_semicolons_and_decimal_commas_are_read(folder):
    path = train_file(folder)
    before, _ = check(folder)
    path.write_text(path.read_text().replace(",", ";").replace(".", ","))
    report, code = check(folder)
    assert (code, report["data"]["used"]) == (0, before["data"]["used"])


@pytest.mark.parametrize(
    ("usual", "other"),
    [
        ("group", "Subject_ID"),
        ("group", "actor"),
        ("label", "expression"),
        ("file", "image_path"),
        ("file", "subDirectory_filePath"),
        ("split", "set"),
    ],
)
def test_usual_columns_may_have_the_names_that_public_tables_use(folder, usual, other):
    def rows() -> list[tuple[object, ...]]:
        read = files.scan({"": folder / "blendshapes"}, Config()).rows
        return [(row.values, row.label, row.group, row.split, row.source) for row in read]

    for path in (folder / "blendshapes").glob("*.csv"):
        edit(path, lambda rows, path=path: [{**row, "split": path.stem} for row in rows])
    before = rows()
    for path in (folder / "blendshapes").glob("*.csv"):
        edit(path, lambda rows: [{other if n == usual else n: cell for n, cell in r.items()} for r in rows])
    assert rows() == before


@pytest.mark.parametrize("cell", ["0.1_2", "12%", "1,234.5", "", "0x1"])
def test_a_score_that_only_looks_like_a_number_refuses_its_row(folder, cell):
    edit(train_file(folder), lambda rows: [{**rows[0], "jawOpen": cell}, *rows[1:]])
    refused = [r for r in files.scan({"": folder / "blendshapes"}, Config()).refused if r.line == 2]
    assert [refusal.detail for refusal in refused] == [f"jawOpen is {cell!r}"]
