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

from trainers.blendshapes import files
from trainers.data.sign import pack
from trainers.engine.events import Silent
from trainers.engine.health import DataUnusable

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
