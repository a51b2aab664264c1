"""Checkpoints as docs/contract.md defines them: complete or absent, hashed, loaded strictly."""

import hashlib
import json
import os
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from trainers.engine import atomic

KEPT = 2
"""How many of the newest checkpoints are kept, apart from the best."""

MODEL, TRAINER, MANIFEST, DIGEST = (
    "model.safetensors",
    "trainer.pt",
    "manifest.json",
    "manifest.sha256",
)


class Damaged(Exception):
    """A checkpoint that is not what its manifest says."""


@dataclass(frozen=True)
class Checkpoint:
    """A verified checkpoint: its folder and its manifest."""

    path: Path
    manifest: dict[str, Any]

    def weights(self) -> dict[str, Tensor]:
        """Weights and buffers by name."""
        return load_file(self.path / MODEL)

    def trainer_state(self) -> dict[str, Any]:
        """Optimizer, schedule, scaler and counters; nothing in it can run code."""
        state: dict[str, Any] = torch.load(self.path / TRAINER, map_location="cpu", weights_only=True)
        return state


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        digest = hashlib.sha256()
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _write_manifest(folder: Path, manifest: dict[str, Any]) -> None:
    files = {
        name: {"sha256": _sha256(folder / name), "bytes": (folder / name).stat().st_size}
        for name in (MODEL, TRAINER)
    }
    text = json.dumps({"v": 1, "files": files, **manifest}, indent=1)
    (folder / MANIFEST).write_text(text + "\n")
    (folder / DIGEST).write_text(f"{_sha256(folder / MANIFEST)}  {MANIFEST}\n")


def save(
    root: Path,
    step: int,
    model: nn.Module,
    trainer_state: dict[str, Any],
    manifest: dict[str, Any],
    clock: Callable[[], float] = time.time,
) -> Path:
    """Write `root/<step>`; it appears under that name once every byte of it is on disk."""
    root.mkdir(parents=True, exist_ok=True)
    temporary = root / f".{step}.{os.getpid()}.tmp"
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir()
    weights = {k: v.detach().cpu().clone().contiguous() for k, v in model.state_dict().items()}
    save_file(weights, temporary / MODEL)
    torch.save(trainer_state, temporary / TRAINER)
    _write_manifest(temporary, {**manifest, "step": step, "created": clock()})
    for name in (MODEL, TRAINER, MANIFEST, DIGEST, "."):
        _sync(temporary / name)
    return _publish(root, temporary, root / str(step))


def _publish(root: Path, temporary: Path, final: Path) -> Path:
    if final.exists():
        old = root / f".{final.name}.{os.getpid()}.old.tmp"
        final.rename(old)
        temporary.rename(final)
        shutil.rmtree(old)
    else:
        temporary.rename(final)
    _sync(root)
    return final


def point(root: Path, name: str, step: int) -> None:
    """Make the one-line file `last` or `best` name a step, atomically."""
    with atomic.replacing(root / name) as temporary:
        temporary.write_text(f"{step}\n")
        _sync(temporary)
    _sync(root)


def pointed(root: Path, name: str) -> int | None:
    """The step that `last` or `best` names."""
    try:
        return int((root / name).read_text())
    except (OSError, ValueError):
        return None


def steps(root: Path) -> list[int]:
    """The steps that have a folder, newest first."""
    if not root.is_dir():
        return []
    return sorted((int(p.name) for p in root.iterdir() if p.name.isdigit()), reverse=True)


def prune(root: Path) -> None:
    """Remove all but the newest, the best and the one that `last` names."""
    named = {pointed(root, "last"), pointed(root, "best")}
    for step in steps(root)[KEPT:]:
        if step not in named:
            aside = root / f".{step}.{os.getpid()}.old.tmp"
            (root / str(step)).rename(aside)  # never half removed under its name
            shutil.rmtree(aside)


def sweep(root: Path) -> None:
    """Remove the temporary files of killed processes."""
    for path in root.glob(".*.tmp"):
        shutil.rmtree(path) if path.is_dir() else path.unlink()


def read(path: Path) -> Checkpoint:
    """Verify every hash of a checkpoint. Raises Damaged with what is wrong."""
    try:
        text = (path / MANIFEST).read_bytes()
        digest = (path / DIGEST).read_text().split()
        if digest != [hashlib.sha256(text).hexdigest(), MANIFEST]:
            raise Damaged(f"{path}: {MANIFEST} does not have the sha256 of {DIGEST}")
        manifest = json.loads(text)
        for name, entry in manifest["files"].items():
            if (path / name).stat().st_size != entry["bytes"]:
                raise Damaged(f"{path}: {name} is not {entry['bytes']} bytes long")
            if _sha256(path / name) != entry["sha256"]:
                raise Damaged(f"{path}: {name} has another sha256 than the manifest says")
    except (OSError, ValueError, KeyError) as fault:
        raise Damaged(f"{path}: {fault}") from fault
    return Checkpoint(path, manifest)


def newest(root: Path, warn: Callable[[str], None]) -> Checkpoint | None:
    """The newest checkpoint that verifies; a damaged one is set aside as `<step>.damaged`."""
    for step in steps(root):
        try:
            return read(root / str(step))
        except Damaged as fault:
            aside = root / f"{step}.damaged"
            shutil.rmtree(aside, ignore_errors=True)
            (root / str(step)).rename(aside)
            warn(f"checkpoint {step} is skipped and set aside as {aside.name}: {fault}")
    return None


def load_weights(model: nn.Module, saved: Checkpoint) -> None:
    """Load strictly: a missing, an unexpected or a mismatched tensor raises Damaged."""
    try:
        weights = saved.weights()
    except SafetensorError as fault:
        raise Damaged(f"{saved.path}: {fault}") from fault
    expected = model.state_dict()
    problems = [f"{name} is missing" for name in expected.keys() - weights.keys()]
    problems += [f"{name} is not of this model" for name in weights.keys() - expected.keys()]
    problems += [
        f"{name} is {tuple(weights[name].shape)}, the model has {tuple(expected[name].shape)}"
        for name in expected.keys() & weights.keys()
        if weights[name].shape != expected[name].shape or weights[name].dtype != expected[name].dtype
    ]
    if problems:
        raise Damaged(f"{saved.path}: " + "; ".join(sorted(problems)))
    model.load_state_dict(weights, strict=True)
