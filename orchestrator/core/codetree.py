"""A code tree as values: its entries, its hash, what may not be sent. Also runs on hosts: Python 3.8."""

from __future__ import annotations

import hashlib
import operator
import posixpath
from dataclasses import dataclass
from functools import cached_property
from typing import Iterable, NamedTuple

LARGEST = 100 * 1024 * 1024


class Entry(NamedTuple):
    """One file: path with `/`, kind (`file`, `exec`, `link`), bytes, sha256 (of a link: of its target)."""

    path: str
    kind: str
    size: int
    digest: str
    target: str = ""


@dataclass(frozen=True)
class Tree:
    """Files that go together, sorted by path."""

    entries: tuple[Entry, ...]

    @property
    def size(self) -> int:
        return sum(entry.size for entry in self.entries)

    @cached_property
    def hash(self) -> str:
        """sha256 over kind, path and content of every entry; 32 hex digits, which name a folder."""
        parts = [f"{kind}\0{path}\0{digest}\0" for path, kind, _, digest, _ in self.entries]
        return hashlib.sha256("".join(parts).encode("utf-8", "surrogateescape")).hexdigest()[:32]


def tree(entries: Iterable[Entry]) -> Tree:
    return Tree(tuple(sorted(entries, key=operator.attrgetter("path"))))


def refusals(of: Tree) -> list[str]:
    """What cannot be sent, each by name: links that leave the tree, and files over 100 MiB."""
    refused = []
    for entry in of.entries:
        if entry.kind == "link" and leaves(entry.path, entry.target):
            refused.append(f"{entry.path} is a link that leaves the folder ({entry.target})")
        elif entry.size > LARGEST:
            refused.append(f"{entry.path} has {entry.size >> 20} MiB; name it under data: instead")
    return refused


def leaves(path: str, target: str) -> bool:
    """Whether a link at `path` to `target` points outside the tree."""
    if target.startswith("/"):
        return True
    inside = posixpath.normpath(posixpath.join(posixpath.dirname(path), target))
    return inside == ".." or inside.startswith("../")


def parse_git_list(output: bytes) -> tuple[list[str], list[str]]:
    """`git ls-files -z --stage`-like output → (paths, submodules); names as the file system has them."""
    paths: list[str] = []
    submodules: list[str] = []
    for record in output.split(b"\0"):
        if not record:
            continue
        meta, _, name = record.partition(b"\t")
        path = name.decode("utf-8", "surrogateescape")
        (submodules if meta.startswith(b"160000 ") else paths).append(path)
    return paths, submodules
