"""What the types of answers have in common."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct

Time = Annotated[str, Meta(extra_json_schema={"format": "date-time"})]
"""ISO 8601 in UTC."""
Usd = Annotated[float, Meta(extra_json_schema={"description": "US dollars"})]


class Part(Struct, frozen=True, kw_only=True):
    """A part of an answer; none of its keys has a default, so that each is always there."""


class FetchedFile(Part, frozen=True, kw_only=True):
    path: str
    bytes: int
    sha256: str


class Answer(Struct, frozen=True, kw_only=True):
    """The one object on stdout."""


class Error(Part, frozen=True, kw_only=True):
    kind: str
    what: str
    why: str
    next_step: str
    exit_code: int


class ErrorAnswer(Answer, frozen=True, kw_only=True):
    """Of every command that fails."""

    error: Error
