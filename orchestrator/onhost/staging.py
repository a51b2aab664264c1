"""Stages the files that a fetch downloads: each is pinned under its hash until the download is complete."""

from __future__ import annotations

import contextlib
import os
import shutil
import time
from typing import Any, Iterator

from orchestrator.core.layout import Layout, RunPaths
from orchestrator.core.paths import inside, is_step
from orchestrator.onhost import files, folders, processes, reserved_space, run_facts, run_files
from orchestrator.onhost.errors import Refused
from orchestrator.onhost.records import RunSpec

_ATTEMPTS = 20
_POINTERS = ("last", "best")


def stage(layout: Layout, run_id: str, which: str) -> dict[str, Any]:
    """Stages the files of a run; returns `folder`, `token`, and path, bytes and sha256 of each file.

    `which` checkpoints: best, last or all. `left_out`: files that cannot be sent. `missing`: outputs that do
    not exist. `no_room`: files that the run still writes to and that do not fit on the disk as copies.

    Staged files are named after their sha256, so a partial download is never continued with another file. A
    checkpoint that the trainer deletes meanwhile stays in the stage until `unstage`.
    """
    paths = layout.run(run_id)
    if not os.path.isdir(paths.folder):
        raise Refused("no-run", "no run %s on this host" % run_id)
    run_files.record_transfer(layout)
    has_ended = run_files.has_ended(layout, run_id)
    keep = 0 if has_ended else reserved_space.FOR_THE_END
    for _ in range(_ATTEMPTS):
        try:
            return _Stage(paths, which, has_ended).create()
        except FileNotFoundError:
            continue  # the trainer pruned a checkpoint; its pointers name a newer one by now
        except OSError as error:
            if error.errno not in reserved_space.DISK_FULL:
                raise
            if not reserved_space.release(paths, keep):
                raise _disk_full(paths, run_id) from None
    raise Refused("changing", "the checkpoints of %s change faster than they can be read" % run_id)


def unstage(layout: Layout, run_id: str, token: str) -> None:
    folder = os.path.join(layout.run(run_id).stage, os.path.basename(token))
    shutil.rmtree(folder, ignore_errors=True)
    run_files.record_transfer(layout)


def _disk_full(paths: RunPaths, run_id: str) -> Refused:
    free = shutil.disk_usage(paths.folder).free / 2**20
    what = "the disk of the host is full: %s cannot be staged with %.1f MiB free" % (run_id, free)
    return Refused("no-room", what)


class _Stage:
    """One attempt to stage the files of a run."""

    def __init__(self, paths: RunPaths, which: str, has_ended: bool) -> None:
        self._paths = paths
        self._which = which
        self._has_ended = has_ended
        spec = RunSpec.load(paths.run_json)
        self._outputs = spec.outputs if spec else []
        self._work = os.path.realpath(paths.work)

    def create(self) -> dict[str, Any]:
        _remove_abandoned(self._paths)
        pid = os.getpid()
        token = "%d-%d-%d" % (pid, processes.start_ticks(pid) or 0, time.monotonic_ns())
        folder = os.path.join(self._paths.stage, token)
        try:
            os.makedirs(folder, mode=0o700)
            return dict(self._pin_all(folder), token=token, folder=folder)
        except OSError:
            shutil.rmtree(folder, ignore_errors=True)
            raise

    def _pin_all(self, folder: str) -> dict[str, Any]:
        pinned, no_room = [], []
        left_out = [name for name in self._outputs if not _is_inside(self._work, self._output(name))]
        missing = [name for name in self._outputs if not os.path.lexists(self._output_path(name))]
        for source, relative in self._sources():
            file = self._regular_file(source)
            if not file and not os.path.lexists(source):
                if _is_checkpoint(relative):
                    raise FileNotFoundError(source)  # pruned since it was listed
                continue
            if not file or not inside(relative):
                left_out.append(relative)
                continue
            try:
                pinned.append(self._pin(file, relative, folder))
            except OSError as error:
                is_copied = not (self._has_ended or _is_replaced(relative))
                if not is_copied or error.errno not in reserved_space.DISK_FULL:
                    raise
                no_room.append(relative)
        return {"left_out": left_out, "missing": missing, "no_room": no_room, "files": pinned}

    def _sources(self) -> Iterator[tuple[str, str]]:
        """Yields (path on this host, path in the fetched folder) of every file to stage."""
        for name in ("run.json", "state.json", "log", "events.jsonl"):
            yield os.path.join(self._paths.folder, name), name
        checkpoints = self._paths.checkpoints
        names = os.listdir(checkpoints) if os.path.isdir(checkpoints) else []
        steps = self._steps(names)
        own = [name for name in names if not (is_step(name) or name.startswith(".") or name in _POINTERS)]
        for name in [*steps, *sorted(own)]:
            yield from _files_below(os.path.join(checkpoints, name), "checkpoints/" + name)
        for name in _POINTERS:
            if run_facts.pointer(checkpoints, name) in steps:
                yield os.path.join(checkpoints, name), "checkpoints/" + name
        for name in self._outputs:
            path = self._output(name)
            if _is_inside(self._work, path) and os.path.exists(path):
                yield from _files_below(path, "outputs/" + name.strip("/"))

    def _steps(self, names: list[str]) -> list[str]:
        if self._which == "all":
            return sorted((name for name in names if is_step(name)), key=int)
        step = run_facts.pointer(self._paths.checkpoints, self._which)
        return [step] if step else []

    def _output_path(self, name: str) -> str:
        return os.path.join(self._work, name)

    def _output(self, name: str) -> str:
        return os.path.realpath(self._output_path(name))

    def _regular_file(self, source: str) -> str:
        """Returns the path of the regular file, following a link to another file of the run; else empty."""
        if os.path.islink(source):
            source = os.path.realpath(source)
            own = (self._work, os.path.realpath(self._paths.checkpoints))
            if not any(_is_inside(folder, source) for folder in own):
                return ""
        return source if os.path.isfile(source) else ""

    def _pin(self, source: str, relative: str, folder: str) -> dict[str, Any]:
        """Puts a file into `folder`, named after its sha256; returns its path, bytes and sha256.

        A file that is only replaced, never written to, is hard-linked, which takes no space. Once the run has
        ended, that applies to every file. Any other file is copied, so that its hash stays correct.
        """
        target = os.path.join(folder, "pinned")
        try:
            linked = (self._has_ended or _is_replaced(relative)) and _link(source, target)
            digest = files.sha256(target) if linked else files.copy(source, target)
        except OSError:
            with contextlib.suppress(OSError):
                os.unlink(target)
            raise
        entry = {"path": relative, "bytes": os.stat(target).st_size, "sha256": digest}
        os.replace(target, os.path.join(folder, digest))
        return entry


def _remove_abandoned(paths: RunPaths) -> None:
    """Removes the stages of helpers that have ended: their clients lost the connection before unstage."""
    for name in os.listdir(paths.stage) if os.path.isdir(paths.stage) else []:
        pid, _, rest = name.partition("-")
        if not is_step(pid) or str(processes.start_ticks(int(pid))) != rest.partition("-")[0]:
            shutil.rmtree(os.path.join(paths.stage, name), ignore_errors=True)


def _is_inside(base: str, path: str) -> bool:
    return path == base or path.startswith(base + os.sep)


def _files_below(path: str, relative: str) -> Iterator[tuple[str, str]]:
    """Yields path and relative path of a file, or of all files below a folder, not below linked ones."""
    if os.path.islink(path) or not os.path.isdir(path):
        yield path, relative
        return
    for name in sorted(folders.walk(path)):
        yield os.path.join(path, name), os.path.join(relative, name)


def _is_checkpoint(relative: str) -> bool:
    parts = relative.split("/")
    return len(parts) > 1 and parts[0] == "checkpoints" and is_step(parts[1])


def _is_replaced(relative: str) -> bool:
    """Returns whether the run replaces this file and never writes to it.

    False for pointers and other files in `checkpoints`, since a user's own script may write to them.
    """
    return _is_checkpoint(relative) or relative in ("run.json", "state.json")


def _link(source: str, target: str) -> bool:
    """Makes a hard link; returns False where the file system or the kernel does not allow it.

    Some kernels do not allow links to files of another user.
    """
    try:
        os.link(source, target)
    except FileNotFoundError:
        raise
    except OSError:
        return False
    return True
