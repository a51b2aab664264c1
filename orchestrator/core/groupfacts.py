"""What a host says of a run over several hosts (run.json and state.json). None means unknown."""

from __future__ import annotations

import msgspec

from orchestrator.core.decode import Count, Seconds


class Group(msgspec.Struct, frozen=True):
    """Of run.json of a run over several hosts: the host's rank, and all hosts as the user typed them."""

    rank: Count = 0
    hosts: tuple[str, ...] = ()


class Absent(msgspec.Struct, frozen=True):
    """A host of a run over several that is missing, since when (seconds since 1970)."""

    host: str = ""
    since: Seconds = 0.0


class GroupState(msgspec.Struct, frozen=True):
    """`problem`: why rank 0 cannot be reached from the host."""

    absent: tuple[Absent, ...] = ()
    problem: str = ""
