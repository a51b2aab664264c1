"""How an operation says no: a stable word for programs and a sentence for people."""

from __future__ import annotations


class Refused(Exception):
    """The host will not do it; `kind` is stable, the message is for a person."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind
