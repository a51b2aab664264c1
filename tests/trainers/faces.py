"""Sample blendshapes for tests to change, and checks of them."""

import csv
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import trainer_runs

from trainers import preflight
from trainers.blendshapes import sample
from trainers.engine.events import Silent
from trainers.preflight import Request

SMALL = {"hidden": [16], "epochs": 4, "warmup_epochs": 1.0, "batch_size": 64, "learning_rate": 0.01}

Rows = list[dict[str, str]]


def write(folder: Path, size: int = 420) -> Path:
    """Write a small sample; return the folder that contains `blendshapes`."""
    sample.write(folder, size, 0, Silent())
    return folder


def read(path: Path) -> Rows:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def edit(path: Path, change: Callable[[Rows], Rows | None]) -> None:
    """Replace a file by its changed rows; the keys of the first row become the columns."""
    rows = read(path)
    rows = change(rows) or rows
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]), restval="")
        writer.writeheader()
        writer.writerows(rows)


def drop_invalid_rows(folder: Path) -> Path:
    """Write the sample without its invalid rows."""
    edit(folder / "blendshapes" / "train.csv", lambda rows: rows[7:])
    return folder


def check(
    folder: Path, tier: str = "files", kind: type | None = None, **config: object
) -> tuple[dict[str, Any], int]:
    data = {"blendshapes": str(folder / "blendshapes")}
    request = Request({**SMALL, **config}, data, tier, folder / "work")
    return preflight.check("blendshapes", request, Silent(), kind)


def messages(report: Mapping[str, Any], code: str) -> str:
    """Return the messages of all errors and warnings with this code."""
    return "; ".join(
        f["message"] for f in report["findings"] if f["code"] == code and f["severity"] != "info"
    )


def train(run: Path, folder: Path, **config: object) -> int:
    """Run `train blendshapes` in this process; its output is written to `<run>/log`."""
    data = {"blendshapes": folder / "blendshapes"}
    return trainer_runs.train_here("blendshapes", run, data, {**SMALL, **config})


@pytest.fixture(scope="session")
def pristine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return drop_invalid_rows(write(tmp_path_factory.mktemp("faces")))


@pytest.fixture
def folder(pristine: Path, tmp_path: Path) -> Path:
    """A copy of the sample that this test may change."""
    return Path(shutil.copytree(pristine, tmp_path / "faces"))


def train_file(folder: Path) -> Path:
    return folder / "blendshapes" / "train.csv"


def errors(report: dict) -> set[str]:
    return {f["code"] for f in report["findings"] if f["severity"] == "error"}


def has_known_label(row: dict[str, str]) -> bool:
    return row["label"] in ("happy", "sad", "neutral")
