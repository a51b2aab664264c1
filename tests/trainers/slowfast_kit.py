"""A SlowFast small enough for tests, over the sample videos."""

import csv
from pathlib import Path

from trainers import preflight
from trainers.engine.events import Silent
from trainers.preflight import Request
from trainers.slowfast.config import Config
from trainers.slowfast.trainer import SlowFastTrainer

TINY = {
    "frames": 8,
    "size": 32,
    "cache_size": 36,
    "depths": (1, 1),
    "width": 4,
    "beta": 2,
    "batch_size": 12,
    "test_clips": 3,
    "epochs": 2,
    "warmup_epochs": 0.5,
    "learning_rate": 0.004,
    "num_workers": 0,
    "progress_seconds": 1e9,
}


def tiny(**more: object) -> Config:
    return Config(**{**TINY, **more})


def folders(videos: Path) -> dict[str, Path]:
    return {name: videos / name for name in ("ravdess", "crema")}


def opened(videos: Path, cache: Path, **more: object) -> SlowFastTrainer:
    return SlowFastTrainer.open(tiny(**more), folders(videos), cache, Silent())


def check(data: dict[str, Path], work: Path, kind: type | None = None, **more: object) -> tuple[dict, int]:
    config = {**TINY, **more}
    plain = {key: list(value) if isinstance(value, tuple) else value for key, value in config.items()}
    paths = {name: str(path) for name, path in data.items()}
    return preflight.check("slowfast", Request(plain, paths, "full", work), Silent(), kind)


def codes(report: dict, severity: str = "error") -> set[str]:
    return {f["code"] for f in report["findings"] if f["severity"] == severity}


def write_manifest(path: Path, rows: list[dict[str, str]]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path.parent
