"""Figures of an evaluation: SVG files that the browser shows, from results, events and raw input."""

import csv
import json
import sys
import xml.etree.ElementTree as ET
from pathlib import Path
from types import SimpleNamespace

import checkpoints
import numpy as np
import pytest
from test_old_checkpoints import unpacked

from trainers import __main__ as command
from trainers import registry
from trainers.blendshapes import files
from trainers.engine import checkpoint, contact_sheet, plots

CLASSES = ("happy", "sad", "neutral")


def columns() -> plots.Columns:
    values = np.random.default_rng(0).random((30, 5))
    values[:, 2] = 0.5
    values[:10, 1] += 3.0
    return plots.Columns(list("abcde"), values, [CLASSES[row // 10] for row in range(30)])


REPORT = {
    "classes": list(CLASSES),
    "confusion": [[8, 1, 1], [2, 8, 0], [0, 0, 0]],
    "per_class": {name: {"precision": 0.5, "recall": None, "f1": 0.4, "count": 10} for name in CLASSES},
    "calibration": [
        {"confidence": 0.4, "accuracy": 0.5, "count": 10},
        {"confidence": 0.9, "accuracy": 0.7, "count": 10},
    ],
}


def texts(path: str) -> str:
    """The comments of an SVG file, in which Matplotlib writes each text; fails unless the file is SVG."""
    assert ET.parse(path).getroot().tag.endswith("svg")
    return Path(path).read_text()


def test_each_part_of_a_report_and_of_a_run_has_a_figure(tmp_path):
    (tmp_path / "run").mkdir()
    progress = {"event": "progress", "phase": "train", "loss": 1.0, "lr": 1e-3, "grad_norm": None}
    metrics = {"event": "metrics", "split": "val", "values": {"loss": 2.0, "accuracy": 0.5}}
    lines = [json.dumps({**event, "step": step}) for step in (1, 2) for event in (progress, metrics)]
    (tmp_path / "run" / "events.jsonl").write_text("\n".join([*lines, "{torn"]))
    paths = plots.write(tmp_path / "a" / "b", REPORT, tmp_path / "run", columns())
    names = ["confusion", "per-class", "calibration", "curves", "distributions", "correlation", "scatter"]
    assert [Path(path).stem for path in paths] == names
    found = {Path(path).stem: texts(path) for path in paths}
    assert all(f"<!-- {name} -->" in found["confusion"] for name in (*CLASSES, "truth", "answer"))
    assert "<!-- accuracy -->" in found["curves"]
    assert "<!-- grad_norm -->" not in found["curves"]
    assert "<!-- b -->" in found["distributions"]
    assert "<!-- c -->" not in found["correlation"]  # it does not vary


def test_equal_results_give_equal_bytes_and_replace_older_figures(tmp_path):
    report = {"calibration": REPORT["calibration"]}
    (path,) = plots.write(tmp_path, report, tmp_path, None)
    before = Path(path).read_bytes()
    assert plots.write(tmp_path, report, tmp_path, None) == [path]
    assert Path(path).read_bytes() == before
    assert [str(file) for file in tmp_path.iterdir()] == [path]


def test_a_report_of_glosses_has_their_table_alone(tmp_path):
    glosses = {
        f"GLOSS{number}": {"precision": 1.0, "recall": 0.5, "f1": 0.6, "count": number}
        for number in range(99)
    }
    (path,) = plots.write(tmp_path, {"per_class": glosses}, tmp_path, None)
    assert "<!-- GLOSS98 -->" in texts(path)
    assert "<!-- GLOSS9 -->" not in texts(path)


def test_columns_that_tell_classes_apart_come_first():
    assert plots.varied(columns(), 2)[0] == 1


def test_evaluate_writes_figures_of_the_run_and_names_them(tmp_path, capsys, monkeypatch):
    save = plots._save
    monkeypatch.setattr(
        plots, "_save", lambda path, draw: save(path, draw) if "scatter" in path.stem else path
    )
    root = unpacked("blendshapes-checkpoint", tmp_path / "run" / "checkpoints")
    data = unpacked("blendshapes-data", tmp_path / "data")
    words = ["evaluate", str(root / "6"), "--data", str(data), "--split", "val", "--plots"]
    assert command.main([*words, str(tmp_path / "figures")]) == 0
    report = json.loads(capsys.readouterr().out)
    assert {Path(path).stem for path in report["plots"]} > {"confusion", "per-class", "correlation"}
    assert "<!-- happy -->" in texts(report["plots"][-1])


@pytest.fixture
def evaluated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The words that evaluate a checkpoint of blendshapes; only the contact sheet is drawn."""
    save = plots._save
    monkeypatch.setattr(plots, "_save", lambda path, draw: save(path, draw) if path.stem == "wrong" else path)
    root = unpacked("blendshapes-checkpoint", tmp_path / "run" / "checkpoints")
    data = unpacked("blendshapes-data", tmp_path / "data")
    return ["evaluate", str(root / "6"), "--data", str(data), "--split", "val"]


def test_wrong_answers_are_shown_with_their_pictures(evaluated, tmp_path, capsys):
    image = pytest.importorskip("PIL.Image")
    for table in (tmp_path / "data").rglob("*.csv"):
        for row in csv.DictReader(table.read_text().splitlines()):
            path = tmp_path / "images" / row["file"]
            path.parent.mkdir(parents=True, exist_ok=True)
            image.new("L", (8, 8), 99).save(path, "PNG")
    words = [*evaluated, "--plots", str(tmp_path / "figures"), "--pictures", str(tmp_path / "images")]
    assert command.main(words) == 0
    report = json.loads(capsys.readouterr().out)
    assert Path(report["plots"][-1]).name == "wrong.svg"
    svg = texts(report["plots"][-1])
    shown = svg.count("data:image/png")
    assert shown == min(contact_sheet.MOST, len(report["wrong"])) > 0
    assert f"<!-- {report['wrong'][0]['truth']}, -->" in svg


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--plots", "figures", "--pictures", "empty"], "the picture of no wrong answer is there"),
        (["--plots", "figures", "--pictures", "nowhere"], "must be a folder, and needs --plots DIR"),
        (["--pictures", "empty"], "must be a folder, and needs --plots DIR"),
    ],
)
def test_pictures_that_are_not_there_are_an_error(evaluated, tmp_path, capsys, more, message):
    (tmp_path / "empty").mkdir()
    assert command.main(["-C", str(tmp_path), *evaluated, *more]) == 2
    assert message in capsys.readouterr().err


def test_the_picture_of_a_row_is_only_looked_for_in_its_folder(tmp_path):
    trainer = registry.trainer("blendshapes").__new__(registry.trainer("blendshapes"))
    (tmp_path / "images").mkdir()
    pytest.importorskip("PIL.Image").new("L", (8, 8)).save(tmp_path / "x.png")
    for source in ("../x.png", str(tmp_path / "x.png"), "absent.png", ""):
        row = files.Row("x:1", Path("x"), 1, (0.5,), "happy", source=source)
        assert trainer.picture(row, tmp_path / "images") is None
        assert trainer.picture(row, None) is None
    row = files.Row("x:1", Path("x"), 1, (0.5,), "happy", source="a\\..\\..\\x.png")
    assert trainer.picture(row, tmp_path / "images") is None
    assert trainer.picture(row, tmp_path / "images" / "..") is None
    row = files.Row("x:1", Path("x"), 1, (0.5,), "happy", source="images\\..\\x.png")
    assert trainer.picture(row, tmp_path).shape == (8, 8, 3)


def test_the_picture_of_a_video_is_its_middle_frame(tmp_path):
    saved = checkpoint.read(checkpoints.write("slowfast", tmp_path))
    trainer = registry.trainer("slowfast").restore(saved)
    path = checkpoints.write_input("slowfast", tmp_path)
    size = trainer.config.cache_size
    assert trainer.picture(SimpleNamespace(path=path), None).shape == (size, size, 3)
    path.write_bytes(b"torn")
    assert trainer.picture(SimpleNamespace(path=path), None) is None


def test_without_matplotlib_the_package_is_named_before_anything_runs(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    assert command.main(["evaluate", str(tmp_path / "absent"), "--plots", str(tmp_path)]) == 2
    assert (
        "--plots needs Matplotlib, which is not installed: pip install matplotlib" in capsys.readouterr().err
    )


@pytest.mark.parametrize("content", ["", "{torn", "[1]\n3\n"])
def test_a_run_without_usable_events_has_no_curves(tmp_path, content):
    (tmp_path / "events.jsonl").write_text(content)
    assert plots.curves_of(tmp_path / "events.jsonl") == {}
