"""What run.json says of a run, typed, for comparisons and reports (docs/contract.md). Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from orchestrator.core import decode
from orchestrator.core.decode import Count, Seconds
from orchestrator.core.resources import Resources


class DataDetails(msgspec.Struct, frozen=True):
    """`source`: where the client had it. `fingerprint`: of names, sizes and contents."""

    path: str = ""
    fingerprint: str = ""
    files: Count = 0
    bytes: Count = 0
    source: str = ""


class TreeDetails(msgspec.Struct, frozen=True):
    """Code that was sent: its hash, and the commit with whether files differed from it."""

    tree: str = ""
    commit: str | None = None
    dirty: bool | None = None


class PythonDetails(msgspec.Struct, frozen=True):
    """The interpreter and the versions that it has; `packages` are those installed for the run."""

    path: str = ""
    version: str = ""
    torch: str | None = None
    cuda: str | None = None
    packages: tuple[str, ...] = ()
    requirements: str | None = None


class ImageDetails(msgspec.Struct, frozen=True):
    """Of the container that the command ran in; `id` is that of its content."""

    name: str = ""
    id: str = ""


class RunDetails(msgspec.Struct, frozen=True, kw_only=True):
    """`source`: the job file as it was shown. `env`: variables of the job, without those of pass_env."""

    job: str | None = None
    source: str = ""
    created: Seconds | None = None
    who: str | None = None
    client: str | None = None
    trainer: str | None = None
    argv: tuple[str, ...] = ()
    env: dict[str, str] = {}
    python: PythonDetails | None = None
    pass_env: tuple[str, ...] = ()
    config: dict[str, Any] = {}
    data: dict[str, DataDetails] = {}
    code: TreeDetails | None = None
    trainers: TreeDetails | None = None
    resources: Resources = Resources()
    image: ImageDetails | None = None


def parse(record: object) -> RunDetails:
    """Of run.json, or what of it can be read."""
    return decode.struct(decode.one_line(record), RunDetails) or RunDetails()


def flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Nested keys as `a.b.c` with their values; a list is one value."""
    for key, value in values.items():
        if isinstance(value, Mapping) and value:
            yield from flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value
