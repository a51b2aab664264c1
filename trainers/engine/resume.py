"""Finds the checkpoint that a run resumes from, and refuses it if options or data changed."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from trainers.engine import checkpoint
from trainers.engine.config import harmless
from trainers.engine.distributed import Group
from trainers.engine.trainer import Trainer

Warn = Callable[[str], None]


class Refused(Exception):
    """The run cannot start or resume: options or data are invalid, or changed since the checkpoint."""


def newest(root: Path, group: Group, warn: Warn) -> checkpoint.Checkpoint | None:
    """The newest intact checkpoint, or None. The main process reads first, as it may rename a damaged one."""
    saved = None
    if group.is_main:
        checkpoint.sweep(root)
        saved = checkpoint.newest(root, warn)
    group.barrier()
    return saved if group.is_main else checkpoint.newest(root, lambda _: None)


def compare(manifest: dict[str, Any], trainer: Trainer, code_tree: str | None, warn: Warn) -> None:
    """Raise Refused if options or data differ from the checkpoint's; harmless options and code only warn.

    An option that did not exist yet when the checkpoint was written had its default.
    """
    now, before = trainer.config.as_dict(), {**type(trainer.config)().as_dict(), **manifest["config"]}
    changed = sorted(k for k in now.keys() | before.keys() if now.get(k) != before.get(k))
    refused = [key for key in changed if key not in harmless(type(trainer.config))]
    if refused:
        pairs = ", ".join(f"{k} was {before.get(k)}, is {now.get(k)}" for k in refused)
        raise Refused(f"a resumed run keeps its options: {pairs}")
    if changed:
        warn(f"options changed on resuming: {', '.join(changed)}")
    if manifest["data"] != trainer.fingerprint:
        raise Refused(
            f"the data changed since the checkpoint: it was {manifest['data'][:12]}, "
            f"is {trainer.fingerprint[:12]}"
        )
    if manifest["code_tree"] != code_tree:
        warn(f"the code changed: it was {manifest['code_tree']}, is {code_tree}")
