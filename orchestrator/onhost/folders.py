"""Reads folders: the files of a code tree, and the size and fingerprint of a data folder. The client uses
these functions too."""

from __future__ import annotations

import hashlib
import operator
import os
import posixpath
from functools import cached_property
from typing import Callable, Iterable, Iterator, NamedTuple


class DataFolder(NamedTuple):
    """Number of files, size in bytes and fingerprint of a data folder.

    The fingerprint is a hash of the names, sizes and modification times. If it is unchanged, so is the folder
    on this machine. The contents are hashed by the trainer.
    """

    name: str
    path: str
    files: int
    bytes: int
    fingerprint: str


LITTER = (
    *(".ds_store", "__macosx", "thumbs.db", "desktop.ini", "$recycle.bin", "system volume information"),
    *("lost+found", "@eadir", ".ipynb_checkpoints", "__pycache__", ".git"),
)
"""Names, in lower case, of what systems and programs leave in data folders. It is neither counted nor sent.

Other names that begin with a dot are: a command may read them, such as `.zarray` of Zarr.
"""


def is_litter(name: str) -> bool:
    """Whether a file or folder of this name is no data: a name in LITTER, or AppleDouble's `._name`."""
    return name.startswith("._") or name.lower() in LITTER


class BadLink(Exception):
    """A data folder cannot be sent: its link `link` is broken or leads back to a parent folder."""

    def __init__(self, link: str, why: str) -> None:
        super().__init__("%s %s" % (link, why))
        self.link = link


def describe(
    name: str,
    path: str,
    to_send: bool = False,
    on_file: Callable[[str], None] | None = None,
    on_link: Callable[[str], None] | None = None,
    on_litter: Callable[[str], None] | None = None,
) -> DataFolder:
    """Returns size and fingerprint of a data folder or a single file (7,441 files: 50 ms).

    `path` must exist. Links are followed, since their targets are sent. A link that is broken or leads back
    to a folder it is in is skipped; with `to_send` it raises BadLink. What `is_litter` names is skipped, too.
    `on_file` gets each relative path, `on_link` the absolute path that each link names, `on_litter` the
    relative path of each file or folder that is litter.
    """
    stats = sorted(_stats(path, to_send, on_link, on_litter))
    if on_file:
        for relative, _, _ in stats:
            on_file(relative)
    return DataFolder(name, path, len(stats), sum(size for _, size, _ in stats), _fingerprint(stats, 1))


def fingerprint(path: str, precision: int) -> str:
    """Returns the fingerprint of a data folder whose times are kept with `precision` ns."""
    return _fingerprint(sorted(_stats(path, to_send=False)), precision)


def _fingerprint(stats: Iterable[tuple[str, int, int]], precision: int) -> str:
    lines = [f"{relative}\0{size}\0{mtime - mtime % precision}\0" for relative, size, mtime in stats]
    return hashlib.sha256("".join(lines).encode("utf-8", "surrogateescape")).hexdigest()[:32]


def tree_entries(folder: str, paths: Iterable[str]) -> Iterator[Entry]:
    """Yields an entry for each of `paths` (relative to `folder`) that is a file or a link."""
    for path in paths:
        file = os.path.join(folder, path)
        if os.path.islink(file):
            target = os.readlink(file)
            digest = hashlib.sha256(target.encode("utf-8", "surrogateescape")).hexdigest()
            yield Entry(path, "link", 0, digest, target)
        elif os.path.isfile(file):
            yield _file_entry(file, path)


def walk(folder: str) -> Iterator[str]:
    """Yields every file and link below `folder`, as a path relative to it."""
    for at, subfolders, names in os.walk(folder):
        links = [name for name in subfolders if os.path.islink(os.path.join(at, name))]
        for name in names + links:
            yield os.path.relpath(os.path.join(at, name), folder)


def _file_entry(file: str, path: str) -> Entry:
    stat = os.stat(file)
    kind = "exec" if stat.st_mode & 0o100 else "file"
    if stat.st_size > LARGEST:
        return Entry(path, kind, stat.st_size, "")
    with open(file, "rb") as handle:
        return Entry(path, kind, stat.st_size, hashlib.sha256(handle.read()).hexdigest())


def _stats(
    path: str,
    to_send: bool,
    on_link: Callable[[str], None] | None = None,
    on_litter: Callable[[str], None] | None = None,
) -> Iterator[tuple[str, int, int]]:
    """Yields the path relative to `path`, the bytes and the mtime in ns of each file."""
    if os.path.isfile(path):
        stat = os.stat(path)
        yield os.path.basename(path), stat.st_size, stat.st_mtime_ns
        return
    pending: list[tuple[str, str, tuple[tuple[int, int], ...]]] = [(path, "", ())]
    while pending:
        folder, prefix, parents = pending.pop()
        stat = os.stat(folder)
        identity = (stat.st_dev, stat.st_ino)
        if identity in parents:
            if to_send:
                raise BadLink(prefix[:-1], "leads back to a folder that it is in")
            continue
        with os.scandir(folder) as entries:
            for entry in entries:
                if is_litter(entry.name):
                    if on_litter:
                        on_litter(prefix + entry.name)
                    continue
                kind = _kind(entry)
                if on_link and entry.is_symlink():
                    on_link(os.path.normpath(os.path.join(folder, os.readlink(entry.path))))
                if kind == "folder":
                    pending.append((entry.path, prefix + entry.name + "/", (*parents, identity)))
                elif kind == "file":
                    stat = entry.stat()
                    yield prefix + entry.name, stat.st_size, stat.st_mtime_ns
                elif kind == "broken link" and to_send:
                    why = "is a link that leads nowhere (%s)" % os.readlink(entry.path)
                    raise BadLink(prefix + entry.name, why)


def _kind(entry: os.DirEntry[str]) -> str:
    """Returns `folder`, `file` or `broken link`, following links; empty for anything else, such as a pipe."""
    try:
        if entry.is_dir():
            return "folder"
        if entry.is_file():
            return "file"
    except OSError:
        if not entry.is_symlink():
            raise
    return "broken link" if entry.is_symlink() and not os.path.exists(entry.path) else ""


LARGEST = 100 * 1024 * 1024


class Entry(NamedTuple):
    """One file of a code tree: path with `/`, kind (`file`, `exec` or `link`), bytes, sha256 and link target.

    The sha256 of a link is that of its target; a file over 100 MiB has none.
    """

    path: str
    kind: str
    size: int
    digest: str
    target: str = ""


class Tree:
    """The files of a code tree, sorted by path."""

    def __init__(self, entries: tuple[Entry, ...]) -> None:
        self.entries = entries

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Tree) and self.entries == other.entries

    @property
    def size(self) -> int:
        return sum(entry.size for entry in self.entries)

    @cached_property
    def hash(self) -> str:
        """The name of the tree's folder: 32 hex digits of a sha256 over every kind, path and content."""
        parts = [f"{kind}\0{path}\0{digest}\0" for path, kind, _, digest, _ in self.entries]
        return hashlib.sha256("".join(parts).encode("utf-8", "surrogateescape")).hexdigest()[:32]


def tree(entries: Iterable[Entry]) -> Tree:
    return Tree(tuple(sorted(entries, key=operator.attrgetter("path"))))


def refusals(of: Tree) -> list[str]:
    """Returns a message for each file that cannot be sent: links out of the tree, files over 100 MiB."""
    refused = []
    for entry in of.entries:
        if entry.kind == "link" and leaves(entry.path, entry.target):
            refused.append(f"{entry.path} is a link that leaves the folder ({entry.target})")
        elif entry.size > LARGEST:
            refused.append(f"{entry.path} has {entry.size >> 20} MiB; name it under data:, or exclude it")
    return refused


def leaves(path: str, target: str) -> bool:
    """Returns whether a link at `path` to `target` points outside the tree."""
    if target.startswith("/"):
        return True
    inside = posixpath.normpath(posixpath.join(posixpath.dirname(path), target))
    return inside == ".." or inside.startswith("../")


def parse_git_list(output: bytes) -> tuple[list[str], list[str]]:
    """Parses output in the format of `git ls-files -z --stage`; returns (paths, submodules)."""
    paths: list[str] = []
    submodules: list[str] = []
    for record in output.split(b"\0"):
        if not record:
            continue
        meta, _, name = record.partition(b"\t")
        path = name.decode("utf-8", "surrogateescape")
        (submodules if meta.startswith(b"160000 ") else paths).append(path)
    return paths, submodules
