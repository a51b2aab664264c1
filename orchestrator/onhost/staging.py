"""What a fetch takes home, pinned under its hash while it is read: checkpoints, log, events, outputs."""

from __future__ import annotations

import contextlib
import os
import shutil
import time
from typing import Any, Iterator

from orchestrator.core.layout import Layout, RunPaths
from orchestrator.core.paths import inside
from orchestrator.onhost import ballast, files, jsonfile, proc
from orchestrator.onhost.answers import Refused

_TRIES = 20


def stage(layout: Layout, run_id: str, which: str) -> dict[str, Any]:
    """Pins what `which` (best, last or all) names, and answers with names, sizes and sha256.

    `left_out` are files that cannot come along, `missing` the outputs that do not exist.
    The stage holds each file under its sha256, so that a part of it can belong to no other.
    A checkpoint that the trainer prunes meanwhile stays whole in the stage; `unstage` removes it.
    `no_room`: what a going run still writes to, and the disk has no room to copy; left out.
    """
    paths = layout.run(run_id)
    if not os.path.isdir(paths.folder):
        raise Refused("absent", "no run %s on this host" % run_id)
    files.touch(layout)
    over = files.is_over(layout, run_id)
    for _ in range(_TRIES):
        try:
            return _staged(paths, which, over)
        except FileNotFoundError:
            continue  # the trainer pruned what was being pinned: its pointers name something newer by now
        except OSError as error:
            if error.errno not in ballast.FULL:
                raise
            if not ballast.give(paths, keep=0 if over else ballast.FOR_THE_END):
                raise _no_room(paths, run_id) from None
    raise Refused("changing", "the checkpoints of %s change faster than they can be read" % run_id)


def _no_room(paths: RunPaths, run_id: str) -> Refused:
    free = shutil.disk_usage(paths.folder).free / 2**20
    what = "the disk of the host is full: %s cannot be staged with %.1f MiB free" % (run_id, free)
    return Refused("no-room", what)


def _staged(paths: RunPaths, which: str, over: bool) -> dict[str, Any]:
    _forget_stages(paths)
    token = "%d-%d-%d" % (os.getpid(), proc.ticks(os.getpid()) or 0, time.monotonic_ns())
    folder = os.path.join(paths.stage, token)
    pinned, no_room = [], []
    try:
        os.makedirs(folder, mode=0o700)
        left_out = _outside(paths)
        for source, relative in _wanted(paths, which):
            file = _file(paths, source)
            if not file and not os.path.lexists(source):
                if _is_checkpoint(relative):
                    raise FileNotFoundError(source)  # pruned since it was listed
                continue
            if not file or not inside(relative):
                left_out.append(relative)
                continue
            try:
                pinned.append(_pinned(file, relative, folder, over))
            except OSError as error:
                if over or error.errno not in ballast.FULL or _is_replaced(relative):
                    raise
                no_room.append(relative)
    except OSError:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    told = {"left_out": left_out, "missing": _missing(paths), "no_room": no_room}
    return dict(told, token=token, folder=folder, files=pinned)


def _forget_stages(paths: RunPaths) -> None:
    """What helpers left that are gone: a client that was cut could not unstage."""
    for name in os.listdir(paths.stage) if os.path.isdir(paths.stage) else []:
        pid, _, rest = name.partition("-")
        if not pid.isdigit() or str(proc.ticks(int(pid))) != rest.partition("-")[0]:
            shutil.rmtree(os.path.join(paths.stage, name), ignore_errors=True)


def unstage(layout: Layout, run_id: str, token: str) -> dict[str, Any]:
    paths = layout.run(run_id)
    shutil.rmtree(os.path.join(paths.stage, os.path.basename(token)), ignore_errors=True)
    files.touch(layout)
    return {}


def _wanted(paths: RunPaths, which: str) -> Iterator[tuple[str, str]]:
    for name in ("run.json", "state.json", "log", "events.jsonl"):
        yield os.path.join(paths.folder, name), name
    steps = _steps(paths, which)
    for step in [*steps, *_others(paths)]:
        yield from _files_at(os.path.join(paths.checkpoints, step), "checkpoints/" + step)
    for pointer in ("last", "best"):
        if _pointer(paths, pointer) in steps:
            yield os.path.join(paths.checkpoints, pointer), "checkpoints/" + pointer
    for output in _outputs(paths):
        yield from _output(paths, output)


def _output(paths: RunPaths, output: str) -> Iterator[tuple[str, str]]:
    base = os.path.realpath(paths.work)
    path = os.path.realpath(os.path.join(base, output))
    if _is_inside(base, path) and os.path.exists(path):
        yield from _files_at(path, "outputs/" + output.strip("/"))


def _is_inside(base: str, path: str) -> bool:
    return path == base or path.startswith(base + os.sep)


def _outside(paths: RunPaths) -> list[str]:
    """Outputs that lead out of the working directory: left out, and told."""
    base = os.path.realpath(paths.work)
    return [n for n in _outputs(paths) if not _is_inside(base, os.path.realpath(os.path.join(base, n)))]


def _missing(paths: RunPaths) -> list[str]:
    """Outputs that the run has not made, or that the job names otherwise than they are."""
    return [name for name in _outputs(paths) if not os.path.lexists(os.path.join(paths.work, name))]


def _outputs(paths: RunPaths) -> list[str]:
    return list((jsonfile.load(paths.run_json) or {}).get("outputs") or [])


def _steps(paths: RunPaths, which: str) -> list[str]:
    if which == "all":
        names = os.listdir(paths.checkpoints) if os.path.isdir(paths.checkpoints) else []
        return sorted((name for name in names if name.isdigit()), key=int)
    step = _pointer(paths, which)
    return [step] if step else []


def _others(paths: RunPaths) -> list[str]:
    """What a script of the user's keeps among the checkpoints under names of its own."""
    names = os.listdir(paths.checkpoints) if os.path.isdir(paths.checkpoints) else []
    return sorted(n for n in names if not (n.isdigit() or n.startswith(".") or n in ("last", "best")))


def _pointer(paths: RunPaths, name: str) -> str:
    try:
        with open(os.path.join(paths.checkpoints, name)) as handle:
            text = handle.read(64).strip()
    except OSError:
        return ""
    return text if text.isdigit() else ""


def _files_at(path: str, relative: str) -> Iterator[tuple[str, str]]:
    """The file, or all below a folder, with links to folders as they are."""
    if os.path.islink(path) or not os.path.isdir(path):
        yield path, relative
        return
    for at, folders, names in os.walk(path):
        below = os.path.relpath(at, path)
        for name in sorted(names + [one for one in folders if os.path.islink(os.path.join(at, one))]):
            yield os.path.join(at, name), os.path.normpath(os.path.join(relative, below, name))


def _file(paths: RunPaths, source: str) -> str:
    """The regular file at `source`, also behind a link that leads to one of the run's own; else nothing."""
    if os.path.islink(source):
        source = os.path.realpath(source)
        own = [os.path.realpath(folder) for folder in (paths.work, paths.checkpoints)]
        if not any(_is_inside(folder, source) for folder in own):
            return ""
    return source if os.path.isfile(source) else ""


def _is_checkpoint(relative: str) -> bool:
    parts = relative.split("/")
    return len(parts) > 1 and parts[0] == "checkpoints" and parts[1].isdigit()


def _pinned(source: str, relative: str, folder: str, over: bool) -> dict[str, Any]:
    """What stands in `folder` under its sha256 now.

    What is replaced and never written to is pinned by a link, which takes no room; once the run is over,
    that is all of it. Any other file is copied, that its hash stay true.
    """
    target = os.path.join(folder, "pinned")
    try:
        linked = (over or _is_replaced(relative)) and _linked(source, target)
        digest = files.sha256(target) if linked else _copied(source, target)
    except OSError:
        with contextlib.suppress(OSError):
            os.unlink(target)
        raise
    entry = {"path": relative, "bytes": os.stat(target).st_size, "sha256": digest}
    os.replace(target, os.path.join(folder, digest))
    return entry


def _is_replaced(relative: str) -> bool:
    """A user's own script may write to its pointers and to what it keeps beside them, so those are not."""
    return _is_checkpoint(relative) or relative in ("run.json", "state.json")


def _linked(source: str, target: str) -> bool:
    """Not every file system has hard links, nor does every kernel let us link what another user owns."""
    try:
        os.link(source, target)
    except FileNotFoundError:
        raise
    except OSError:
        return False
    return True


def _copied(source: str, target: str) -> str:
    with open(source, "rb") as handle, open(target, "wb") as copy:
        return files.digest(handle, copy)
