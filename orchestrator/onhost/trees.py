"""Trees and data folders that arrive: a partial folder first, its final name when it is proven whole."""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import shutil
from typing import Any, Iterator

from orchestrator.core import codetree
from orchestrator.core.layout import Layout
from orchestrator.onhost import datafolder
from orchestrator.onhost.answers import Refused

_UNFINISHED = re.compile(r"\..+\.[A-Za-z0-9]{6}\Z", re.DOTALL)
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*\Z")


def begin_tree(layout: Layout, tree: str) -> dict[str, Any]:
    """Where to send a tree, and the tree that is likeliest to hold most of it."""
    final = layout.tree(_plain(tree))
    os.makedirs(layout.code, mode=0o700, exist_ok=True)
    _sweep(_partial(final))
    return {"present": os.path.isdir(final), "partial": _partial(final), "nearest": _newest(layout.code)}


def seal_tree(layout: Layout, tree: str) -> dict[str, Any]:
    """The hash of what arrived, taken here; only if it is `tree` does it get that name."""
    final = layout.tree(_plain(tree))
    partial = _partial(final)
    if os.path.isdir(final):
        return {}
    found = codetree.tree(entries(partial, list(_walked(partial)))).hash
    if found != tree:
        shutil.rmtree(partial, ignore_errors=True)
        raise Refused("changed", "the code changed while it was sent; type the command again")
    _rename(partial, final)
    return {}


def begin_data(layout: Layout, name: str, fingerprint: str) -> dict[str, Any]:
    folder = os.path.join(layout.data, _plain(name))
    final = os.path.join(folder, _plain(fingerprint))
    os.makedirs(folder, mode=0o700, exist_ok=True)
    present = os.path.isdir(final)
    _sweep(_partial(final))
    return {"present": present, "path": final, "partial": _partial(final), "nearest": _newest(folder)}


def arrived(layout: Layout, name: str, fingerprint: str) -> dict[str, Any]:
    """Whether data is here as it is to be, or how much is that need not be written anew: `bytes`, `files`."""
    folder = os.path.join(layout.data, _plain(name))
    final = os.path.join(folder, _plain(fingerprint))
    if os.path.isdir(final):
        return {"present": True}
    nearest = _newest(folder) if os.path.isdir(folder) else None
    stand = [path for path in (_partial(final), nearest) if path and os.path.isdir(path)]
    found = [datafolder.describe(name, path) for path in stand]
    most = max(found, key=lambda about: about.bytes, default=None)
    return {"present": False, "bytes": most.bytes if most else 0, "files": most.files if most else 0}


def seal_data(layout: Layout, name: str, fingerprint: str) -> dict[str, Any]:
    """Names, sizes and times of what arrived must be those that were sent; rsync compared the contents."""
    final = os.path.join(layout.data, _plain(name), _plain(fingerprint))
    partial = _partial(final)
    if os.path.isdir(final):
        return {}
    if datafolder.describe(name, partial).fingerprint != fingerprint:
        raise Refused("changed", "data %s changed while it was sent; type the command again" % name)
    _rename(partial, final)
    return {}


def entries(folder: str, paths: list[str]) -> Iterator[codetree.Entry]:
    """The files and links of a tree as they are; what is neither is left out."""
    for path in paths:
        file = os.path.join(folder, path)
        if os.path.islink(file):
            target = os.readlink(file)
            digest = hashlib.sha256(target.encode("utf-8", "surrogateescape")).hexdigest()
            yield codetree.Entry(path, "link", 0, digest, target)
        elif os.path.isfile(file):
            yield _file_entry(file, path)


def _file_entry(file: str, path: str) -> codetree.Entry:
    stat = os.stat(file)
    kind = "exec" if stat.st_mode & 0o100 else "file"
    if stat.st_size > codetree.LARGEST:
        return codetree.Entry(path, kind, stat.st_size, "")
    with open(file, "rb") as handle:
        return codetree.Entry(path, kind, stat.st_size, hashlib.sha256(handle.read()).hexdigest())


def _sweep(partial: str) -> None:
    """Removes what rsync writes before it renames: a machine that died amid a transfer has kept some.

    A file of the user's own with such a name is sent again.
    """
    for at, _, names in os.walk(partial):
        for name in names:
            if _UNFINISHED.match(name):
                os.unlink(os.path.join(at, name))


def _walked(folder: str) -> Iterator[str]:
    for at, folders, names in os.walk(folder):
        links = [name for name in folders if os.path.islink(os.path.join(at, name))]
        for name in names + links:
            yield os.path.relpath(os.path.join(at, name), folder)


def _plain(word: str) -> str:
    if not _NAME.match(word):
        raise Refused("name", "%r cannot name a folder" % word)
    return word


def _partial(final: str) -> str:
    return os.path.join(os.path.dirname(final), "." + os.path.basename(final) + ".partial")


def _newest(folder: str) -> str | None:
    found = [os.path.join(folder, name) for name in os.listdir(folder) if not name.startswith(".")]
    return max(found, key=os.path.getmtime, default=None)


def _rename(partial: str, final: str) -> None:
    try:
        os.rename(partial, final)
    except OSError:
        if not os.path.isdir(final):
            raise
        with contextlib.suppress(OSError):  # another client was first
            shutil.rmtree(partial)
