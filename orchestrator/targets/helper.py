"""Sends requests to the helper on a host (orchestrator/onhost/helper.py) and parses its JSON answers."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, Protocol

import msgspec

from orchestrator.core import containers, decode, hostfacts, rundetails
from orchestrator.core.decode import Count, S, Size
from orchestrator.core.hostfacts import HostFacts, HostSnapshot, RunFacts
from orchestrator.core.paths import inside, is_digest
from orchestrator.core.rundetails import RunDetails
from orchestrator.core.written import Written
from orchestrator.errors import GpujobError

if TYPE_CHECKING:  # for an annotation only: `status` does not need it
    from orchestrator.core.inputs import Environment


class Asks(Protocol):
    """An object with the method of Host that this module uses."""

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
    image: str | None = None,
) -> HostFacts:
    """Returns the facts of the host that a plan needs.

    `pythons`: interpreters to examine; each reports the versions of `packages`. `trees`: hashes of code
    trees, `commands`: commands on PATH, to be looked for. `uploads`: name → fingerprint of data to be sent.
    `folders`: name → path of data that is on the host already. `image`: to be looked for; empty for the
    container engine alone, None for neither.
    """
    answer = host.ask(
        "host_facts",
        trees=list(trees),
        pythons=list(pythons),
        data_folders=folders or {},
        commands=list(commands),
        uploads=uploads or {},
        packages=list(packages),
        **({} if image is None else {"image": image}),
    )
    return hostfacts.parse(answer)


def ensure_environment(host: Asks, environment: Environment) -> None:
    """Creates the Python environment unless it exists. Raises Refused, with pip's error, if that fails."""
    host.ask(
        "ensure_environment",
        key=environment.key,
        python=environment.base.path,
        packages=list(environment.packages),
        requirements=environment.requirements,
        keep=environment.keep,
        own=environment.isolated,
        setup=msgspec.structs.asdict(environment.setup) if environment.setup else None,
    )


def ensure_image(host: Asks, image: str) -> None:
    """Pulls an image unless the host has it. Raises Refused, with the engine's error, if that fails."""
    host.ask("ensure_image", key=containers.key(image), image=image)


def snapshot(host: Asks, lines: int = 5) -> HostSnapshot:
    """Returns every run of a host with the last `lines` of its log, and the host's GPUs, disk and memory."""
    return hostfacts.parse_snapshot(host.ask("status", lines=lines))


def look(host: Asks, run_id: str, lines: int = 5) -> HostSnapshot:
    """Returns a snapshot with one run only; without a run if the host does not have it."""
    return hostfacts.parse_snapshot(host.ask("status", runs=[run_id], lines=lines))


def look_at(host: Asks, run_ids: Sequence[str], lines: int = 0) -> HostSnapshot:
    """Returns a snapshot with these runs only, as far as the host has them."""
    return hostfacts.parse_snapshot(host.ask("status", runs=list(run_ids), lines=lines))


def find_run(host: Asks, run_id: str, lines: int = 5) -> RunFacts | None:
    """Returns one run by its full id; None if the host does not have it."""
    runs = look(host, run_id, lines).runs
    return runs[0] if runs else None


def start(host: Asks, spec: dict[str, Any], **options: Any) -> RunFacts:
    """Starts or resumes a run and returns it. May be repeated.

    `spec`: the content of run.json; to resume a run, its `id`, and `limits` that are to change.

    Raises Refused if another run, or a process on a GPU, prevents the start.
    """
    return _run(host.ask("start", spec=spec, **options), spec["id"])


def test_alert(host: Asks, spec: dict[str, Any], secrets: dict[str, str]) -> dict[str, str | None]:
    """Sends a test alert from the host; returns the error of each channel, None where it was delivered.

    `spec`: the keys `id` and `notify` of a run.json.
    """
    return _require("test_alert", host.ask("test_alert", spec=spec, secrets=secrets), _Tested).errors


class _Tested(msgspec.Struct, frozen=True):
    errors: dict[str, str | None]


class HostProcess(msgspec.Struct, frozen=True):
    """A process on the host; `user` and `command` are empty where they cannot be read."""

    pid: Count
    user: str = ""
    command: str = ""

    def __str__(self) -> str:
        """`pid 77 of root (sleep 1000)`."""
        return f"pid {self.pid} of {self.user or 'an unknown user'} ({self.command})"


class StopResult(msgspec.Struct, frozen=True):
    """The result of a stop. `was_going`: the run was running. `left`: pids that could not be ended, described
    by `processes`. `sees_all`: whether the host shows the processes of all users."""

    run: RunFacts
    was_going: bool
    left: tuple[int, ...]
    written: Written
    processes: tuple[HostProcess, ...] = ()
    sees_all: bool = True


def stop(host: Asks, run_id: str, by: str, now: bool) -> StopResult:
    """Ends every process of a run; `now`: without waiting for a checkpoint."""
    answer = host.ask("stop", run=run_id, by=by, now=now)
    stopped = _require("stop", answer, _Stopped)
    return StopResult(
        _run(answer, run_id),
        stopped.was_running,
        stopped.remaining,
        _written(answer.get("written")),
        tuple(decode.structs(answer.get("processes"), HostProcess)),
        answer.get("sees_all") is not False,
    )


class CleanResult(msgspec.Struct, frozen=True):
    """`removed`: deleted paths. `left`: paths that could not be deleted, each with its reason."""

    removed: tuple[str, ...] = ()
    left: tuple[str, ...] = ()


def clean(host: Asks, run_id: str, purge: bool) -> CleanResult:
    """Deletes a run's work and temporary files, with `purge` its whole folder."""
    answer = host.ask("clean", run=run_id, purge=purge)
    return decode.struct(answer, CleanResult) or CleanResult()


def written(host: Asks, run_id: str) -> Written:
    """Returns what a run wrote, and what of that was never fetched."""
    return _written(host.ask("written", run=run_id))


def _written(answer: object) -> Written:
    return decode.struct(answer, Written) or Written()


def _run(answer: dict[str, Any], run_id: str) -> RunFacts:
    """Returns the run in an answer of `start` or `stop`."""
    return hostfacts.parse_run(answer.get("run")) or RunFacts(id=run_id)


class BadAnswer(GpujobError):
    """The host gave an answer that no helper of this version gives."""

    def __init__(self, op: str, why: str) -> None:
        super().__init__(f"the host's answer to {op!r} cannot be used", why, "gpujob doctor")


def _require(op: str, answer: dict[str, Any], kind: type[S]) -> S:
    """The answer as a `kind`. BadAnswer names the field that does not fit."""
    if faults := decode.fault(answer, kind):
        raise BadAnswer(op, faults[0])
    return msgspec.convert(answer, kind)


class _Stopped(msgspec.Struct, frozen=True):
    was_running: bool
    remaining: tuple[Count, ...]


class StagedFile(msgspec.Struct, frozen=True):
    """A staged file of a run; `path` is relative to the fetched folder (checkpoints/…, outputs/…)."""

    path: str
    bytes: Size
    sha256: str


class Stage(msgspec.Struct, frozen=True):
    """Files of a run, pinned in `folder` on the host under their sha256.

    `left_out`: paths that cannot be fetched. `missing`: outputs that do not exist. `no_room`: files that the
    run still writes to and that do not fit on the disk as copies.
    """

    folder: str
    files: tuple[StagedFile, ...]
    left_out: tuple[str, ...]
    missing: tuple[str, ...]
    no_room: tuple[str, ...]


@contextlib.contextmanager
def staged(
    host: Asks, run_id: str, which: str, free: int | None = None, present: dict[str, int] | None = None
) -> Iterator[Stage]:
    """Pins files of a run on the host, so that they do not change meanwhile.

    If the block succeeds, the host records that these files were fetched.

    `which` checkpoints: best, last or all. `free`: free bytes on the client; `present`: the sizes of files
    that it has, by path. With both, the host refuses what does not fit before it reads a byte.

    Raises GpujobError if the host names a file that would be written outside the download's folder.
    """
    space = {} if free is None else {"free": free, "present": present}
    answer = host.ask("stage", run=run_id, which=which, **space)
    outcome: dict[str, bool] = {}
    try:
        stage = _require("stage", answer, Stage)
        for file in stage.files:
            _require_safe(file)
        yield stage
        outcome = {"fetched": True}
    finally:
        with contextlib.suppress(GpujobError):
            host.ask("unstage", run=run_id, token=answer.get("token"), **outcome)


def _require_safe(file: StagedFile) -> None:
    if not inside(file.path):
        raise GpujobError(
            f"the host offered {file.path!r}", "it would be written outside the folder of the download"
        )
    if not is_digest(file.sha256):
        raise GpujobError(f"the host offered {file.path!r}", "its sha256 is not valid")


def record(host: Asks, run_id: str) -> RunDetails:
    """Returns what run.json says of a run; Refused where it cannot be read."""
    return rundetails.parse(host.ask("record", run=run_id).get("record"))


def read_events(host: Asks, run_id: str, offset: int, limit: int) -> tuple[str, int]:
    """Returns lines of a run's events from `offset`, and the offset after the last one.

    Of more than `limit` bytes: every event of the kind `metrics` that fits, and samples of the others.
    """
    answer = host.ask("read_events", run=run_id, offset=offset, limit=limit)
    read = _require("read_events", answer, _Read)
    return read.text, read.offset


def read_log_events(host: Asks, run_id: str, offset: int, limit: int) -> tuple[str, int]:
    """Returns what the log says of progress and metrics from `offset`, as events, and the next offset."""
    answer = host.ask("read_log_events", run=run_id, offset=offset, limit=limit)
    read = _require("read_log_events", answer, _Read)
    return read.text, read.offset


class _Read(msgspec.Struct, frozen=True):
    text: str
    offset: Size


def renew_lease(host: Asks, seconds: float) -> None:
    """Keeps an instance up for `seconds` from now, but not beyond its deadline."""
    host.ask("renew_lease", seconds=seconds)


def set_deadline(host: Asks, deadline: float) -> None:
    """Sets the deadline of an instance, in seconds since 1970."""
    host.ask("set_deadline", until=deadline)
