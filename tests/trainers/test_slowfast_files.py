"""Names, folds and the manifest: which videos are used, and the split of each."""

import csv
import json
import os
import shutil
from pathlib import Path

import pytest
from slowfast_kit import folders, tiny, write_manifest

from trainers import __main__ as command
from trainers.data import folds
from trainers.data.recording_checks import Survey
from trainers.engine.check import findings_of
from trainers.engine.health import DataUnusable
from trainers.slowfast import boxes, config, file_checks, manifest


def chosen(videos: Path, **options: object) -> Survey:
    return file_checks.scan(folders(videos), tiny(**options))


@pytest.mark.parametrize(("name", "actors"), [("crema-mae5", 91), ("ravdess-mae6", 24), ("ravdess-lj5", 24)])
def test_published_folds_contain_every_actor_once(name, actors):
    everyone = [actor for fold in folds.FOLDS[name] for actor in fold]
    assert sorted(everyone) == list(range(min(everyone), min(everyone) + actors))


def test_a_fold_is_the_test_split_and_the_rest_is_split_by_actor(videos):
    home = chosen(videos, folds="ravdess-lj5", fold=5).split_of
    tested = {id[-2:] for id, split in home.items() if split == "test" and id.startswith("ravdess")}
    assert tested == {"01", "04", "09"}
    assert {split for id, split in home.items() if id.startswith("crema")} == {"train", "val", "test"}
    both = chosen(videos, folds="crema-mae5+ravdess-mae6", fold=1).split_of
    assert {id for id, split in both.items() if split == "test" and id[8:].startswith("02-")} == {
        id for id in both if id.startswith("ravdess") and id[-2:] in ("01", "02", "03", "04")
    }
    assert all(split == "test" for id, split in both.items() if id.startswith("crema"))


def test_an_unknown_fold_is_refused():
    (finding,) = config.check_options(tiny(folds="ravdess-lj5", fold=6))
    assert finding.key == "fold"


def test_audio_only_and_listed_broken_files_are_left_out_by_name(videos, tmp_path):
    (tmp_path / "ravdess").mkdir()
    (tmp_path / "ravdess" / "03-01-05-01-01-01-01.mp4").write_bytes(b"sound")
    listing = file_checks.list_videos({"r": tmp_path / "ravdess", "c": videos / "crema"}, tiny())
    whys = {refusal.path.name: refusal.why for refusal in listing.refused}
    assert "holds no pictures" in whys["03-01-05-01-01-01-01.mp4"]
    assert "error picture" in whys["1076_MTI_SAD_XX.flv"]


def test_a_link_to_nothing_stops_neither_the_splits_nor_a_manifest(videos, tmp_path):
    data = Path(shutil.copytree(videos, tmp_path / "data", copy_function=os.link))
    gone = chosen(data).records[0]
    splits = write_manifest(
        tmp_path / "splits" / "manifest.csv", [{**row, "bytes": "9"} for row in some_rows(data)]
    )
    gone.path.unlink()
    gone.path.symlink_to("gone")
    scanned = file_checks.scan({**folders(data), "splits": splits}, tiny())
    assert (gone.path, "files.there") in [(refusal.path, refusal.code) for refusal in scanned.refused]
    manifest.write(tmp_path / "all.csv", chosen(data), folders(data))
    assert "is a link to nothing: gone" in (tmp_path / "all.csv").read_text()


def prepare(videos: Path, to: Path, capsys) -> dict:
    words = ["prepare", "slowfast", "--ravdess", videos / "ravdess", "--crema", videos / "crema", "--to", to]
    assert command.main([str(word) for word in words]) == 0
    return json.loads(capsys.readouterr().out.splitlines()[-1])


def test_prepare_writes_a_manifest_that_gives_the_same_splits(videos, tmp_path, capsys):
    event = prepare(videos, tmp_path / "splits", capsys)
    with Path(event["manifest"]).open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert tuple(rows[0]) == manifest.COLUMNS
    assert len(rows) == event["data"]["samples"] == 129
    assert {row["path"]: row["excluded"] for row in rows if row["excluded"]}[
        "crema/1076_MTI_SAD_XX.flv"
    ].endswith("shows an error picture")
    again = file_checks.scan({**folders(videos), "splits": tmp_path / "splits"}, tiny())
    assert again.split_of == chosen(videos).split_of
    assert any(table["title"] == "Samples by class" for table in event["data"]["tables"])


def some_rows(videos: Path) -> list[dict[str, str]]:
    plain = chosen(videos)
    return [{"path": str(r.path), "label": r.label, "split": plain.split_of[r.id]} for r in plain.records]


def test_a_manifest_that_does_not_match_the_files_is_reported(videos, tmp_path):
    rows = [{**row, "bytes": ""} for row in some_rows(videos)]
    rows[0]["label"] = "sad" if rows[0]["label"] != "sad" else "happy"
    rows[1]["bytes"] = "7"
    rows[2]["path"] = "elsewhere/1091_TIE_ANG_XX.flv"
    splits = write_manifest(tmp_path / "splits" / "manifest.csv", rows)
    scanned = file_checks.scan({**folders(videos), "splits": splits}, tiny())
    codes = [r.code for r in scanned.refused if r.broken and r.code not in ("labels.parse", "files.there")]
    assert sorted(codes) == ["label.match", "manifest", "manifest"]
    findings = findings_of(file_checks.CHECKS, scanned)
    assert "label.match" in {f.code for f in findings if f.severity == "error"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("path,label\na,b\n", "manifest.csv:1: there is no column split"),
        ("path,split\na.mp4,third\n", "manifest.csv:2: the split is `third`"),
        ("path,split,bytes\na.mp4,val,9.5\n", "manifest.csv:2: bytes is `9.5`, which is no whole number"),
        ("path,split,bytes\na.mp4,val,9 kB\n", "manifest.csv:2: bytes is `9 kB`"),
        ("path,split\na.mp4,val\nb/a.flv,val\n", "manifest.csv:3: a occurs twice"),
    ],
)
def test_a_manifest_that_cannot_be_read_names_its_line(text, message, videos, tmp_path):
    (tmp_path / "manifest.csv").write_text(text)
    with pytest.raises(DataUnusable) as raised:
        file_checks.scan({**folders(videos), "splits": tmp_path}, tiny())
    (finding,) = raised.value.findings
    assert (finding.code, message in finding.message) == ("manifest", True)


def test_bytes_as_pandas_writes_them_are_those_of_the_file(videos, tmp_path):
    sizes = [f"{record.path.stat().st_size}.0" for record in chosen(videos).records]
    rows = [{**row, "bytes": size} for row, size in zip(some_rows(videos), sizes, strict=True)]
    scanned = file_checks.scan(
        {**folders(videos), "splits": write_manifest(tmp_path / "s" / "manifest.csv", rows)}, tiny()
    )
    assert len(scanned.records) == len(rows)


def test_a_manifest_supports_file_names_that_are_not_utf8(tmp_path):
    folder = tmp_path / os.fsdecode(b"vid\xe9os") / "crema"
    folder.mkdir(parents=True)
    for name in (b"1001_DFA_ANG_XX.flv", b"caf\xe9.flv"):
        (folder / os.fsdecode(name)).touch()
    scanned = file_checks.scan({"crema": folder}, tiny())
    place = tmp_path / "splits" / "manifest.csv"
    manifest.write(place, scanned, {"crema": folder})
    assert b"crema/caf\xe9.flv" in place.read_bytes()
    assert file_checks.scan({"crema": folder, "splits": place.parent}, tiny()).split_of == scanned.split_of


def test_options_that_do_not_fit_each_other_are_named():
    keys = {f.key for f in config.check_options(tiny(size=40, frames=3, depths=(1,) * 5))}
    assert keys == {"cache_size", "frames", "depths"}


def test_manifest_and_boxes_may_have_a_mark_blank_lines_and_other_words(tmp_path):
    text = "path;split;label\r\na.mp4;Training;Anger\r\n\r\nb.mp4;valid;\r\n\r\n"
    (tmp_path / "manifest.csv").write_text("\ufeff" + text, newline="")
    lines = manifest.read(tmp_path / "manifest.csv")
    assert [(name, line.split, line.label) for name, line in lines.items()] == [
        ("a", "train", "Anger"),
        ("b", "val", ""),
    ]
    (tmp_path / "faces.csv").write_text("\ufeffname,x,y,width,height\na.mp4,1.0,2,30,40\n\n", newline="")
    assert boxes.read(tmp_path) == {"a": (1, 2, 30, 40)}
