"""Checkpoints (format: docs/contract.md): written atomically, verified by hash, loaded strictly."""

import hashlib
import json
import os
import shutil
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from trainers.engine import atomic

KEPT = 2
"""How many of the newest checkpoints are kept besides the best one."""

MODEL, TRAINER, MANIFEST, DIGEST = FILES = (
    "model.safetensors",
    "trainer.pt",
    "manifest.json",
    "manifest.sha256",
)


VERSION = 1
"""The version of the manifest."""


class Damaged(Exception):
    """A checkpoint is incomplete or differs from its manifest, or does not fit the model."""


@dataclass(frozen=True)
class Checkpoint:
    """A verified checkpoint: its folder and manifest."""

    path: Path
    manifest: dict[str, Any]

    @property
    def digest(self) -> str:
        """The SHA-256 of the manifest, which contains those of the other files."""
        return sha256(self.path / MANIFEST)

    def weights(self) -> dict[str, Tensor]:
        """Weights and buffers by name."""
        return load_file(self.path / MODEL)

    def trainer_state(self) -> dict[str, Any]:
        """State of optimizer, scaler and loop counters; loaded with `weights_only`, so it cannot run code."""
        state: dict[str, Any] = torch.load(self.path / TRAINER, map_location="cpu", weights_only=True)
        return state


def not_finite(weights: Mapping[str, Tensor]) -> list[str]:
    """The names of the tensors that hold NaN or infinity."""
    return [name for name, value in weights.items() if not value.isfinite().all()]


def sha256(path: Path) -> str:
    """The SHA-256 of a file as hexadecimal digits."""
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
        name: {"sha256": sha256(folder / name), "bytes": (folder / name).stat().st_size}
        for name in (MODEL, TRAINER)
    }
    text = json.dumps({"v": VERSION, "files": files, **manifest}, indent=1)
    (folder / MANIFEST).write_text(text + "\n")
    (folder / DIGEST).write_text(f"{sha256(folder / MANIFEST)}  {MANIFEST}\n")


def save(
    root: Path,
    step: int,
    model: nn.Module,
    trainer_state: dict[str, Any],
    manifest: dict[str, Any],
) -> Path:
    """Write the checkpoint `root/<step>` atomically, synced to disk; returns its path."""
    root.mkdir(parents=True, exist_ok=True)
    temporary = root / f".{step}.{os.getpid()}.tmp"
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir()
    weights = {k: v.detach().cpu().clone().contiguous() for k, v in model.state_dict().items()}
    save_file(weights, temporary / MODEL)
    torch.save(trainer_state, temporary / TRAINER)
    _write_manifest(temporary, {**manifest, "step": step, "created": time.time()})
    for name in (MODEL, TRAINER, MANIFEST, DIGEST, "."):
        _sync(temporary / name)
    return _publish(root, temporary, root / str(step))


def receive(root: Path, step: int, parts: Iterable[tuple[str, Iterable[bytes]]]) -> Path:
    """Write the files of a checkpoint that another host sends, atomically; returns its path.

    Raises Damaged unless they are complete. An unreadable checkpoint of that step is replaced.
    """
    root.mkdir(parents=True, exist_ok=True)
    temporary = root / f".{step}.{os.getpid()}.tmp"
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir()
    for name, blocks in parts:
        with (temporary / name).open("wb") as file:
            file.writelines(blocks)
        _sync(temporary / name)
    read(temporary)
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
    """Write `step` to the one-line file `last` or `best`, atomically."""
    with atomic.replacing(root / name) as temporary:
        temporary.write_text(f"{step}\n")
        _sync(temporary)
    _sync(root)


def pointed(root: Path, name: str) -> int | None:
    """The step in the file `last` or `best`; None if there is no valid one."""
    try:
        return int((root / name).read_text())
    except (OSError, ValueError):
        return None


def steps(root: Path) -> list[int]:
    """The steps of all checkpoint folders, newest first."""
    if not root.is_dir():
        return []
    return sorted((int(p.name) for p in root.iterdir() if p.name.isdigit()), reverse=True)


def prune(root: Path) -> None:
    """Delete all checkpoints but the KEPT newest and those that `last` and `best` name."""
    named = {pointed(root, "last"), pointed(root, "best")}
    for step in steps(root)[KEPT:]:
        if step not in named:
            aside = root / f".{step}.{os.getpid()}.old.tmp"
            # Renamed first: an interrupted deletion must not leave half a checkpoint under its name.
            (root / str(step)).rename(aside)
            shutil.rmtree(aside)


def find(path: Path) -> Path:
    """The checkpoint in a folder: the folder itself, or the one that its file `best` or `last` names.

    The subfolder `checkpoints` is searched too, and `path` may be the file `best` or `last` itself. Without a
    checkpoint, `path` is returned.
    """
    if path.is_file() and (step := pointed(path.parent, path.name)) is not None:
        return path.parent / str(step)
    for root in (path, path / "checkpoints"):
        if (root / MANIFEST).is_file():
            return root
        for name in ("best", "last"):
            if (step := pointed(root, name)) is not None:
                return root / str(step)
    return path


def sweep(root: Path) -> None:
    """Delete temporary files that killed processes left behind."""
    for path in root.glob(".*.tmp"):
        shutil.rmtree(path) if path.is_dir() else path.unlink()


def read(path: Path) -> Checkpoint:
    """Read a checkpoint and verify all of its hashes. Raises Damaged."""
    try:
        text = (path / MANIFEST).read_bytes()
        digest = (path / DIGEST).read_text().split()
        if digest != [hashlib.sha256(text).hexdigest(), MANIFEST]:
            raise Damaged(f"{path}: {MANIFEST} does not have the sha256 of {DIGEST}")
        manifest = json.loads(text)
        _require_form(manifest)
        for name, entry in manifest["files"].items():
            if (path / name).stat().st_size != entry["bytes"]:
                raise Damaged(f"{path}: {name} is not {entry['bytes']} bytes long")
            if sha256(path / name) != entry["sha256"]:
                raise Damaged(f"{path}: {name} has another sha256 than the manifest says")
    except (OSError, ValueError, KeyError) as fault:
        what = f"{path} is a file: name the folder of a checkpoint" if path.is_file() else f"{path}: {fault}"
        raise Damaged(what) from fault
    return Checkpoint(path, manifest)


_KINDS = {"trainer": str, "step": int, "config": dict, "preprocessing": dict, "metrics": dict, "files": dict}
"""Keys of a manifest and the kinds of their values; only `files` is required here."""


def _require_form(manifest: Any) -> None:
    """Raise ValueError unless a manifest is of this version, of the documented form, and lists the files."""
    if not isinstance(manifest, dict) or manifest.get("v") != VERSION:
        version = manifest.get("v") if isinstance(manifest, dict) else "none"
        raise ValueError(f"{MANIFEST} is of version {version}, this program reads {VERSION}: update gpujob")
    odd = [key for key, kind in _KINDS.items() if not isinstance(manifest.get(key, kind()), kind)]
    files = manifest.get("files", {})
    odd += (
        []
        if odd
        else [name for name in (MODEL, TRAINER) if not {"bytes", "sha256"} <= {*files.get(name, ())}]
    )
    if odd:
        raise ValueError(f"{MANIFEST} has no usable {odd[0]}")


def newest(root: Path, warn: Callable[[str], None]) -> Checkpoint | None:
    """The newest intact checkpoint, or None; damaged ones are renamed to `<step>.damaged`, with a warning."""
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
    """Load the weights into the model. Raises Damaged for a missing, unexpected or mismatched tensor."""
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
