"""What a host says of a run's results in S3. Pure."""

from __future__ import annotations

import msgspec

from orchestrator.core.decode import Count


class RunS3(msgspec.Struct, frozen=True):
    """How the run reaches S3, and where its results are copied to."""

    credentials: str = "host"
    role: str = ""
    endpoint: str = ""
    region: str = ""
    mirror: str | None = None


class MirrorState(msgspec.Struct, frozen=True):
    """The copy of the run's results in S3, at `place`. `state`: copying, complete or failed. `error`: the
    last one. `count` and `bytes`: of the files that were copied and verified."""

    state: str = ""
    error: str | None = None
    place: str = ""
    count: Count = 0
    bytes: Count = 0
