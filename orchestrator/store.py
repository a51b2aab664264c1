"""The laptop's cache, and its intents. The hosts' files and EC2's tags are the truth."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

Record = dict[str, Any]


class Store:
    """Small JSON files below one folder, replaced atomically; intents are fsynced before they count."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def open_intent(self, job: str, target: str) -> Record | None:
        """What an earlier deploy of this job to this target began and has not confirmed."""
        return self._load(self._intent(job, target))

    def write_intent(self, job: str, target: str, intent: Record) -> None:
        self._replace(self._intent(job, target), intent)

    def close_intent(self, job: str, target: str) -> None:
        with contextlib.suppress(FileNotFoundError):
            self._intent(job, target).unlink()

    def remember_run(self, run_id: str, record: Record) -> None:
        """`record`: target, job, and the last facts that the host gave, with their time."""
        self._replace(self.folder / "runs" / f"{run_id}.json", record)

    def forget_run(self, run_id: str) -> None:
        with contextlib.suppress(FileNotFoundError):
            (self.folder / "runs" / f"{run_id}.json").unlink()

    def runs(self) -> dict[str, Record]:
        """Every cached run by id, oldest first."""
        folder = self.folder / "runs"
        names = sorted(folder.glob("*.json"), key=lambda p: p.stem[-20:]) if folder.is_dir() else []
        loaded = {path.stem: record for path in names if (record := self._load(path))}
        return dict(sorted(loaded.items(), key=lambda item: item[1].get("created") or 0.0))

    def saw_target(self, label: str, when: float) -> None:
        """A host answered at that time."""
        self._replace(self._target(label), {"label": label, "asked": when})

    def targets(self) -> dict[str, float]:
        """Hosts that have answered, and when each last did."""
        return {record["label"]: record["asked"] for record in self._all("targets")}

    def verdict(self, key: str) -> Record | None:
        return self._load(self.folder / "verdicts" / f"{key}.json")

    def keep_verdict(self, key: str, report: Record) -> None:
        self._replace(self.folder / "verdicts" / f"{key}.json", report)

    @contextlib.contextmanager
    def lock(self, job: str, target: str) -> Iterator[bool]:
        """One deploy of a job to a target at a time; yields whether it is ours."""
        path = self._intent(job, target).with_suffix(".lock")
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("w") as handle:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                yield False
                return
            yield True

    def _all(self, room: str) -> list[Record]:
        folder = self.folder / room
        found = [self._load(path) for path in sorted(folder.glob("*.json"))] if folder.is_dir() else []
        return [record for record in found if record]

    def _target(self, label: str) -> Path:
        return self.folder / "targets" / f"{hashlib.sha256(label.encode()).hexdigest()[:16]}.json"

    def _intent(self, job: str, target: str) -> Path:
        where = hashlib.sha256(target.encode()).hexdigest()[:8]
        return self.folder / "intents" / f"{job}@{where}.json"

    def _load(self, path: Path) -> Record | None:
        try:
            value = json.loads(path.read_text("utf-8"))
        except (OSError, ValueError):
            return None
        return value if isinstance(value, dict) else None

    def _replace(self, path: Path, value: Record) -> None:
        write_json(path, value)


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    """Replaces a file atomically; it is on disk when this returns, and readable by its owner alone."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(f".{os.getpid()}.tmp")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as handle:
        json.dump(value, handle)
        handle.flush()
        os.fsync(handle.fileno())
    temporary.replace(path)
    _sync_folder(path.parent)


def _sync_folder(folder: Path) -> None:
    """A name is on the disk only when its folder is."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
