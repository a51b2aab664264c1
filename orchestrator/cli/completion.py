"""Words for the shell's completion, read from the cache and the job files; no host is contacted."""

from __future__ import annotations

from orchestrator import files
from orchestrator.context import from_process
from orchestrator.store import Store


def runs(incomplete: str) -> list[str]:
    """Run IDs, the newest first, then the names of their jobs."""
    records = Store(from_process().state_dir).runs()
    jobs = [record.facts.job for record in records.values() if record.facts.job]
    return _starting([*reversed(records), *jobs], incomplete)


def jobs(incomplete: str) -> list[str]:
    """Names of job files in the current folder, in ./jobs and in the package."""
    cwd = from_process().cwd
    folders = (cwd, cwd / "jobs", files.folder("jobs"))
    return _starting([path.stem for folder in folders for path in sorted(folder.glob("*.yaml"))], incomplete)


def trainers(incomplete: str) -> list[str]:
    return _starting(files.trainer_names(), incomplete)


def _starting(words: list[str], incomplete: str) -> list[str]:
    """A name with control characters, which a run may have, is not offered to the shell."""
    return [word for word in dict.fromkeys(words) if word.startswith(incomplete) and word.isprintable()]
