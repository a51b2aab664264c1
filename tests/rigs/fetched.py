"""Folders as `gpujob fetch` writes them, with events of any kind."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

CLASSES = ["angry", "happy", "sad"]
NOW = 1_764_000_000.0


def run_id(number: int) -> str:
    return f"job-20261121T1011{number:02d}-{number:04x}"


def progress(step: int, **values: Any) -> dict[str, Any]:
    return {
        "v": 2,
        "t": NOW + step,
        "event": "progress",
        "phase": "train",
        "step": step,
        "of": 1000,
        **values,
    }


def metrics(step: int, **values: float) -> dict[str, Any]:
    return {"v": 2, "t": NOW + step, "event": "metrics", "split": "val", "step": step, "values": values}


def story(steps: int) -> list[dict[str, Any]]:
    """A training that learns, with a validation after each tenth of it, and its results."""
    events: list[dict[str, Any]] = [{"v": 2, "t": NOW, "event": "start", "resumed_from": None}]
    for step in range(1, steps + 1):
        norm = 1 + math.sin(step)
        events.append(progress(step, loss=2 / step, lr=1e-3 * (1 - step / steps), grad_norm=norm))
        if step % max(1, steps // 10) == 0:
            events.append(metrics(step, loss=3 / step, accuracy=step / steps))
    wrong = [{"sample": "clip 7.mp4", "truth": "sad", "answer": "happy", "probability": 0.98}]
    confusion = [[8, 1, 1], [0, 9, 1], [2, 3, 5]]
    results = {"split": "test", "step": steps, "classes": CLASSES, "confusion": confusion, "wrong": wrong}
    return [*events, {"v": 2, "event": "results", **results}]


def write(
    base: Path, number: int = 1, events: list[dict[str, Any]] | None = None, log: str = "", **record: Any
) -> Path:
    """Write the folder of a run that ended after an hour; `record` changes its run.json."""
    folder = base / run_id(number)
    folder.mkdir(parents=True)
    about: dict[str, Any] = {
        "v": 1,
        "id": run_id(number),
        "mark": "feed" * 8,
        "job": "job",
        "created": NOW,
        "who": "ana@laptop",
        "client": "0.1.0",
        "source": "train.yaml",
        "argv": ["python3", "train.py"],
        "env": {"TOKEN": "hunter2"},
        "config": {"lr": 0.1 * number, "sizes": [1, 2]},
        "data": {
            "faces": {"path": "/d", "fingerprint": "ab12", "files": 7, "bytes": 1024, "source": "faces"}
        },
        "code": {"tree": "f" * 40, "commit": "c" * 40, "dirty": True, "patch": "secret patch"},
        **record,
    }
    state = {
        "supervisor": {"pid": 1, "ticks": 1},
        "boot": "",
        "attempt": 1,
        "started": NOW,
        "used_seconds": 3600.0,
        "ended": NOW + 3600,
        "exit_code": 0,
    }
    (folder / "run.json").write_text(json.dumps(about))
    (folder / "state.json").write_text(json.dumps({**state, "reason": "exit"}))
    (folder / "log").write_text(log)
    lines = map(json.dumps, story(100) if events is None else events)
    (folder / "events.jsonl").write_text("".join(f"{line}\n" for line in lines))
    return folder
