"""Finds names for files that the file system of a folder cannot store, or stores as one.

Runs are on Linux, where a and A are two files; a client's disk may take them for one (macOS, exFAT), store
é in one form only, or refuse a name with `:` or one that is no UTF-8.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import tempfile
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Iterator
from itertools import zip_longest
from pathlib import Path
from urllib.parse import quote_from_bytes

import msgspec

from orchestrator.context import Context
from orchestrator.targets.helper_files import StagedFile

_ODD = re.compile(r'[\x00-\x1f\x7f:*?"<>|\\\ud800-\udfff]|[. ]$')
_LONGEST = 140  # bytes of a name that every file system stores: eCryptfs keeps 143


def rename(ctx: Context, folder: Path, staged: Iterable[StagedFile]) -> tuple[StagedFile, ...]:
    """Returns the files with the paths at which `folder` can hold each of them; warns of each other name."""
    files = tuple(staged)
    names = new_names(folder, [file.path for file in files])
    for old, new in names.items():
        ctx.talk(f"warning: {old} is written as {new}: the disk of {ctx.short(folder)} cannot tell it apart")
    return tuple(msgspec.structs.replace(file, path=names.get(file.path, file.path)) for file in files)


def new_names(folder: Path, paths: Iterable[str]) -> dict[str, str]:
    """Returns the new path of each file that needs one: the same ones for the same files."""
    ordered = sorted(paths)
    odd = {name for path in ordered for name in path.split("/") if _is_odd(name)}
    groups = [group for group in _alike(ordered) if len(group) > 1]
    if not odd and not groups:
        return {}
    with _probe(folder) as probe:
        if probe is None:
            return {}
        refused = {name: _escaped(name) for name in odd if not _holds(probe, name)}
        names = {path: "/".join(refused.get(name, name) for name in path.split("/")) for path in ordered}
        for group in groups:
            for number, path in enumerate(group):
                if any(_are_one(probe, path, other) for other in group[:number]):
                    names[path] += "~" + hashlib.sha256(os.fsencode(path)).hexdigest()[:6]
    return {old: new for old, new in names.items() if old != new}


def _is_odd(name: str) -> bool:
    return bool(_ODD.search(name)) or len(os.fsencode(name)) > _LONGEST


def _alike(paths: Iterable[str]) -> Iterable[list[str]]:
    """Returns groups of the files that some file system may take for one."""
    groups: dict[str, list[str]] = defaultdict(list)
    for path in paths:
        groups[_folded(path)].append(path)
    return groups.values()


def _folded(path: str) -> str:
    if path.isascii():
        return "/".join(name.rstrip(". ") for name in path.lower().split("/"))
    text = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", path).casefold())
    return "/".join(name.rstrip(". ") for name in text.split("/"))


@contextlib.contextmanager
def _probe(folder: Path) -> Iterator[Path | None]:
    """Yields an empty folder on the file system of `folder`; None where none can be made."""
    place = next(one for one in (folder, *folder.parents) if one.is_dir())
    try:
        made = tempfile.TemporaryDirectory(dir=place, prefix=".gpujob-names-")
    except OSError:
        yield None
        return
    with made as path:
        yield Path(path)


def _holds(probe: Path, name: str) -> bool:
    """Returns whether the file system stores a file of this name."""
    try:
        (probe / name).touch()
        (probe / name).unlink()
    except (OSError, ValueError):
        return False
    return True


def _are_one(probe: Path, path: str, other: str) -> bool:
    """Returns whether the file system takes two paths for one."""
    pairs = zip_longest(path.split("/"), other.split("/"), fillvalue="")
    return all(one == two or _finds(probe, one, two) for one, two in pairs)


def _finds(probe: Path, name: str, other: str) -> bool:
    """Returns whether a file of the one name is found by the other."""
    with contextlib.suppress(OSError):
        (probe / name).touch()
        try:
            return os.path.lexists(probe / other)
        finally:
            (probe / name).unlink()
    return False


def _escaped(name: str) -> str:
    """Returns a name of plain characters, with %XX for the others; the end of a long one is its hash."""
    raw = os.fsencode(name)
    plain = quote_from_bytes(raw, safe=" !#$&'()+,;=@[]{}^~%")
    if plain[-1] in ". ":
        plain = f"{plain[:-1]}%{ord(plain[-1]):02X}"
    return plain if len(plain) <= _LONGEST else f"{plain[:100]}~{hashlib.sha256(raw).hexdigest()[:12]}"
