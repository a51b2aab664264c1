"""Finds the checkpoint that a run resumes from, and refuses it if options or data changed."""

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch

from trainers.engine import checkpoint
from trainers.engine.config import harmless
from trainers.engine.distributed import Group
from trainers.engine.trainer import Trainer

BLOCK = 64 << 20
"""Bytes that one message between hosts carries."""

Warn = Callable[[str], None]


class Refused(Exception):
    """The run cannot start or resume: options or data are invalid, or changed since the checkpoint."""


def newest(root: Path, group: Group, warn: Warn) -> checkpoint.Checkpoint | None:
    """The newest intact checkpoint of any host, which every host has then; None without any.

    The first process of each host reads first, as it may rename a damaged one.
    """
    saved = None
    if group.is_main:
        checkpoint.sweep(root)
        saved = checkpoint.newest(root, warn)
    group.barrier()
    if not group.is_main:
        saved = checkpoint.newest(root, lambda _: None)
    steps = group.gather({group.rank: int(saved.path.name) if saved else -1})
    step = max(steps.values())
    if step < 0:
        return None
    if all(one == step for one in steps.values()):
        return saved
    _replicate(root, step, group, min(rank for rank, one in steps.items() if one == step))
    return checkpoint.read(root / str(step))


def share(root: Path, step: int, group: Group) -> bool:
    """Whether the checkpoint of `step` exists on some host; every host has it then."""
    present = group.gather({group.rank: step in checkpoint.steps(root)})
    owners = [rank for rank, is_present in present.items() if is_present]
    if owners and len(owners) < group.size:
        _replicate(root, step, group, min(owners))
    return bool(owners)


def _replicate(root: Path, step: int, group: Group, owner: int) -> None:
    """Send a checkpoint from the process `owner` to the folders that lack it."""
    folder = root / str(step)
    own = {name: (folder / name).stat().st_size for name in checkpoint.FILES} if group.rank == owner else {}
    sizes = group.gather({group.rank: own})[owner]
    is_receiver = group.is_main and group.rank != owner and step not in checkpoint.steps(root)
    parts = ((name, _blocks(folder / name, size, group, owner)) for name, size in sizes.items())
    if is_receiver:
        checkpoint.receive(root, step, parts)
    else:
        for _, blocks in parts:
            for _ in blocks:
                pass
    group.barrier()


def _blocks(path: Path, size: int, group: Group, owner: int) -> Iterator[bytes]:
    """The content of the owner's file, in pieces that every process receives."""
    with path.open("rb") if group.rank == owner else contextlib.nullcontext() as file:
        for start in range(0, size, BLOCK):
            count = min(BLOCK, size - start)
            block = torch.empty(count, dtype=torch.uint8)
            if file:
                block = torch.frombuffer(bytearray(file.read(count)), dtype=torch.uint8)
            yield group.send(block, owner).numpy().tobytes()


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
