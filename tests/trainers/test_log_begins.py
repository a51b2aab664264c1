"""The first lines of every trainer's log say what it trains, with what and where."""

import re
from pathlib import Path

import faces
import pytest
import slowfast_kit
import trainer_runs

from trainers.engine.loop import TrainingLoop
from trainers.engine.state import Outcome

OPTIONS = {
    "blendshapes": faces.SMALL,
    "facenet-lstm": {"hidden": [8], "dense": [8], "num_workers": 0},
    "i3d-teacher": {"preset": "tiny", "num_workers": 0},
    "mobilenet-v3": {"preset": "tiny", "num_workers": 0},
    "slowfast": {k: list(v) if isinstance(v, tuple) else v for k, v in slowfast_kit.TINY.items()},
}


@pytest.fixture(params=OPTIONS)
def begun(request, tmp_path, monkeypatch) -> tuple[str, list[str]]:
    """The trainer, and the log of a training that ends before its first step."""
    name, root = request.param, tmp_path / "data"
    if name == "blendshapes":
        faces.drop_invalid_rows(faces.write(root))
    else:
        root = request.getfixturevalue({"facenet-lstm": "sample", "slowfast": "videos"}.get(name, "signs"))
    monkeypatch.setattr(TrainingLoop, "_out_of_patience", lambda self: True)
    monkeypatch.setattr(TrainingLoop, "_finish", lambda self: Outcome("done", 0, "ended"))
    folders = {path.name: path for path in root.iterdir() if path.is_dir()}
    run = tmp_path / "runs" / "run"
    options = {**OPTIONS[name], "max_refused": 0.5, "device": "cpu", "threads": 1}
    code = trainer_runs.train_here(name, run, folders, options)
    assert code == 0, (run / "log").read_text()
    return name, (run / "log").read_text().splitlines()


def test_the_log_begins_with_data_splits_model_device_and_threads(begun, tmp_path: Path):
    name, lines = begun
    assert re.match(r"data: \d+ \w+ found, \d+ used$", lines[0])
    assert re.match(r"  \S.*: .*train \d+|  train: ", lines[1]), lines
    (model,) = [number for number, line in enumerate(lines) if line.startswith(f"model: {name}, ")]
    assert re.search(r"[\d,]+ parameters; device: cpu, CPU threads: 1, float32$", lines[model])
    assert lines[model + 1].startswith("first batch, as the model gets it: mean ")
    assert ", std " in lines[model + 1]
    assert model < 16
    (start,) = trainer_runs.events(tmp_path / "runs" / "run", "start")
    assert f"{start['parameters']:,} parameters" in lines[model]
    assert (start["device"], start["threads"]) == ("cpu", 1)
