"""Stages the files that a fetch downloads: each is pinned under its hash until the download is complete."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import time
from typing import Mapping, NamedTuple, TypedDict

from orchestrator.core.layout import Layout, RunPaths
from orchestrator.core.paths import inside, is_step
from orchestrator.onhost import elsewhere, files, inventory, processes, reserved_space, run_processes
from orchestrator.onhost.errors import Refused
from orchestrator.onhost.inventory import RunOutputs, is_inside

_ATTEMPTS = 20
_SMALL = 1 << 20  # bytes of a file that is copied without regard to the free space
_ABANDONED = 7 * 24 * 3600.0  # seconds after which a folder of another machine is removed
_VERSIONS = "versions.json"  # in a stage: which version of each file it holds


class StagedFile(TypedDict):
    """`path`: in the fetched folder."""

    path: str
    bytes: int
    sha256: str


class _Pinned(TypedDict):
    """`left_out`: files that cannot be sent. `denied`: files and folders that this user may not read.
    `missing`: outputs that do not exist. `no_room`: files that the run still writes to and that do not fit on
    the disk as copies."""

    left_out: list[str]
    denied: list[str]
    missing: list[str]
    no_room: list[str]
    files: list[StagedFile]


class Stage(_Pinned):
    """`folder`: of the files, each under its sha256. `token`: by which it is removed."""

    token: str
    folder: str


class ClientSpace(NamedTuple):
    """The free bytes of the client's disk, and the sizes of the files in its folder by path."""

    free: int
    present: Mapping[str, int]


def stage(layout: Layout, run_id: str, which: str, space: ClientSpace | None = None) -> Stage:
    """Stages the files of a run.

    `which` checkpoints: best, last, or all with every other file that the run wrote.

    Staged files are named after their sha256, so a partial download is never continued with another file. A
    checkpoint that the trainer deletes meanwhile stays in the stage until `unstage`.

    Raises Refused before a byte is read if the client has too little `space`.
    """
    paths = layout.run(run_id)
    if not os.path.isdir(paths.folder):
        raise Refused("no-run", "no run %s on this host" % run_id)
    record_transfer(layout)
    if space:
        _require_space(RunOutputs(layout, run_id), which, space)
    has_ended = run_processes.has_ended(layout, run_id)
    keep = 0 if has_ended else reserved_space.FOR_THE_END
    for _ in range(_ATTEMPTS):
        try:
            return _Stage(layout, run_id, which, has_ended).create()
        except FileNotFoundError:
            continue  # the trainer pruned a checkpoint; its pointers name a newer one by now
        except OSError as error:
            if error.errno not in reserved_space.DISK_FULL:
                raise
            if not reserved_space.release(paths, keep):
                raise _disk_full(paths, run_id) from None
    raise Refused("changing", "the checkpoints of %s change faster than they can be read" % run_id)


def unstage(layout: Layout, run_id: str, token: str, fetched: bool = False) -> None:
    """Removes a stage; `fetched`: the client has all its files, verified, which is recorded."""
    paths = layout.run(run_id)
    folder = os.path.join(paths.stage, os.path.basename(token))
    if fetched:
        staged = files.load(os.path.join(folder, _VERSIONS))
        inventory.record_fetched(paths, inventory.versions(staged) if staged else {})
    shutil.rmtree(folder, ignore_errors=True)
    record_transfer(layout)


def record_transfer(layout: Layout) -> None:
    """Records that a client is transferring files, which counts as activity for the idle limit."""
    with contextlib.suppress(OSError), open(layout.transfer, "w"):
        os.utime(layout.transfer)


def _require_space(outputs: RunOutputs, which: str, space: ClientSpace) -> None:
    sizes: dict[str, int] = {}
    for source, relative in outputs.sources(which):
        with contextlib.suppress(OSError):
            size = os.stat(source).st_size
            if space.present.get(relative) != size:
                sizes[relative] = size
    needed = sum(sizes.values())
    if needed > space.free:
        largest = sorted(sizes.items(), key=lambda item: -item[1])[:3]
        files_ = [{"path": path, "bytes": size} for path, size in largest]
        raise Refused("client-space", "the client has too little space", needed=needed, largest=files_)


def _disk_full(paths: RunPaths, run_id: str) -> Refused:
    about = os.statvfs(paths.folder)
    if about.f_files and not about.f_favail:
        return Refused("no-room", "the disk of the host takes no more files: %s cannot be staged" % run_id)
    free = about.f_bavail * about.f_frsize / 2**20
    what = "the disk of the host is full: %s cannot be staged with %.1f MiB free" % (run_id, free)
    return Refused("no-room", what)


class _Stage:
    """One attempt to stage the files of a run."""

    def __init__(self, layout: Layout, run_id: str, which: str, has_ended: bool) -> None:
        self._paths = layout.run(run_id)
        self._which = which
        self._has_ended = has_ended
        self._versions: dict[str, list[int]] = {}
        self._outputs = RunOutputs(layout, run_id)

    def create(self) -> Stage:
        token = make_own_folder(self._paths.stage)
        folder = os.path.join(self._paths.stage, token)
        try:
            return {**self._pin_all(folder), "token": token, "folder": folder}
        except OSError:
            shutil.rmtree(folder, ignore_errors=True)
            raise

    def _pin_all(self, folder: str) -> _Pinned:
        pinned, denied, no_room = [], [], []
        own = self._outputs
        left_out = [name for name in own.names if not is_inside(own.work, own.output(name))]
        absent = [name for name in own.names if not os.path.lexists(own.output_path(name))]
        missing = [name for name in absent if not inventory.is_denied(own.output_path(name))]
        for source, relative in own.sources(self._which):
            file = self._regular_file(source)
            if not file and inventory.is_denied(source):
                denied.append(relative)
                continue
            if not file and not os.path.lexists(source):
                if _is_checkpoint(relative):
                    raise FileNotFoundError(source)  # pruned since it was listed
                continue
            if not file or not inside(relative):
                left_out.append(relative)
                continue
            try:
                pinned.append(self._pin(file, relative, folder))
            except PermissionError:
                denied.append(relative)
            except OSError as error:
                if isinstance(error, FileNotFoundError) and not _is_checkpoint(relative):
                    continue  # removed since it was listed
                is_copied = not (self._has_ended or _is_replaced(relative))
                if not is_copied or error.errno not in reserved_space.DISK_FULL:
                    raise
                no_room.append(relative)
        with contextlib.suppress(OSError):  # on a full disk these files count as never fetched
            files.write_json(os.path.join(folder, _VERSIONS), self._versions)
        return {
            "left_out": left_out,
            "denied": denied,
            "missing": missing,
            "no_room": no_room,
            "files": pinned,
        }

    def _regular_file(self, source: str) -> str:
        """Returns the path of the regular file, following a link to another file of the run; else empty."""
        if os.path.islink(source):
            source = os.path.realpath(source)
            own = (self._outputs.work, os.path.realpath(self._paths.checkpoints))
            if not any(is_inside(folder, source) for folder in own):
                return ""
        return source if os.path.isfile(source) else ""

    def _pin(self, source: str, relative: str, folder: str) -> StagedFile:
        """Puts a file into `folder`, named after its sha256; returns its path, bytes and sha256.

        A file that is only replaced, never written to, is hard-linked, which takes no space. Once the run has
        ended, that applies to every file. Any other file is copied, so that its hash stays correct.
        """
        target, version = os.path.join(folder, "pinned"), inventory.version(source)
        try:
            linked = (self._has_ended or _is_replaced(relative)) and _link(source, target)
            if not linked:
                _require_room_for_copy(folder, version[0])
            digest = files.sha256(target) if linked else files.copy(source, target)
        except OSError:
            with contextlib.suppress(OSError):
                os.unlink(target)
            raise
        entry: StagedFile = {"path": relative, "bytes": os.stat(target).st_size, "sha256": digest}
        os.replace(target, os.path.join(folder, digest))
        self._versions[relative] = version
        return entry


def _require_room_for_copy(folder: str, size: int) -> None:
    """OSError for a copy that would take more than half of the free space, which the run may need."""
    if size > _SMALL and size > shutil.disk_usage(folder).free // 2:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), folder)


def make_own_folder(parent: str) -> str:
    """Creates a folder of this helper and returns its name. Those of helpers that have ended are removed:
    their clients were interrupted, or lost the connection."""
    machine = elsewhere.machine_key()
    for name in os.listdir(parent) if os.path.isdir(parent) else []:
        if not _is_in_use(os.path.join(parent, name), machine):
            shutil.rmtree(os.path.join(parent, name), ignore_errors=True)
    pid = os.getpid()
    token = "%d-%d-%d-%s" % (pid, processes.start_ticks(pid) or 0, time.monotonic_ns(), machine)
    os.makedirs(os.path.join(parent, token), mode=0o700)
    return token


def _is_in_use(folder: str, machine: str) -> bool:
    """Returns whether the helper that made a folder lives; of a helper on another machine, whether it may."""
    owner, ticks, _, other = [*os.path.basename(folder).split("-"), "", "", ""][:4]
    if other and other != machine:
        return time.time() - files.mtime(folder) < _ABANDONED
    return is_step(owner) and str(processes.start_ticks(int(owner))) == ticks


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
