"""Lists a folder that is in no git repository by the rules of its .gitignore files."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pathspec

    Rules = tuple[tuple[str, pathspec.GitIgnoreSpec], ...]  # each with the folder of its .gitignore

_NEVER = (".git", "__pycache__")


def walk(folder: Path, exclude: pathspec.GitIgnoreSpec | None = None) -> Iterator[str]:
    """Files and links below `folder` that neither a .gitignore nor `exclude` leaves out."""
    first: Rules = (("", exclude),) if exclude else ()
    pending = [("", first)]
    while pending:
        at, rules = pending.pop()
        with os.scandir(folder / at) as scan:
            entries = sorted(scan, key=lambda entry: entry.name)
        rules += tuple((at, _rules(entry.path)) for entry in entries if _is_rules(entry))
        for entry in entries:
            path, is_folder = at + entry.name, entry.is_dir(follow_symlinks=False)
            if entry.name in _NEVER or _ignored(path + "/" * is_folder, rules):
                continue
            if is_folder:
                pending.append((path + "/", rules))
            else:
                yield path


def patterns(lines: Sequence[str]) -> pathspec.GitIgnoreSpec:
    """Lines of a .gitignore; ValueError for one that is no pattern."""
    import pathspec  # noqa: PLC0415 - 43 ms that a folder under git does not need

    return pathspec.GitIgnoreSpec.from_lines(lines)


def _rules(path: str) -> pathspec.GitIgnoreSpec:
    content = Path(path).read_bytes().removeprefix(b"\xef\xbb\xbf")
    lines = [os.fsdecode(line) for line in content.splitlines()]
    try:
        return patterns(lines)
    except ValueError:
        return patterns([line for line in lines if is_pattern(line)])


def is_pattern(line: str) -> bool:
    """Whether a line means something; git takes one that does not for one that matches nothing."""
    try:
        return bool(patterns([line]))
    except ValueError:
        return False


def _is_rules(entry: os.DirEntry[str]) -> bool:
    return entry.name == ".gitignore" and entry.is_file(follow_symlinks=False)


def _ignored(path: str, rules: Rules) -> bool:
    """The last file of rules with a pattern for the path decides, as in git."""
    for base, rule in reversed(rules):
        if (is_ignored := rule.check_file(path[len(base) :]).include) is not None:
            return is_ignored
    return False
