"""The words of a command line, before a parser has read them."""

from __future__ import annotations


def wants_json(words: list[str]) -> bool:
    """Whether --json is an option of gpujob: what follows `--` are words of another program."""
    return "--json" in words[: words.index("--") if "--" in words else None]
