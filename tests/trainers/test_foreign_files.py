"""Data that other systems and programs wrote, or left half done: every trainer reads it, or names it."""

import codecs
import gzip
import shutil
import unicodedata
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from test_reading_rules import PLAIN, TRAINERS, Data

from trainers import registry
from trainers.blendshapes import files, names
from trainers.blendshapes.config import Config
from trainers.blendshapes.file_checks import duplicate_rows, scan
from trainers.data import phoenix, tables
from trainers.data.refusal import Unusable
from trainers.data.sign import pack
from trainers.engine.events import Silent
from trainers.engine.health import DataUnusable
from trainers.slowfast import boxes, manifest

LISTING = TRAINERS[:3]
"""Trainers that list all files of their folders; the others look for the files of a corpus."""


@pytest.fixture(params=TRAINERS)
def data(request: pytest.FixtureRequest, tmp_path: Path) -> Data:
    return Data(request.param, tmp_path / "data", PLAIN)


def cells(content: bytes, delimiter: bytes) -> bytes:
    return content.replace(b"|", delimiter).replace(b",", delimiter)


FORMS: dict[str, tuple[Callable[[bytes], bytes], str]] = {
    "gzip": (gzip.compress, ".csv.gz"),
    "gzip in capitals": (gzip.compress, ".CSV.GZ"),
    "tabs": (lambda content: cells(content, b"\t"), ".tsv"),
    "semicolons": (lambda content: cells(content, b";"), ".csv"),
    "UTF-16": (lambda content: content.decode().encode("utf-16"), ".csv"),
    "mark and CRLF": (lambda content: codecs.BOM_UTF8 + content.replace(b"\n", b"\r\n"), ".csv"),
    "mixed case": (bytes, ".Csv"),
}


@pytest.mark.parametrize("form", FORMS)
def test_tables_of_every_dialect_are_read_by_every_trainer(data, form):
    before = data.sizes()
    change, suffix = FORMS[form]
    for path in list(data.root.rglob("*.csv")):
        content = change(path.read_bytes())
        path.unlink()
        path.with_suffix(suffix).write_bytes(content)
    assert data.sizes() == before
    assert data.errors() == {}


def test_composed_and_decomposed_names_are_one_name(data, tmp_path):
    before, id = data.sizes(), "MÖGLICH-1"
    for number, form in enumerate(("NFC", "NFD")):
        folder = tmp_path / form / unicodedata.normalize(form, "Gefühle")
        folder.parent.mkdir()
        shutil.copytree(data.root, folder)
        if data.folder == "phoenix":
            for path, old in [(p, "train-0") for p in folder.rglob("train*") if p.is_file()]:
                path.write_text(path.read_text().replace(old, unicodedata.normalize("NFC", id)))
                path.rename(path.with_name(path.name.replace(old, unicodedata.normalize(form, id))))
        moved = Data.__new__(Data)
        moved.name, moved.root, moved.folder = data.name, folder, data.folder
        assert moved.sizes() == before, number
        assert moved.errors() == {}


def test_pictures_written_in_two_forms_are_one_picture():
    forms = [f"Gefühl{mark}/1.png" for mark in ("", "e")]
    written = [
        forms[0],
        unicodedata.normalize("NFD", forms[0]),
        forms[0].replace("/", "\\").upper(),
        forms[1],
    ]
    rows = [files.Row("x:1", Path("x"), 1, (0.5,), "happy", source=source) for source in written]
    assert len({row.group for row in rows[:3]}) == 1
    assert rows[3].group != rows[0].group


@pytest.mark.parametrize("place", ["the folder", "a folder in it", "every file"])
def test_data_behind_links_is_read_and_not_written_to(data, tmp_path, place):
    before, real = data.sizes(), tmp_path / "disk"
    data.root.rename(real)
    if place == "the folder":
        data.root.symlink_to(real, target_is_directory=True)
    elif place == "a folder in it":
        data.root.mkdir()
        for path in real.iterdir():
            (data.root / path.name).symlink_to(path)
    else:
        for path in [path for path in real.rglob("*") if path.is_file()]:
            link = data.root / path.relative_to(real)
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to(path)
    state = [(path, path.stat().st_mtime_ns) for path in sorted(real.rglob("*"))]
    assert data.sizes() == before
    assert data.errors() == {}
    assert [(path, path.stat().st_mtime_ns) for path in sorted(real.rglob("*"))] == state


STAND_INS = {
    ".part": "is a download that did not finish: download it again",
    ".crdownload": "is a download that did not finish",
    ".dvc": "is a pointer of DVC, not the file: run dvc pull",
    ".icloud": "is in iCloud, not on this disk: download it in the Finder",
}


@pytest.mark.parametrize("suffix", STAND_INS)
def test_what_stands_in_for_a_file_is_refused_by_its_name(data, suffix):
    train = data.files["train"]
    for path in train:
        path.rename(path.with_name(f"{'.' * (suffix == '.icloud')}{path.name}{suffix}"))
    refused = [refusal for refusal in data.scan().refused if refusal.code == "files.there"]
    assert len(refused) == len(train)
    assert all(refusal.broken and STAND_INS[suffix] in refusal.why for refusal in refused)
    assert STAND_INS[suffix] in data.errors()["files.there"]


def test_a_pointer_beside_its_file_is_no_finding(data):
    before = data.sizes()
    for path in data.files["train"]:
        path.with_name(f"{path.name}.dvc").write_text("outs:\n- md5: 0\n")
    assert data.sizes() == before
    assert data.scan().refused == ()


@pytest.mark.parametrize(
    ("make", "fix"),
    [
        (lambda path: path.symlink_to("../.git/annex/objects/aa/bb/SHA256E-s9--0.x"), "run git annex get"),
        (lambda path: path.write_text("/annex/objects/SHA256E-s9--0.x\n"), "run git annex get"),
    ],
    ids=["locked", "unlocked"],
)
def test_a_file_that_git_annex_did_not_fetch_is_refused(data, make, fix):
    for path in data.files["train"]:
        path.unlink()
        make(path)
    assert fix in data.errors()["files.there"]


@pytest.mark.parametrize("trainer", LISTING)
def test_files_of_a_kind_that_is_not_read_are_listed(trainer, tmp_path):
    data = Data(trainer, tmp_path, PLAIN)
    before = data.sizes()
    for name in ("Actor_01.zip", "more.parquet", "faces.npy", "README.md", ".hidden.zip"):
        (tmp_path / name).write_bytes(b"x")
    assert data.sizes() == before
    refused = [
        refusal for refusal in data.scan().refused if refusal.reason == "is of a kind that is not read"
    ]
    assert [refusal.name for refusal in refused] == ["Actor_01.zip", "faces.npy", "more.parquet"]
    assert data.errors() == {}


@pytest.mark.parametrize("suffix", [".xz", ".bz2", ".zst", ".bak", ".txt", "~"])
@pytest.mark.parametrize("trainer", LISTING)
def test_files_with_a_further_suffix_are_listed(trainer, tmp_path, suffix):
    data = Data(trainer, tmp_path, PLAIN)
    before, path = data.sizes(), data.files["train"][0]
    path.with_name(f"more-{path.name}{suffix}").write_bytes(b"x")
    assert data.sizes() == before
    (refusal,) = data.scan().refused
    assert refusal.name == f"more-{path.name}{suffix}"
    assert not refusal.broken


@pytest.mark.parametrize("name", ["train.txt", "train.json", "train.jsonl", "train.arff"])
def test_texts_that_may_hold_a_table_are_listed(tmp_path, name):
    data = Data("blendshapes", tmp_path, PLAIN)
    (tmp_path / name).write_text("label\n")
    assert [refusal.name for refusal in data.scan().refused] == [name]


@pytest.mark.parametrize("trainer", LISTING)
def test_archives_that_were_not_unpacked_are_named_where_nothing_is_found(trainer, tmp_path):
    data = Data(trainer, tmp_path, {})
    (tmp_path / "Video_Speech_Actor_01.zip").write_bytes(b"PK")
    assert "Video_Speech_Actor_01.zip - unpack or convert it" in data.errors()["labels.nonempty"]


@pytest.mark.parametrize("trainer", LISTING)
def test_one_stray_file_among_hundreds_of_folders_is_named(trainer, tmp_path):
    data = Data(trainer, tmp_path, PLAIN)
    before = data.sizes()
    for number in range(300):
        (tmp_path / "train" / f"class {number:04d}").mkdir()
    stray = tmp_path / "train" / "class 0123" / data.files["train"][0].with_stem("stray").name
    stray.write_text("label\nhappy\n")
    assert data.sizes() == before
    (refusal,) = data.scan().refused
    assert refusal.location == str(stray)


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


@pytest.mark.parametrize("trainer", ["i3d-teacher", "mobilenet-v3"])
def test_feature_files_without_a_sentence_are_listed(trainer, tmp_path):
    data = Data(trainer, tmp_path, PLAIN)
    data.files["train"][0].with_name("Train-0.npz").write_text("a name in other letters")
    (refusal,) = data.scan().refused
    assert (refusal.name, refusal.reason) == ("Train-0.npz", "belongs to no sentence of the corpus")
    assert data.errors() == {}


def test_the_folder_that_holds_the_corpus_is_named(tmp_path):
    data = Data("i3d-teacher", tmp_path / "release" / "phoenix-2014", PLAIN)
    data.root = tmp_path / "release"
    with pytest.raises(DataUnusable, match="phoenix-2014 does: give the folder that holds corpus files"):
        data.scan()


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


def test_prepare_names_sentences_without_features_and_packs_no_empty_corpus(tmp_path):
    data = Data("i3d-teacher", tmp_path / "corpus", PLAIN)
    data.files["train"][0].unlink()
    with pytest.raises(DataUnusable, match="the corpus holds no sample; 9 sentences were found"):
        pack.run({"phoenix": data.root}, tmp_path / "to", 0, Silent())
    assert not (tmp_path / "to" / "phoenix").exists()
    landmarks = np.random.default_rng(0).random((9, 1629)).astype(np.float32)
    np.savez(data.files["train"][1], features=landmarks)
    made = pack.run({"phoenix": data.root}, tmp_path / "to", 0, Silent())
    assert made["sentences"] == 1
    assert "train-0: has no feature file" in made["refused"]
    assert any("train-2: is no readable NPZ or NPY" in line for line in made["refused"])
