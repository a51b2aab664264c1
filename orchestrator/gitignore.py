"""Lists a folder that is in no git repository by the rules of its .gitignore files."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pathspec

    Rules = tuple[tuple[str, pathspec.GitIgnoreSpec], ...]  # each with the folder of its .gitignore

_NEVER = (".git", "__pycache__")


def walk(folder: Path) -> Iterator[str]:
    """Files and links below `folder` that no .gitignore excludes."""
    pending: list[tuple[str, Rules]] = [("", ())]
    while pending:
        at, rules = pending.pop()
        with os.scandir(folder / at) as scan:
            entries = sorted(scan, key=lambda entry: entry.name)
        rules += tuple((at, _rules(entry.path)) for entry in entries if entry.name == ".gitignore")
        for entry in entries:
            path, is_folder = at + entry.name, entry.is_dir(follow_symlinks=False)
            if entry.name in _NEVER or _ignored(path + "/" * is_folder, rules):
                continue
            if is_folder:
                pending.append((path + "/", rules))
            else:
                yield path


def _rules(path: str) -> pathspec.GitIgnoreSpec:
    import pathspec  # noqa: PLC0415 - 43 ms that a folder under git does not need

    lines = Path(path).read_bytes().removeprefix(b"\xef\xbb\xbf").splitlines()
    return pathspec.GitIgnoreSpec.from_lines(os.fsdecode(line) for line in lines)


def _ignored(path: str, rules: Rules) -> bool:
    return any(rule.match_file(path[len(base) :]) for base, rule in rules)
