"""Copies checkpoints and results of one run to S3, from a process of its own, as they are completed.

The process has no part in the run: it reads the run's files, and neither its end nor a server that hangs
changes anything there. mirror.json records what was copied, verified, and the last error.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time
from typing import Mapping, NamedTuple, Sequence

from orchestrator.core.jsontext import Object
from orchestrator.core.layout import Layout, RunPaths
from orchestrator.core.paths import inside, is_step
from orchestrator.onhost import companions, files, inventory, processes, s3_etags, s3_tool, staging
from orchestrator.onhost.companions import Pause
from orchestrator.onhost.errors import Refused
from orchestrator.onhost.records import RunSpec
from orchestrator.onhost.s3_tool import Copy, Source

POLL = 2.0  # seconds between two looks at the run
PAUSES = (5.0, 15.0, 60.0, 300.0)  # seconds after each failure; then the last again
LIMIT = 3600.0  # seconds after the end of a run in which copying is tried again
SETTLED = 30.0  # seconds without a change, after which a script's own file counts as complete
SECRETS = "s3:"  # before the names of variables in the secrets of a start
_LAST = ("manifest.sha256", *inventory.POINTERS)  # copied after the files that they vouch for
_BLOCK = 1 << 20


class Unit(NamedTuple):
    """What is copied at once: `which` for staging, and the version of it that stands on the disk."""

    which: str
    version: list[int]


def source(spec: RunSpec) -> Source | None:
    """Returns where the results of a run are copied to: a prefix with its id; None for a run without any.

    Of a run over several hosts the first one copies.
    """
    settings = spec.record.child("s3")
    if spec.record.child("group").integer("rank"):
        return None
    scheme, _, rest = (settings.text("mirror") or "").partition("://")
    bucket, _, prefix = rest.partition("/")
    if scheme != "s3" or not bucket:
        return None
    reached = [settings.text(name) or "" for name in ("endpoint", "region", "credentials")]
    return Source(bucket, "/".join(filter(None, [prefix.strip("/"), spec.id])), *reached)


def start(layout: Layout, spec: RunSpec, secrets: Mapping[str, str]) -> None:
    """Starts the process for a run that asks for it. A failure is not the run's: it is recorded.

    The credentials are passed over a pipe. A second process waits until the first has ended.
    """
    if source(spec) is None:
        return
    own = {name[len(SECRETS) :]: value for name, value in secrets.items() if name.startswith(SECRETS)}
    if problem := companions.start("mirror", layout, spec.id, own):
        sys.stderr.write("results of %s cannot be copied: %s\n" % (spec.id, problem))


def main(layout: Layout, run_id: str) -> None:
    """Runs the process: reads credentials from stdin, leaves its parent, and returns when all is copied."""
    secrets = companions.begin()
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # a machine that shuts down kills it in the end
    paths = layout.run(run_id)
    spec = RunSpec.load(paths.run_json)
    target = source(spec) if spec else None
    if target is None:
        return
    companions.wait_for_turn(layout, run_id)
    with companions.only_one(paths.mirror_lock):
        mirror = Mirror(layout, run_id, target, secrets)
        while not mirror.look(time.time()):
            time.sleep(POLL)


class Mirror:
    """The copy of one run. `look` is called again and again, with the time."""

    def __init__(self, layout: Layout, run_id: str, target: Source, secrets: Mapping[str, str]) -> None:
        self._layout = layout
        self._run_id = run_id
        self._paths = layout.run(run_id)
        self._target = target
        self._secrets = secrets
        self._record = Record.load(self._paths.mirror)
        self._run = companions.Watched(self._paths)
        self._failures = 0
        self._pause = Pause()
        self._tool = ""
        spec = RunSpec.load(self._paths.run_json)
        self._is_group = bool(spec and spec.group)  # whose run.json has a key that counts while it is going

    def look(self, now: float) -> bool:
        """Copies what is complete and not copied yet; returns whether nothing is left to be done."""
        state = self._run.look()
        if state is None:
            return self._run.is_over
        has_ended = self._run.has_ended
        if self._pause.goes_on(now):
            return False
        try:
            denied = [path for unit in self._units(now, has_ended) for path in self._copy(unit)]
            if denied:
                raise Refused("s3", "%s may not be read by the user of the host" % denied[0])
            self._failures = 0
            self._save("complete" if has_ended else "copying", None)
            return has_ended
        except (Refused, OSError) as error:
            return self._failed(str(error), now, state.ended)

    def _failed(self, why: str, now: float, ended: float | None) -> bool:
        is_final = ended is not None and now > ended + LIMIT
        self._pause = Pause(now, PAUSES[min(self._failures, len(PAUSES) - 1)])
        self._failures += 1
        self._save("failed" if is_final else "copying", why)
        return is_final

    def _units(self, now: float, has_ended: bool) -> list[Unit]:
        """Returns what is not copied as it is now, the newest checkpoint first."""
        folder = self._paths.checkpoints
        names = [name for name in _listed(folder) if not name.startswith(".")]
        steps = sorted((name for name in names if is_step(name)), key=int, reverse=True)
        own = inventory.own_names(folder, names)
        pointers = [name for name in inventory.POINTERS if name in names and name not in own]
        units = [] if self._is_group else [Unit("path:run.json", _version(self._paths.run_json))]
        for name in [*steps, *own, *pointers]:
            version = _version(os.path.join(folder, name))
            is_complete = name not in own or has_ended or now - version[0] / 1000 >= SETTLED
            if is_complete:
                units.append(Unit("path:checkpoints/" + name, version))
        if has_ended:
            units.append(Unit("last", [int(now)]))
        return [unit for unit in units if self._record.done.get(unit.which) != unit.version]

    def _copy(self, unit: Unit) -> list[str]:
        """Pins the files of a unit, copies those that S3 lacks, and verifies them there.

        Returns those that may not be read: the unit is then not done.
        """
        self._tool = self._tool or s3_tool.ensure(self._layout)
        if self._target.credentials == "session" and not self._secrets:
            why = "the credentials of the session are not stored on the host"
            raise Refused("s3", "%s: gpujob deploy --resume %s sends new ones" % (why, self._run_id))
        stage = staging.stage(self._layout, self._run_id, unit.which)
        try:
            staged = [one for one in stage["files"] if inside(one["path"])]
            changed = [one for one in staged if self._record.files.get(one["path"]) != one["sha256"]]
            for is_last in (False, True):
                part = [one for one in changed if (os.path.basename(one["path"]) in _LAST) == is_last]
                self._send(stage["folder"], part)
            if not stage["denied"]:
                self._record.done[unit.which] = unit.version
            self._save("copying", None)
            return stage["denied"]
        finally:
            staging.unstage(self._layout, self._run_id, stage["token"])

    def _send(self, folder: str, part: Sequence[staging.StagedFile]) -> None:
        if not part:
            return
        staging.record_transfer(self._layout)
        base = self._target.url
        copies = [Copy(os.path.join(folder, one["sha256"]), "%s/%s" % (base, one["path"])) for one in part]
        failures = s3_tool.copy(self._tool, self._target, copies, self._secrets)
        if failures:
            raise Refused("s3", s3_tool.reason(failures))
        copied = s3_tool.entries(self._tool, self._target, self._secrets)
        for one in part:
            path = os.path.join(folder, one["sha256"])
            if not self._is_copied(path, one["path"], copied):
                raise Refused("s3", "%s/%s is not what was copied" % (base, one["path"]))
            if self._record.files.get(one["path"]) is None:
                self._record.count += 1
            self._record.bytes += one["bytes"]
            self._record.files[one["path"]] = one["sha256"]

    def _is_copied(self, path: str, name: str, copied: Mapping[str, tuple[int, str]]) -> bool:
        """Whether S3 has the content of a file: by its ETag, else (as with KMS) by reading it back."""
        size, etag = copied.get(name, (-1, ""))
        if size != os.stat(path).st_size:
            return False
        if etag == s3_etags.of(path, s3_tool.PART_MIB << 20):
            return True
        key = "%s/%s" % (self._target.prefix, name)
        with s3_tool.read(self._tool, self._target, self._secrets, key) as process, open(path, "rb") as own:
            stream = process.stdout
            assert stream
            is_same = all(block == own.read(len(block)) for block in iter(lambda: stream.read(_BLOCK), b""))
            return is_same and not own.read(1) and process.wait() == 0

    def _save(self, state: str, error: str | None) -> None:
        """Writes mirror.json if it changed; where that fails, this process still knows what it copied."""
        with contextlib.suppress(OSError):
            self._record.save(self._paths, state, error, self._target.url)


class Record:
    """The content of mirror.json. `files`: path → sha256 of what S3 has. `done`: the version of each unit."""

    def __init__(self) -> None:
        self.files: dict[str, str] = {}
        self.done: dict[str, list[int]] = {}
        self.count = self.bytes = 0
        self._saved: Mapping[str, object] = {}

    @staticmethod
    def load(path: str) -> Record:
        record, value = Record(), files.load(path) or Object()
        record.files = value.child("files").all_texts()
        done = value.child("done")
        record.done = {name: version for name in done.values if (version := done.get(name, list))}
        record.count = len(record.files)
        record.bytes = value.integer("bytes") or 0
        return record

    def save(self, paths: RunPaths, state: str, error: str | None, place: str) -> None:
        value = {
            "v": 1,
            "state": state,
            "error": error,
            "place": place,
            "count": self.count,
            "bytes": self.bytes,
            "process": processes.identity(os.getpid()),
            "boot": processes.boot(),
            "done": dict(self.done),
            "files": dict(self.files),
        }
        if value != self._saved:
            files.write_json(paths.mirror, value)
            self._saved = value


def _listed(folder: str) -> list[str]:
    try:
        return os.listdir(folder)
    except OSError:
        return []


def _version(path: str) -> list[int]:
    """Returns the newest time in ms, the bytes and the number of files at or below a path."""
    newest = size = count = 0
    for one in [path, *(os.path.join(at, n) for at, _, names in os.walk(path) for n in names)]:
        with contextlib.suppress(OSError):
            status = os.stat(one)
            newest = max(newest, status.st_mtime_ns // 10**6)
            size += status.st_size if one != path or not os.path.isdir(path) else 0
            count += 1
    return [newest, size, count]
