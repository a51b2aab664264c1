"""Sends requests to the helper on a host (orchestrator/onhost/helper.py) and parses its JSON answers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol

import msgspec

from orchestrator.core import containers, decode, hostfacts, rundetails, runfacts
from orchestrator.core.decode import Count, S, Size
from orchestrator.core.hostfacts import HostFacts, HostSnapshot
from orchestrator.core.rundetails import RunDetails
from orchestrator.core.runfacts import RunFacts, Written
from orchestrator.targets.base import Answer, BadAnswer, Host

if TYPE_CHECKING:  # for an annotation only: `status` does not need it
    from orchestrator.core.inputs import Environment
    from orchestrator.core.notify import Notify
    from orchestrator.core.runjson import RunChanges, RunJson


class Asks(Protocol):
    """An object with the method of Host that this module uses."""

    def ask(self, op: str, **fields: Any) -> Answer: ...


def facts(
    host: Host,
    pythons: Sequence[str],
    *,
    gpus: bool = False,
    trees: Sequence[str] = (),
    packages: Sequence[str] = (),
    commands: Sequence[str] = (),
    uploads: dict[str, str] | None = None,
    folders: dict[str, str] | None = None,
    image: str | None = None,
) -> HostFacts:
    """Returns the facts of the host that a plan needs.

    `gpus`: once they show the GPUs that the host is known to have (see Host.with_gpus). `pythons`:
    interpreters to examine; each reports the versions of `packages`. `trees`: hashes of code trees,
    `commands`: commands on PATH, to be looked for. `uploads`: name → fingerprint of data to be sent.
    `folders`: name → path of data that is on the host already. `image`: to be looked for; empty for the
    container engine alone, None for neither.
    """
    request = {
        "trees": list(trees),
        "pythons": list(pythons),
        "data_folders": folders or {},
        "commands": list(commands),
        "uploads": uploads or {},
        "packages": list(packages),
        **({} if image is None else {"image": image}),
    }

    def read() -> HostFacts:
        return hostfacts.parse(host.ask("host_facts", **request))

    return host.with_gpus(read) if gpus else read()


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


def look_at(host: Asks, run_ids: Sequence[str]) -> HostSnapshot:
    """Returns a snapshot with these runs only, as far as the host has them, without their logs."""
    return hostfacts.parse_snapshot(host.ask("status", runs=list(run_ids), lines=0))


def find_run(host: Asks, run_id: str, lines: int = 5) -> RunFacts | None:
    """Returns one run by its full id; None if the host does not have it."""
    runs = look(host, run_id, lines).runs
    return runs[0] if runs else None


class _RunId(msgspec.Struct, frozen=True):
    id: str


class _RunIds(msgspec.Struct, frozen=True):
    runs: tuple[_RunId, ...]


def run_ids(host: Asks) -> list[str]:
    """Returns the ids of all runs of a host, also of those whose facts are damaged."""
    return [run.id for run in require(host, _RunIds, "status", lines=0).runs]


class _Root(msgspec.Struct, frozen=True):
    root: str


def root(host: Asks) -> str:
    """Returns the folder of gpujob on a host."""
    return require(host, _Root, "status", runs=[], lines=0).root


def start(host: Asks, spec: RunJson | RunChanges, **options: Any) -> RunFacts:
    """Starts or resumes a run and returns it. May be repeated.

    Raises Refused if another run, or a process on a GPU, prevents the start.
    """
    return _run(host.ask("start", spec=msgspec.to_builtins(spec), **options), spec.id)


def test_alert(host: Asks, notify: Notify, secrets: dict[str, str]) -> dict[str, str | None]:
    """Sends a test alert from the host; returns the error of each channel, None where it was delivered."""
    spec = {"id": "test", "notify": msgspec.to_builtins(notify)}
    return require(host, _Tested, "test_alert", spec=spec, secrets=secrets).errors


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
    stopped = convert("stop", answer, _Stopped)
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


def _run(answer: Answer, run_id: str) -> RunFacts:
    """Returns the run in an answer of `start` or `stop`."""
    return runfacts.parse_run(answer.get("run")) or RunFacts(id=run_id)


def require(host: Asks, kind: type[S], op: str, **fields: Any) -> S:
    """The answer to a request as a `kind`. BadAnswer names the field that does not fit."""
    return convert(op, host.ask(op, **fields), kind)


def convert(op: str, answer: Answer, kind: type[S]) -> S:
    if faults := decode.fault(answer, kind):
        raise BadAnswer(op, faults[0])
    return msgspec.convert(answer, kind)


class _Stopped(msgspec.Struct, frozen=True):
    was_running: bool
    remaining: tuple[Count, ...]


def record(host: Asks, run_id: str) -> RunDetails:
    """Returns what run.json says of a run; Refused where it cannot be read."""
    return rundetails.parse(host.ask("record", run=run_id).get("record"))


def read_events(host: Asks, run_id: str, offset: int, limit: int) -> tuple[str, int]:
    """Returns lines of a run's events from `offset`, and the offset after the last one.

    Of more than `limit` bytes: every event of the kind `metrics` that fits, and samples of the others.
    """
    read = require(host, _Read, "read_events", run=run_id, offset=offset, limit=limit)
    return read.text, read.offset


def read_log_events(host: Asks, run_id: str, offset: int, limit: int) -> tuple[str, int]:
    """Returns what the log says of progress and metrics from `offset`, as events, and the next offset."""
    read = require(host, _Read, "read_log_events", run=run_id, offset=offset, limit=limit)
    return read.text, read.offset


class _Read(msgspec.Struct, frozen=True):
    text: str
    offset: Size


class InstanceFacts(msgspec.Struct, frozen=True):
    """What an instance says of itself. `is_ready`: its boot has ended. Times in seconds since 1970."""

    ready: object = None
    deadline: Count | None = None
    lease: Count | None = None

    @property
    def is_ready(self) -> bool:
        return bool(self.ready)


def instance(host: Asks) -> InstanceFacts:
    return decode.struct(host.ask("instance"), InstanceFacts) or InstanceFacts()


def renew_lease(host: Asks, seconds: float) -> None:
    """Keeps an instance up for `seconds` from now, but not beyond its deadline."""
    host.ask("renew_lease", seconds=seconds)


def set_deadline(host: Asks, deadline: float) -> None:
    """Sets the deadline of an instance, in seconds since 1970."""
    host.ask("set_deadline", until=deadline)
