"""Tables, corpora and archives of arrays as other programs write them."""

import gzip

import numpy as np
import pytest
from test_reading_rules import PLAIN, Data

from trainers import registry
from trainers.blendshapes import files, names
from trainers.blendshapes.config import Config
from trainers.blendshapes.file_checks import duplicate_rows, scan
from trainers.data import phoenix, tables
from trainers.data.refusal import Unusable
from trainers.slowfast import boxes, manifest

MANIFEST = "path,split\n" + "".join(
    f"@{actor}_IEO_ANG_XX.flv,{split}\n" for actor, split in ((1001, "train"), (1011, "val"), (1021, "test"))
)


@pytest.mark.parametrize("prefix", ["crema/", "crema\\train\\", "D:\\data\\crema\\", "\\\\server\\share\\"])
@pytest.mark.parametrize("name", ["manifest.csv", "Manifest.CSV", "manifest.csv.gz"])
def test_a_manifest_may_name_videos_by_paths_of_windows(tmp_path, prefix, name):
    data = Data("slowfast", tmp_path / "crema", PLAIN)
    (tmp_path / "splits").mkdir()
    content = MANIFEST.replace("@", prefix).encode()
    (tmp_path / "splits" / name).write_bytes(gzip.compress(content) if name.endswith("gz") else content)
    config = registry.describe("slowfast").config()
    survey = data.checks.scan({"crema": data.root, "splits": tmp_path / "splits"}, config)
    assert {split: len(records) for split, records in survey.splits.items()} == dict.fromkeys(PLAIN, 1)


def test_boxes_may_be_in_a_table_of_another_case_but_not_in_two(tmp_path):
    (tmp_path / "Faces.CSV").write_text("name;x;y;width;height\nC:\\a\\1001_IEO_ANG_XX.flv;1;2;3;3\n")
    assert boxes.read(tmp_path) == {"1001_IEO_ANG_XX": (1, 2, 3, 3)}
    (tmp_path / "faces.tsv").touch()
    with pytest.raises(boxes.BadBoxes, match=r"holds Faces\.CSV and faces.tsv: keep one"):
        boxes.read(tmp_path)


@pytest.mark.parametrize("written", ["train/a-1", "train\\a-1", "D:\\phoenix\\train\\a-1"])
def test_an_id_may_be_the_path_of_its_recording(tmp_path, written):
    (tmp_path / "x.csv").write_text(f"name|video|speaker|orth\n{written}|x|s|REGEN\n")
    (sentence,) = phoenix.read({"train": tmp_path / "x.csv"})
    assert sentence.id == "a-1"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (gzip.compress(b"a,b\n1,2\n")[:-6], "is no readable gzip file"),
        (tables.GZIP + b"\x08\x00compressed", "is no readable gzip file"),
        (gzip.compress(b"a" * 2000), "unpacks to more than 0 MiB"),
    ],
    ids=["cut", "broken", "too large"],
)
def test_a_compressed_table_that_cannot_be_read_is_refused(tmp_path, monkeypatch, content, message):
    monkeypatch.setattr(tables, "LARGEST", 1000)
    (tmp_path / "x.csv.gz").write_bytes(content)
    with pytest.raises(tables.BadTable, match=message):
        tables.read(tmp_path / "x.csv.gz")


def test_labels_of_bytes_in_an_npz_file_are_words(tmp_path):
    values = np.random.default_rng(0).random((2, 52))
    np.savez(
        tmp_path / "x.npz", features=values, names=np.array(names.ALL), labels=np.array([b"happy", b"Sad"])
    )
    _, rows = files.read(tmp_path / "x.npz", Config())
    assert [row.label for row in rows] == ["happy", "sad"]


TWICE = "x,y,width,height"


@pytest.mark.parametrize(
    ("name", "text", "read"),
    [
        ("train.corpus.csv", "id|signer|annotation|annotation\na|b|c|d\n", "corpus"),
        ("manifest.csv", "path,split,label,split\na.mp4,train,happy,val\n", "manifest"),
        ("faces.csv", f"name,{TWICE},x\na,1,2,3,4,5\n", "boxes"),
        ("train.corpus.csv", "id|signer|annotation\n", "corpus"),
        ("manifest.csv", "path,split\n", "manifest"),
        ("faces.csv", f"name,{TWICE}\n", "boxes"),
    ],
)
def test_columns_named_twice_and_tables_without_lines_are_refused(tmp_path, name, text, read):
    (tmp_path / name).write_text(text)
    message = "names the column (annotation|split|x) twice" if text.count("\n") > 1 else "no line below them"
    with pytest.raises((phoenix.BadCorpus, manifest.BadManifest, boxes.BadBoxes), match=message):
        {
            "corpus": lambda: phoenix.read({"train": tmp_path / name}),
            "manifest": lambda: manifest.read(tmp_path / name),
            "boxes": lambda: boxes.read(tmp_path),
        }[read]()


def test_invisible_characters_make_no_other_gloss(tmp_path):
    (tmp_path / "train.csv").write_text("id|signer|annotation\na|s|RE\u200bGEN\ufeff WIND\u200d\n")
    (sentence,) = phoenix.read({"train": tmp_path / "train.csv"})
    assert sentence.glosses == ("REGEN", "WIND")


def test_a_quote_that_is_not_closed_is_found_where_it_begins(tmp_path):
    (tmp_path / "faces.csv").write_text('a,b\n1,2\n"3,4\n5,6\n7,8\n')
    with pytest.raises(tables.BadTable, match=r"in the cells that begin in line 3"):
        tables.read(tmp_path / "faces.csv")


@pytest.mark.parametrize("columns", [np.array("x"), np.array([[b"x"]]), np.array(3)])
def test_an_npz_file_with_odd_names_is_refused(tmp_path, columns):
    np.savez(tmp_path / "faces.npz", features=np.ones((2, 52)), names=columns, labels=["happy", "sad"])
    with pytest.raises(Unusable, match="features are not floating point"):
        files.read(tmp_path / "faces.npz", Config())


def test_names_of_bytes_in_an_npz_file_are_words(tmp_path):
    known = np.array(names.ALL, dtype="S")
    np.savez(tmp_path / "faces.npz", features=np.ones((2, 52)), names=known, labels=["happy", "sad"])
    assert len(files.read(tmp_path / "faces.npz", Config())[1]) == 2


@pytest.mark.parametrize("suffix", [".csv", ".npz"])
def test_a_file_of_faces_without_rows_is_refused(tmp_path, suffix):
    path = tmp_path / f"faces{suffix}"
    path.write_text(",".join(("label", *names.ALL)))
    if suffix == ".npz":
        np.savez(path, features=np.ones((0, 52)), labels=np.array([], dtype=str))
    with pytest.raises(Unusable, match="has no rows"):
        files.read(path, Config())


@pytest.mark.parametrize("digits", [4, 6])
def test_faces_rounded_anew_in_another_split_are_listed(tmp_path, digits):
    draw = np.random.default_rng(0)
    scores = draw.uniform(0, 1, (60, 52))
    for split, values in (("train", scores), ("val", scores.round(digits)), ("test", draw.random((60, 52)))):
        labels = [("happy", "sad", "neutral")[n % 3] for n in range(60)]
        np.savez(tmp_path / f"{split}.npz", features=values, labels=labels)
    (finding,) = duplicate_rows(scan({"": tmp_path}, Config()))
    assert "faces are nearly equal to one of another split: train.npz:1 ~ val.npz:1" in finding.message
