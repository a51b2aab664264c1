"""What --json prints about files and ports of a host."""

from __future__ import annotations

from orchestrator.view.answer import Answer, Part
from orchestrator.view.answers import FetchedFile


class Copied(Answer, frozen=True, kw_only=True):
    """Of `cp`; the paths are those of the copies: on this machine, or in the folder of the run."""

    run: str
    files: tuple[FetchedFile, ...]


class ForwardedPort(Part, frozen=True, kw_only=True):
    local: int
    remote: int


class Tunnel(Answer, frozen=True, kw_only=True):
    """Printed once the ports are open; the command goes on until Ctrl-C."""

    run: str
    target: str
    ports: tuple[ForwardedPort, ...]
