"""Which checkpoint a run continues from, and whether it may."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from trainers.engine import checkpoint
from trainers.engine.config import harmless
from trainers.engine.distributed import Group
from trainers.engine.task import Task

Warn = Callable[[str], None]


class Refused(Exception):
    """The run cannot go on as asked: another configuration or other data than before."""


def newest(root: Path, group: Group, warn: Warn) -> checkpoint.Checkpoint | None:
    """The newest whole checkpoint. Rank 0 looks first: it may set a damaged one aside."""
    held = None
    if group.is_main:
        checkpoint.sweep(root)
        held = checkpoint.newest(root, warn)
    group.barrier()
    return held if group.is_main else checkpoint.newest(root, lambda _: None)


def compare(manifest: dict[str, Any], task: Task, code_tree: str | None, warn: Warn) -> None:
    """Same options and same data, or Refused; harmless options and the code may differ."""
    now, before = task.config.as_dict(), manifest["config"]
    changed = sorted(k for k in now.keys() | before.keys() if now.get(k) != before.get(k))
    refused = [key for key in changed if key not in harmless(type(task.config))]
    if refused:
        pairs = ", ".join(f"{k} was {before.get(k)}, is {now.get(k)}" for k in refused)
        raise Refused(f"a resumed run keeps its options: {pairs}")
    if changed:
        warn(f"options changed on resuming: {', '.join(changed)}")
    if manifest["data"] != task.fingerprint:
        raise Refused(
            f"the data changed since the checkpoint: it was {manifest['data'][:12]}, "
            f"is {task.fingerprint[:12]}"
        )
    if manifest["code_tree"] != code_tree:
        warn(f"the code changed: it was {manifest['code_tree']}, is {code_tree}")
