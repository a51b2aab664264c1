"""Run folders as no run should leave them: each maker changes the folder of a run that is complete."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

DEEP = "[" * 100_000
_DEEP_OBJECT = f'{{"gpus": {"[" * 300}{"]" * 300}}}'
RUN_JSON: dict[str, Any] = {
    "v": 1,
    "job": "job",
    "mark": "0123456789abcdef",
    "argv": ["true"],
    "created": 1.0,
    "who": "ana@host",
    "env": {"A": "b"},
    "outputs": ["out"],
    "limits": {"grace_seconds": 1.0},
    "trainer": None,
}
STATE_JSON: dict[str, Any] = {
    "v": 1,
    "boot": "none",
    "supervisor": {"pid": 1, "ticks": 2},
    "attempt": 1,
    "started": 1.0,
    "heartbeat": 2.0,
    "used_seconds": 1.0,
    "ended": 2.0,
    "exit_code": 0,
    "reason": "exit",
}


def complete(folder: Path) -> Path:
    """Writes a run that succeeded."""
    (folder / "checkpoints" / "12").mkdir(parents=True)
    (folder / "work").mkdir()
    for name, text in (
        ("run.json", json.dumps({"id": folder.name, **RUN_JSON})),
        ("state.json", json.dumps({"id": folder.name, **STATE_JSON})),
        ("log", "a line\n"),
        ("events.jsonl", '{"v": 1, "t": 1.0, "event": "progress", "step": 3, "of": 10}\n'),
        ("checkpoints/best", "12\n"),
        ("checkpoints/last", "12\n"),
    ):
        (folder / name).write_text(text)
    return folder


Maker = Callable[[Path], None]


def _replaced(name: str, make: Callable[[Path], object]) -> Maker:
    def change(folder: Path) -> None:
        path = folder / name
        if path.is_file():
            path.unlink()
        make(path)

    return change


def _content(name: str, content: str | bytes) -> Maker:
    raw = content if isinstance(content, bytes) else content.encode()
    return _replaced(name, lambda path: path.write_bytes(raw))


def _keys(name: str, **changes: Any) -> Maker:
    def change(folder: Path) -> None:
        path = folder / name
        path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))

    return change


def _file_for_folder(folder: Path) -> None:
    for path in sorted((folder / "checkpoints").iterdir()):
        path.rmdir() if path.is_dir() else path.unlink()
    (folder / "checkpoints").rmdir()
    (folder / "checkpoints").write_text("a file")


def _loop(path: Path) -> None:
    path.symlink_to(path.name)


_FILES = ("run.json", "state.json", "log", "events.jsonl")
DAMAGED: dict[str, Maker] = {
    **{f"{name} is a named pipe": _replaced(name, os.mkfifo) for name in _FILES},
    **{f"{name} is a link to itself": _replaced(name, _loop) for name in _FILES},
    **{f"{name} is a folder": _replaced(name, Path.mkdir) for name in _FILES},
    **{f"{name} is a device": _replaced(name, lambda p: p.symlink_to("/dev/zero")) for name in _FILES},
    **{f"{name} is nested too deep": _content(name, DEEP) for name in _FILES[:2]},
    **{
        f"{name} is nested deep": _content(name, f'{{"gpus": {"[" * 300}{"]" * 300}}}') for name in _FILES[:2]
    },
    **{f"{name} is no JSON": _content(name, b"\xff\0{") for name in _FILES[:2]},
    **{f"{name} is a list": _content(name, "[]") for name in _FILES[:2]},
    **{f"{name} is empty": _content(name, "") for name in _FILES[:2]},
    **{
        f"run.json has another type at {key}": _keys("run.json", **{key: value})
        for key, value in {
            "job": {"a": 1},
            "mark": 5,
            "argv": "true",
            "created": 10**400,
            "env": ["A"],
            "limits": 3,
            "outputs": {"a": []},
            "code": "x",
            "trainer": ["t"],
            "data": {"a": 1},
        }.items()
    },
    **{
        f"state.json has another type at {key}": _keys("state.json", **{key: value})
        for key, value in {
            "supervisor": [1],
            "child": {"pid": "1", "ticks": 2},
            "ended": "today",
            "heartbeat": 1e999,
            "exit_code": "0",
            "gpus": {},
            "shared_memory": [[]],
            "used_seconds": -(10**400),
            "by": {},
        }.items()
    },
}
"""By what is odd; each is to be reported."""

TOLERATED: dict[str, Maker] = {
    "a checkpoint named ²": lambda folder: (folder / "checkpoints" / "²").mkdir(),
    "a checkpoint of 250 digits": lambda folder: (folder / "checkpoints" / ("1" * 250)).mkdir(),
    "checkpoints is a file": _file_for_folder,
    "last is a named pipe": _replaced("checkpoints/last", os.mkfifo),
    "best is a link to itself": _replaced("checkpoints/best", _loop),
    "best names ²": _content("checkpoints/best", "²"),
    "an event nested too deep": _content("events.jsonl", f'{DEEP}\n{{"event": "end"}}\n'),
    "an event nested deep": _content("events.jsonl", f'{{"event": "x", "split": {"[" * 400}{"]" * 400}}}\n'),
    "an event of other types": _content("events.jsonl", '{"event": {}, "t": [], "split": {"a": []}}\n'),
    "events that are no text": _content("events.jsonl", b"\xff\xfe\0\n\n[]\n5\nnull\n"),
    "a number of 5,000 digits": _content("events.jsonl", f'{{"event": "progress", "of": {"9" * 5000}}}\n'),
    "Infinity": _content("events.jsonl", '{"event": "progress", "t": Infinity, "of": NaN, "epoch": 1e999}\n'),
    "a log of NULs": _content("log", b"\0" * 100_000),
}
"""Odd, but each part of the run can be read."""
