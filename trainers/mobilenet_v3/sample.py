"""Writes sample data for the student, and trains a small teacher on it."""

import shutil
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from trainers import registry
from trainers.data.sign import sample
from trainers.data.sign.sample import SIZE
from trainers.engine import checkpoint
from trainers.engine.distributed import Group, pick_device
from trainers.engine.events import Events, Silent
from trainers.engine.loop import TrainingLoop

__all__ = ["SIZE", "write"]

TEACHER = "i3d-teacher"
RECIPE = {"batch_size": 8, "warmup_epochs": 1.0, "learning_rate": 0.002, "dropout": 0.1}
LEAST_SENTENCES, STEPS = 100, 3
"""Optimizer steps of the teacher per sentence, which are enough to recognise the signs. Data of fewer
sentences than LEAST_SENTENCES is too small to train on, so the teacher is tiny and trained for one epoch."""


class _Progress(Silent):
    """Forwards the training's progress events with the phase `prepare`."""

    def __init__(self, events: Events) -> None:
        super().__init__()
        self._events = events

    def __call__(self, event: str, **fields: object) -> None:
        if event == "progress":
            self._events("progress", phase="prepare", step=fields["step"], of=fields["of"])


def write(folder: Path, size: int, seed: int, events: Events) -> dict[str, object]:
    """Write `folder`/phoenix, and a checkpoint of i3d-teacher to `folder`/teacher."""
    written = sample.write(folder, size, seed, events)
    values = train_teacher(folder / "phoenix", folder / "teacher", size, seed, events)
    folders = {"phoenix": str(folder / "phoenix"), "teacher": str(folder / "teacher")}
    return {**written, "folders": folders, "teacher_wer": values["wer"]}


def train_teacher(data: Path, to: Path, size: int, seed: int, events: Events) -> dict[str, float]:
    """Train a small teacher and copy its best checkpoint to the folder `to`; returns its metrics."""
    preset, steps = ("small", STEPS * size) if size >= LEAST_SENTENCES else ("tiny", 1)
    options: Any = registry.describe(TEACHER).config
    config = options(**RECIPE, preset=preset, seed=seed, num_workers=0, patience=0)
    with TemporaryDirectory(prefix="gpujob-sample-") as work:
        trainer = registry.trainer(TEACHER).open(config, {"phoenix": data}, Path(work, "cache"), events)
        epochs = max(1, round(steps * config.batch_size / trainer.size("train")))
        root = Path(work, "checkpoints")
        group = Group(pick_device(config.device))
        TrainingLoop(
            trainer.replace(epochs=epochs, threads=1), root, _Progress(events), group, talk=False
        ).run()
        best = checkpoint.read(root / str(checkpoint.pointed(root, "best")))
        shutil.rmtree(to, ignore_errors=True)
        shutil.copytree(best.path, to)
    values: dict[str, float] = best.manifest["metrics"]
    return values
