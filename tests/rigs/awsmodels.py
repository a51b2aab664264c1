"""One loader of botocore's descriptions of services for all commands that run in a test process.

A command reads them for its clients: 0.1 CPU seconds for each client, 0.02 once they have been read.
"""

from __future__ import annotations

import functools
from typing import Any

import pytest

from orchestrator.context import Context
from orchestrator.instances import aws_session

_real = aws_session.session_without_credentials


def use(monkeypatch: pytest.MonkeyPatch) -> None:
    """Share the loader from now on, in commands run in this process."""
    monkeypatch.setattr(aws_session, "session_without_credentials", _session)


def _session(ctx: Context) -> Any:
    session = _real(ctx)
    session._session.register_component("data_loader", _loader())
    return session


@functools.cache
def _loader() -> Any:
    from botocore.loaders import create_loader  # noqa: PLC0415 - only where a command uses AWS

    return create_loader()
