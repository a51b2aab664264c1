"""The error that the helper sends to the client when it refuses a request."""

from __future__ import annotations


class Refused(Exception):
    """The host refuses a request. `kind` and `details` are for programs, the message is for the user."""

    def __init__(self, kind: str, message: str, **details: object) -> None:
        super().__init__(message)
        self.kind = kind
        self.details = details
