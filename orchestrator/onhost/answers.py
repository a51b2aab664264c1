"""How an operation says no: a stable word for programs and a sentence for people."""

from __future__ import annotations

from typing import Any


class Refused(Exception):
    """The host will not do it; `kind` and what it is `about` are stable, the message is for a person."""

    def __init__(self, kind: str, message: str, **about: Any) -> None:
        super().__init__(message)
        self.kind = kind
        self.about = about
