"""Parses the folders and files named on a command line. Standard library only.

`--data` names data folders. `prepare` also takes sources, which a trainer declares as SOURCES (name to
description) in its `config` module.
"""

import difflib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path


class BadSource(Exception):
    """An option that the trainer does not have, or whose path does not exist."""


def read(
    declared: Mapping[str, str], pairs: Sequence[str], words: Sequence[str], base: Path = Path()
) -> dict[str, Path]:
    """Parse `pairs` (NAME=PATH) and `words` (`--NAME PATH`, `--NAME=PATH`) to a dict of source name to path.

    Relative paths are relative to `base`. Raises BadSource.
    """
    paths: dict[str, Path] = {}
    for name, value in (*_pairs(pairs), *_options(words, declared)):
        if name not in declared:
            raise BadSource(f"there is no option --{name}: {_guess(name, declared)}")
        if name in paths:
            raise BadSource(f"--{name} is given twice")
        if not (base / value).exists():
            raise BadSource(f"--{name}: there is no {value}; it is {declared[name]}")
        paths[name] = (base / value).absolute()
    return paths


def folders(known: Mapping[str, str], options: Sequence[str], base: Path) -> dict[str, str]:
    """Parse `--data` options to a dict of data name to path.

    NAME=PATH gives one folder; PATH alone gives each folder in it that has a name in `known`. Relative paths
    are relative to `base`. Raises BadSource.
    """
    paths: dict[str, str] = {}
    for item in options:
        name, equals, path = item.partition("=")
        if equals and not path:
            raise BadSource(f"--data {item}: write it as NAME=PATH")
        named = {name: str(base / path)} if equals and "/" not in name else _within(base / item, known)
        if twice := sorted(paths.keys() & named.keys()):
            raise BadSource(f"--data gives {twice[0]} twice")
        paths |= named
    return paths


def _within(folder: Path, known: Mapping[str, str]) -> dict[str, str]:
    paths = {name: str(folder / name) for name in known if (folder / name).is_dir()}
    if not paths:
        raise BadSource(f"--data {folder}: no folder {' or '.join(known)} is in it; write NAME=PATH")
    return paths


def _pairs(pairs: Sequence[str]) -> Iterator[tuple[str, str]]:
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals or not value:
            raise BadSource(f"--from {pair}: write it as NAME=PATH")
        yield name, value


def _options(words: Sequence[str], declared: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    left = list(words)
    while left:
        word = left.pop(0)
        name, equals, value = word.removeprefix("--").partition("=")
        if not word.startswith("--"):
            raise BadSource(f"unexpected argument `{word}`: {listed(declared)}")
        if name not in declared:
            raise BadSource(f"there is no option --{name}: {_guess(name, declared)}")
        if not equals:
            if not left or left[0].startswith("--"):
                raise BadSource(f"--{name} needs a path: {declared[name]}")
            value = left.pop(0)
        yield name, value


def _guess(name: str, declared: Mapping[str, str]) -> str:
    near = difflib.get_close_matches(name, [*declared, "sample", "seed", "size", "to"], n=1)
    return f"did you mean --{near[0]}?" if near else listed(declared)


def listed(declared: Mapping[str, str]) -> str:
    """The options that `prepare` accepts, as a phrase for error messages."""
    own = "; ".join(f"--{name} PATH, {about}" for name, about in declared.items())
    return "there are --sample DIR [--size N] [--seed N]" + (f"; {own}" if own else "")
