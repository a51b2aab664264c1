"""Typed requests to the helper on a host (orchestrator/onhost/helper.py); its JSON is parsed here alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from orchestrator.core import hostfacts
from orchestrator.core.hostfacts import HostFacts
from orchestrator.core.interpreters import Environment


class Asks(Protocol):
    """As much of a Host as is needed here."""

    def ask(self, op: str, **fields: Any) -> dict[str, Any]: ...


def facts(
    host: Asks,
    pythons: Sequence[str],
    *,
    trees: Sequence[str] = (),
    packages: Sequence[str] = (),
    commands: Sequence[str] = (),
    uploads: dict[str, str] | None = None,
    folders: dict[str, str] | None = None,
) -> HostFacts:
    """What a plan needs to know of the host.

    `packages`: whose versions each of `pythons` reports. `commands` are looked up on the PATH. `uploads`:
    the fingerprints of data to be sent, by name. `folders`: data that is on the host already, by name.
    """
    answer = host.ask(
        "host_facts",
        trees=list(trees),
        pythons=list(pythons),
        data_folders=folders or {},
        commands=list(commands),
        uploads=uploads or {},
        packages=list(packages),
    )
    return hostfacts.parse(answer)


def ensure_environment(host: Asks, environment: Environment) -> None:
    """Builds the environment unless it is there. Refused, with pip's last words, where it cannot be built."""
    host.ask(
        "ensure_environment",
        key=environment.key,
        python=environment.base.path,
        packages=list(environment.packages),
        requirements=environment.requirements,
        keep=environment.keep,
        own=environment.isolated,
    )
