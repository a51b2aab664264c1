"""Validates what a command printed with --json against the types that docs/schemas/ is written from."""

from __future__ import annotations

import json
import shlex
from collections.abc import Sequence
from typing import Any

import msgspec

from docs.make_schemas import ANSWERS
from orchestrator.view.answer import Answer, ErrorAnswer


def command(words: Sequence[str]) -> str:
    """Return the command of a command line, with its group."""
    names = [word for word in words if not word.startswith("-")]
    pair = " ".join(names[:2])
    return "check --list" if "--list" in words else pair if pair in ANSWERS else (names or [""])[0]


def validate(words: Sequence[str], out: str) -> None:
    """Fail unless `out` is one answer of the command, with all of its keys; a trainer may print several."""
    kinds = [kind for kind in ANSWERS.get(command(words), ()) if issubclass(kind, Answer)]
    values = [json.loads(line) for line in out.splitlines()]
    if not kinds and not any(isinstance(value.get("error"), dict) for value in values):
        return
    assert len(values) == 1, f"{len(values)} objects instead of one: {out}"
    errors = [error for kind in [*kinds, ErrorAnswer] if (error := fault(values[0], kind)) is None]
    assert errors, "\n".join(str(fault(values[0], kind)) for kind in [*kinds, ErrorAnswer]) + out


def fault(value: dict[str, Any], kind: type[msgspec.Struct]) -> str | None:
    """Return what makes `value` no answer of that kind, or None."""
    if value.get("schema_version") != 2:
        return "schema_version is not 2"
    try:
        msgspec.convert({k: v for k, v in value.items() if k != "schema_version"}, kind)
    except msgspec.ValidationError as error:
        return f"{kind.__name__}: {error}"
    unknown = (
        value.keys() - {field.encode_name for field in msgspec.structs.fields(kind)} - {"schema_version"}
    )
    return f"{kind.__name__} has no {', '.join(unknown)}" if unknown else None


def require_progress(words: Sequence[str], code: int, err: str) -> None:
    """Fail if an error that stays advises the command that met it. An interruption or a network passes."""
    if code in (1, 2, 3, 4):
        same = f"next: gpujob {shlex.join(words)}"
        assert same not in (line.strip() for line in err.splitlines()), err
