"""The error that an operation of the helper answers with."""

from __future__ import annotations


class Refused(Exception):
    """The host does not do it. Programs may rely on `kind` and `details`; the message is for a person."""

    def __init__(self, kind: str, message: str, **details: object) -> None:
        super().__init__(message)
        self.kind = kind
        self.details = details
