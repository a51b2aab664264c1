"""Typed requests to the helper on a host (orchestrator/onhost/helper.py); its JSON is parsed here alone."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from orchestrator.core import hostfacts
from orchestrator.core.hostfacts import HostFacts, HostSnapshot, RunFacts
from orchestrator.core.paths import inside, is_digest
from orchestrator.errors import GpujobError

if TYPE_CHECKING:  # `status` chooses no interpreter
    from orchestrator.core.inputs import Environment


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


def snapshot(host: Asks, lines: int = 5) -> HostSnapshot:
    """Every run of a host with the last `lines` of its log, and its GPUs, disk and memory; one request."""
    return hostfacts.parse_snapshot(host.ask("status", lines=lines))


def look(host: Asks, run_id: str, lines: int = 5) -> HostSnapshot:
    """The same with one run; without runs where the host has no such run."""
    return hostfacts.parse_snapshot(host.ask("status", runs=[run_id], lines=lines))


def find_run(host: Asks, run_id: str, lines: int = 5) -> RunFacts | None:
    """One run by its full id; None where the host has no such run."""
    runs = look(host, run_id, lines).runs
    return runs[0] if runs else None


def start(host: Asks, spec: dict[str, Any], **options: Any) -> RunFacts:
    """The run, which is up. `spec`: run.json, or the id of a run to be resumed. Repeatable.

    Refused where another run or a process on a GPU is in its way.
    """
    return _run(host.ask("start", spec=spec, **options), spec["id"])


@dataclass(frozen=True)
class StopResult:
    """`left`: pids of processes that could not be ended."""

    run: RunFacts
    was_going: bool
    left: tuple[int, ...]


def stop(host: Asks, run_id: str, by: str, now: bool) -> StopResult:
    """Ends every process of a run; `now`: without waiting for a checkpoint."""
    answer = host.ask("stop", run=run_id, by=by, now=now)
    return StopResult(_run(answer, run_id), bool(answer["was_running"]), tuple(answer["remaining"]))


def clean(host: Asks, run_id: str, purge: bool) -> list[str]:
    """Removes what the run left besides its checkpoints; all of it with `purge`. The removed paths."""
    removed: list[str] = host.ask("clean", run=run_id, purge=purge).get("removed") or []
    return removed


def _run(answer: dict[str, Any], run_id: str) -> RunFacts:
    """The answers of `start` and `stop` hold the run."""
    return hostfacts.parse_run(answer["run"]) or RunFacts(id=run_id)


@dataclass(frozen=True)
class StagedFile:
    """A file of a run. `path` is relative to the run, with checkpoints/ and outputs/."""

    path: str
    bytes: int
    sha256: str


@dataclass(frozen=True)
class Stage:
    """Files pinned in `folder` on the host under their sha256.

    `left_out` cannot be fetched, `missing` are outputs that do not exist, `no_room` could not be pinned while
    the run writes to them.
    """

    folder: str
    files: tuple[StagedFile, ...]
    left_out: tuple[str, ...]
    missing: tuple[str, ...]
    no_room: tuple[str, ...]


@contextlib.contextmanager
def staged(host: Asks, run_id: str, which: str) -> Iterator[Stage]:
    """Files of a run that stay as they are meanwhile. `which` checkpoints: best, last or all.

    GpujobError where the host names a file that would be written outside the folder of the download.
    """
    answer = host.ask("stage", run=run_id, which=which)
    try:
        yield Stage(
            answer["folder"],
            tuple(_staged(file) for file in answer["files"]),
            tuple(answer["left_out"]),
            tuple(answer["missing"]),
            tuple(answer["no_room"]),
        )
    finally:
        with contextlib.suppress(GpujobError):
            host.ask("unstage", run=run_id, token=answer["token"])


def _staged(file: dict[str, Any]) -> StagedFile:
    staged = StagedFile(str(file["path"]), int(file["bytes"]), str(file["sha256"]))
    if not inside(staged.path):
        raise GpujobError(f"the host offered {staged.path!r}", "it would land outside the folder")
    if not is_digest(staged.sha256):
        raise GpujobError(f"the host offered {staged.path!r}", "its sha256 is not valid")
    return staged


def read(host: Asks, run_id: str, name: str, offset: int, limit: int) -> tuple[str, int]:
    """Whole lines of a file of a run from `offset`, and the offset after them."""
    answer = host.ask("read_file", run=run_id, file=name, offset=offset, limit=limit)
    return str(answer["text"]), int(answer["offset"])


def renew_lease(host: Asks, seconds: float) -> None:
    """An instance stays up for `seconds` from now, within its deadline."""
    host.ask("renew_lease", seconds=seconds)


def set_deadline(host: Asks, deadline: float) -> None:
    """Moves the deadline of an instance, in seconds since 1970."""
    host.ask("set_deadline", until=deadline)
