"""What can be seen of a run on its host: its files and its processes, no opinion."""

from __future__ import annotations

import json
import os
import subprocess
from typing import Any

from orchestrator.core import tmux
from orchestrator.core.layout import RUN_ID, Layout
from orchestrator.onhost import jsonfile, proc

_TAIL = 16 * 1024
_EVENTS_BACK = 1024 * 1024
_FULL = 10
_BRIEF = (
    "id",
    "job",
    "created",
    "who",
    "trainer",
    "limits",
    "outputs",
    "mark",
    "client",
    "pass_env",
)


def run_ids(layout: Layout) -> list[str]:
    """Every run on this host, oldest first."""
    try:
        names = os.listdir(layout.runs)
    except OSError:
        return []
    return sorted((name for name in names if RUN_ID.match(name)), key=lambda name: name[-20:])


def one(
    layout: Layout,
    run_id: str,
    lines: int,
    sessions: set[str] | None = None,
    marks: dict[str, list[int]] | None = None,
    brief: bool = False,
) -> dict[str, Any] | None:
    """The facts of a run; None where it has no folder. Sessions and marks are asked for unless given.

    `brief`: without log and events, of which a run may have many.
    """
    paths = layout.run(run_id)
    if not os.path.isdir(paths.folder):
        return None
    spec = jsonfile.load(paths.run_json)
    state = jsonfile.load(paths.state)
    sessions = session_names(layout) if sessions is None else sessions
    marks = proc.by_mark() if marks is None else marks
    name = tmux.session_name(run_id)
    return {
        "id": run_id,
        "folder": paths.folder,
        "run": {key: spec.get(key) for key in _BRIEF} if spec else None,
        "state": state,
        "brief": brief,
        "supervised": bool(state) and proc.alive(state["supervisor"], state["boot"]),  # type: ignore[index]
        "pids": marks.get(spec["mark"], []) if spec else [],
        "session": name if name in sessions else None,
        "log": {"bytes": _size(paths.log), "tail": [] if brief else tail(paths.log, lines)},
        "events": [] if brief else telling_events(paths.events),
        "checkpoints": checkpoints(paths.checkpoints),
        "folder_changed": os.stat(paths.folder).st_mtime,
    }


def every(
    layout: Layout, lines: int, sessions: set[str], marks: dict[str, list[int]]
) -> list[dict[str, Any]]:
    """All runs, oldest first: the last few and those that are going in full, the others in brief."""
    found = []
    ids = run_ids(layout)
    for run_id in ids:
        seen = one(layout, run_id, lines, sessions, marks, brief=run_id not in ids[-_FULL:])
        if seen and seen["brief"] and (seen["supervised"] or seen["pids"]):
            seen = one(layout, run_id, lines, sessions, marks)
        if seen:
            found.append(seen)
    return sorted(found, key=_begun)


def _begun(seen: dict[str, Any]) -> float:
    """Ids tell seconds; two runs may share one."""
    created = (seen["run"] or {}).get("created")
    return float(created or seen["folder_changed"])


def session_names(layout: Layout) -> set[str]:
    try:
        done = subprocess.run(
            tmux.listing(tmux.server(layout.tmux_socket)),
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            stdin=subprocess.DEVNULL,
            timeout=10,
        )
    except (OSError, subprocess.TimeoutExpired):
        return set()
    return {session.name for session in tmux.parse_listing(done.stdout.decode(errors="replace"))}


def tail(path: str, lines: int) -> list[str]:
    """The last lines as a terminal would show them: of a progress bar, what stands after the last return."""
    if lines <= 0:
        return []
    text = _last_bytes(path, _TAIL).decode("utf-8", errors="replace")
    shown = [line.rstrip("\r").rsplit("\r", 1)[-1] for line in text.split("\n")]
    return [line for line in shown if line.strip()][-lines:]


def telling_events(path: str) -> list[str]:
    """Raw lines, in order: the last of each kind (of `metrics`: of each split) and the attempt's start.

    Only the last MiB is read, so that a question stays cheap on a run of days.
    """
    kept: dict[str, str] = {}
    for line in _last_bytes(path, _EVENTS_BACK).decode("utf-8", errors="replace").split("\n"):
        key = _kind(line)
        if key:
            kept.pop(key, None)
            kept[key] = line
    return list(kept.values())


def _kind(line: str) -> str | None:
    try:
        event = json.loads(line)
        return "%s/%s" % (
            event["event"],
            event.get("split") or event.get("best") or event.get("rule") or "",
        )
    except (ValueError, KeyError, TypeError, AttributeError):
        return None


def checkpoints(folder: str) -> dict[str, Any]:
    """Complete checkpoints by step, and what `last` and `best` name."""
    try:
        names = os.listdir(folder)
    except OSError:
        names = []
    found: dict[str, Any] = {"steps": sorted(int(name) for name in names if name.isdigit())}
    for pointer in ("last", "best"):
        text = _last_bytes(os.path.join(folder, pointer), 64).decode(errors="replace").strip()
        found[pointer] = int(text) if text.isdigit() else None
    return found


def _last_bytes(path: str, limit: int) -> bytes:
    try:
        with open(path, "rb") as handle:
            end = handle.seek(0, os.SEEK_END)
            handle.seek(max(0, end - limit))
            return handle.read(limit)
    except OSError:
        return b""


def _size(path: str) -> int:
    try:
        return os.stat(path).st_size
    except OSError:
        return 0
