"""Words for the shell's completion; from the cache and the job files, asking no host."""

from __future__ import annotations

from orchestrator import share
from orchestrator.context import from_process
from orchestrator.store import Store


def runs(incomplete: str) -> list[str]:
    """Run ids, the newest first, and the names of their jobs."""
    known = Store(from_process().state_dir).runs()
    names = [str((record["seen"].get("run") or {}).get("job")) for record in known.values()]
    return _fitting([*reversed(known), *names], incomplete)


def jobs(incomplete: str) -> list[str]:
    here = from_process().cwd
    folders = (here, here / "jobs", share.folder("jobs"))
    return _fitting([path.stem for folder in folders for path in sorted(folder.glob("*.yaml"))], incomplete)


def trainers(incomplete: str) -> list[str]:
    return _fitting(share.trainer_names(), incomplete)


def _fitting(words: list[str], incomplete: str) -> list[str]:
    return [word for word in dict.fromkeys(words) if word.startswith(incomplete)]
