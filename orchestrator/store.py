"""The client's cache, and its intents. The hosts' files and EC2's tags are the truth."""

from __future__ import annotations

import contextlib
import hashlib
import re
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from orchestrator import files
from orchestrator.core import decode, events, runfacts
from orchestrator.core.decode import Seconds
from orchestrator.core.events import CheckReport
from orchestrator.core.inputs import Identity
from orchestrator.core.layout import RUN_ID
from orchestrator.core.runfacts import RunFacts

if TYPE_CHECKING:
    from orchestrator.context import Context

Record = dict[str, Any]
_CLIENT_ID = re.compile(r"[0-9a-f]{16}")
_creating_id = threading.Lock()
_VERSION = 2  # of the files of cached runs


def client_id(ctx: Context) -> str:
    """Returns the random id of this client, 16 hex digits, which is created once."""
    path = ctx.state_dir / "client-id"
    with _creating_id:
        with contextlib.suppress(OSError, ValueError):
            if _CLIENT_ID.fullmatch(stored := path.read_text("ascii").strip()):
                return stored
        made = ctx.token()[:16]
        files.write(path, made.encode() + b"\n")
        return made


class CachedRun(msgspec.Struct, frozen=True):
    """The facts of a run as `target` last gave them, at the time `read_at`."""

    target: str
    read_at: float
    facts: RunFacts


class Intent(msgspec.Struct, frozen=True):
    """A deploy that began and was not confirmed: of what (plan.fingerprint), as which run."""

    fingerprint: str
    identity: Identity


class Pace(msgspec.Struct, frozen=True):
    """How fast a host answered `status` last: in seconds, or how many times in a row not within its time."""

    seconds: float = 0.0
    misses: int = 0


class _RunFile(msgspec.Struct):
    """What `save_run` writes."""

    v: int
    target: str
    read_at: Seconds = msgspec.field(name="asked")
    run: RunFacts


class _CachedRun(msgspec.Struct):
    target: str
    read_at: Seconds = msgspec.field(default=0.0, name="asked")


class _Target(msgspec.Struct):
    label: str
    read_at: Seconds = msgspec.field(default=0.0, name="asked")


class Store:
    """Small JSON files below one folder, replaced atomically; intents are fsynced before they count.

    What is cached is read where it can be and written where it can be: no fault of the cache is an error.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.updating = threading.Lock()  # held by a thread that compares what is cached and then replaces it
        self._parsed: dict[Path, tuple[files.Version, CachedRun | None]] = {}

    def find_intent(self, job: str, target: str) -> Intent | None:
        """An earlier deploy of this job to this target that was not confirmed."""
        record = files.load_json(self._intent(job, target)) or {}
        try:
            return msgspec.convert(record, Intent)
        except (msgspec.ValidationError, ValueError):
            return None

    def save_intent(self, job: str, target: str, intent: Intent) -> None:
        files.write_json(self._intent(job, target), msgspec.to_builtins(intent))

    def close_intent(self, job: str, target: str) -> None:
        with contextlib.suppress(FileNotFoundError):
            self._intent(job, target).unlink()

    def save_run(self, run: CachedRun) -> None:
        content = msgspec.to_builtins(_RunFile(_VERSION, run.target, run.read_at, run.facts))
        files.write_cache(self.folder / "runs" / f"{run.facts.id}.json", content)

    def forget_run(self, run_id: str) -> None:
        files.remove_cache(self.folder / "runs" / f"{run_id}.json")

    def runs(self) -> dict[str, CachedRun]:
        """Every cached run by id, oldest first. A file is parsed again only once it has changed."""
        paths = sorted(files.json_files(self.folder / "runs"), key=lambda path: path.stem[-20:])
        cached = ((path.stem, self._run(path)) for path in paths)
        runs = {run_id: run for run_id, run in cached if run and run.facts.id == run_id}
        return dict(sorted(runs.items(), key=lambda item: item[1].facts.created or 0.0))

    def save_target(self, label: str, when: float) -> None:
        """A host answered at that time."""
        files.write_cache(self._target(label), {"label": label, "asked": when})

    def targets(self) -> dict[str, float]:
        """Hosts that have answered, and when each last did."""
        records = decode.structs(self._all("targets"), _Target)
        return {record.label: record.read_at for record in records}

    def pace(self, label: str) -> Pace:
        return decode.struct(files.load_json(self._pace(label)), Pace) or Pace()

    def save_pace(self, label: str, pace: Pace) -> None:
        files.write_cache(self._pace(label), msgspec.to_builtins(pace))

    def find_report(self, key: str) -> CheckReport | None:
        """The report of an earlier check of the same thing (plan.CheckStep.key)."""
        return events.parse_report(files.load_json(self.folder / "verdicts" / f"{key}.json"))

    def save_report(self, key: str, report: CheckReport) -> None:
        files.write_cache(self.folder / "verdicts" / f"{key}.json", msgspec.to_builtins(report))

    @contextlib.contextmanager
    def lock(self, job: str, target: str) -> Iterator[bool]:
        """One deploy of a job to a target at a time; yields whether it is ours."""
        with files.lock(self._intent(job, target).with_suffix(".lock"), wait=False) as is_ours:
            yield is_ours

    def _run(self, path: Path) -> CachedRun | None:
        version = files.version(path)
        if path not in self._parsed or self._parsed[path][0] != version:
            self._parsed[path] = version, _as_saved(path) or _cached_run(files.load_json(path))
        return self._parsed[path][1]

    def _all(self, kind: str) -> list[Record]:
        records = (files.load_json(path) for path in files.json_files(self.folder / kind))
        return [record for record in records if record]

    def _target(self, label: str) -> Path:
        return self.folder / "targets" / f"{hashlib.sha256(label.encode()).hexdigest()[:16]}.json"

    def _pace(self, label: str) -> Path:
        return self._target(label).with_suffix(".pace")

    def _intent(self, job: str, target: str) -> Path:
        where = hashlib.sha256(target.encode()).hexdigest()[:8]
        return self.folder / "intents" / f"{job}@{where}.json"


def _as_saved(path: Path) -> CachedRun | None:
    """A file that is as this version wrote it, at a tenth of the time that a damaged or older one takes."""
    try:
        content = files.read_json(path)
        if decode.has_line_ends(content):
            return None
        file = msgspec.json.decode(content, type=_RunFile)
    except (OSError, msgspec.MsgspecError, RecursionError, ValueError):
        return None
    is_ours = file.v == _VERSION and RUN_ID.match(file.run.id)
    return CachedRun(file.target, file.read_at, file.run) if is_ours else None


def _cached_run(record: Record | None) -> CachedRun | None:
    """Of version 1, which named the facts `seen`, too."""
    about = decode.struct(record, _CachedRun)
    facts = runfacts.parse_run((record or {}).get("run") or (record or {}).get("seen"))
    return CachedRun(about.target, about.read_at, facts) if about and facts else None
