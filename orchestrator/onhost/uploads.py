"""Receives code trees and data folders in a partial folder, which is renamed once its content is verified.

Each sender has a partial folder of its own, in which it continues: several clients may send the same at once.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import time
from typing import TypedDict

from orchestrator.core.layout import Layout
from orchestrator.onhost import files, folders
from orchestrator.onhost.errors import Refused

_RSYNC_TEMPORARY = re.compile(r"\..+\.[A-Za-z0-9]{6}\Z", re.DOTALL)
_ABANDONED = 30 * 24 * 3600.0  # seconds after which what another client sent of the same is deleted
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*\Z")


class Upload(TypedDict):
    """`present`: it is stored already. `partial`: the folder to send it to. `nearest`: the newest stored one,
    which is likely to share most files; None if there is none."""

    present: bool
    partial: str
    nearest: str | None


class DataUpload(Upload):
    """`path`: the final folder. `precision`: that with which the host's file system keeps times, in ns."""

    path: str
    precision: int


class _Stored(TypedDict):
    present: bool


class StoredData(_Stored, total=False):
    """`present`: all of the data is stored; else the `bytes` and `files` to be reused."""

    bytes: int
    files: int


def begin_tree(layout: Layout, tree: str, sender: str = "") -> Upload:
    """Prepares the upload of a tree. `sender`: names the partial folder."""
    return _begin(layout.tree(_plain(tree)), sender)


def finish_tree(layout: Layout, tree: str, sender: str = "") -> None:
    """Gives the received tree its final name if its hash is `tree`; else deletes it and raises Refused."""
    final = layout.tree(_plain(tree))
    partial = partial_folder(final, sender)
    if _is_stored(final, partial):
        return
    if folders.tree(folders.tree_entries(partial, folders.walk(partial))).hash != tree:
        shutil.rmtree(partial, ignore_errors=True)
        raise Refused("changed", "the code changed while it was sent; repeat the command")
    _rename(partial, final)


def begin_data(layout: Layout, name: str, fingerprint: str, sender: str = "") -> DataUpload:
    """Prepares the upload of a data folder. `sender`: names the partial folder."""
    final = data_folder(layout, name, fingerprint)
    return {**_begin(final, sender), "path": final, "precision": _precision(os.path.dirname(final))}


def received(layout: Layout, name: str, fingerprint: str) -> StoredData:
    """Returns how much of the data is stored."""
    final = data_folder(layout, name, fingerprint)
    if os.path.isdir(final):
        return {"present": True}
    described = []
    for path in filter(None, (*_partial_folders(final), _newest(os.path.dirname(final)))):
        with contextlib.suppress(FileNotFoundError):  # a client sends to it, or has renamed it
            described += [folders.describe(name, path)] if os.path.isdir(path) else []
    most = max(described, key=lambda folder: folder.bytes, default=None)
    return {"present": False, "bytes": most.bytes if most else 0, "files": most.files if most else 0}


def finish_data(
    layout: Layout, name: str, fingerprint: str, precision: int, expected: str | None, sender: str = ""
) -> None:
    """Gives the received data its final name if its fingerprint at `precision` (ns) is `expected`.

    Else it raises Refused. `expected`: None for `fingerprint`. A fingerprint covers names, sizes and times;
    rsync has compared the contents.
    """
    final = data_folder(layout, name, fingerprint)
    partial = partial_folder(final, sender)
    if _is_stored(final, partial):
        return
    if folders.fingerprint(partial, precision) != (expected or fingerprint):
        raise Refused("changed", "data %s changed while it was sent; repeat the command" % name)
    _rename(partial, final)


_PRECISIONS = (1, 100, 1000, 10**6, 10**7, 10**9, 2 * 10**9)
_ODD_TIME = 1_000_000_001_987_654_321  # differs from itself at each of these precisions


def _precision(folder: str) -> int:
    """Returns the precision of the times of files in `folder`, in ns: 1 on most file systems, 2 s on FAT."""
    import tempfile  # noqa: PLC0415 - takes longer than all other modules here

    with tempfile.NamedTemporaryFile(dir=folder, prefix=".time-") as file:
        os.utime(file.name, ns=(_ODD_TIME, _ODD_TIME))
        kept = os.stat(file.name).st_mtime_ns
    return next((each for each in _PRECISIONS if kept == _ODD_TIME - _ODD_TIME % each), _PRECISIONS[-1])


def data_folder(layout: Layout, name: str, fingerprint: str) -> str:
    return os.path.join(layout.data, _plain(name), _plain(fingerprint))


def _begin(final: str, sender: str) -> Upload:
    folder, partial = os.path.dirname(final), partial_folder(final, sender)
    os.makedirs(folder, mode=0o700, exist_ok=True)
    _remove_rsync_temporaries(partial)
    with contextlib.suppress(OSError):
        os.utime(partial)  # to its sender it is not abandoned
    _remove_abandoned(final)
    return {"present": _is_stored(final, partial), "partial": partial, "nearest": _newest(folder)}


def _is_stored(final: str, partial: str) -> bool:
    """Returns whether it is stored; if so, what this sender sent of it is deleted."""
    is_stored = os.path.isdir(final)
    if is_stored:
        shutil.rmtree(partial, ignore_errors=True)
    return is_stored


def _remove_abandoned(final: str) -> None:
    """Deletes partial folders that no client has begun to continue for a month.

    By the time of the last change of their inode, since rsync gives a folder the time of its source.
    """
    for path in _partial_folders(final):
        with contextlib.suppress(OSError):
            if abs(time.time() - os.stat(path).st_ctime) > _ABANDONED:
                shutil.rmtree(path)


def _partial_folders(final: str) -> list[str]:
    """Returns the partial folders of all senders."""
    folder, begin = os.path.dirname(final), "." + os.path.basename(final) + "."
    names = os.listdir(folder) if os.path.isdir(folder) else []
    return [os.path.join(folder, n) for n in names if n.startswith(begin) and n.endswith(".partial")]


def _remove_rsync_temporaries(partial: str) -> None:
    """Deletes temporary files of an rsync that was killed. A user's file with such a name is sent again."""
    for at, _, names in os.walk(partial):
        for name in names:
            if _RSYNC_TEMPORARY.match(name):
                with contextlib.suppress(FileNotFoundError):  # another client was first
                    os.unlink(os.path.join(at, name))


def _plain(word: str) -> str:
    if not _NAME.match(word):
        raise Refused("name", "%r cannot name a folder" % word)
    return word


def partial_folder(final: str, sender: str = "") -> str:
    """Returns the folder in which `sender` sends what becomes `final`; empty for the host itself."""
    own = "." + _plain(sender) if sender else ""
    return os.path.join(os.path.dirname(final), "." + os.path.basename(final) + own + ".partial")


def _newest(folder: str) -> str | None:
    names = os.listdir(folder) if os.path.isdir(folder) else []
    paths = [os.path.join(folder, name) for name in names if not name.startswith(".")]
    return max(paths, key=files.mtime, default=None)


def _rename(partial: str, final: str) -> None:
    try:
        os.rename(partial, final)
    except OSError:
        if not os.path.isdir(final):
            raise
        with contextlib.suppress(OSError):  # another client was first
            shutil.rmtree(partial)
