"""`gpujob verify PATH`: compares every hash of a checkpoint, so that one flipped byte is found and named."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from orchestrator.context import Context
from orchestrator.core import decode, shell
from orchestrator.core.paths import inside, is_step
from orchestrator.core.text import counted
from orchestrator.errors import Exit, GpujobError, NotFound
from orchestrator.onhost.files import last_bytes, load_json, sha256
from orchestrator.view import answers

MANIFEST, DIGEST = "manifest.json", "manifest.sha256"
_LONGEST_DIGEST = 4096  # bytes of manifest.sha256, and of the files `best` and `last`
_AGAIN = "gpujob fetch RUN"


class _File(msgspec.Struct, frozen=True):
    bytes: int
    sha256: str


class Manifest(msgspec.Struct, frozen=True):
    """What is used of a checkpoint's manifest.json (docs/contract.md)."""

    files: dict[str, _File]
    trainer: str | None = None
    step: int | None = None
    epoch: float | None = None
    metrics: dict[str, Any] | None = None
    code_tree: str | None = None
    data: Any = None


def verify(ctx: Context, word: str) -> int:
    """Verifies a checkpoint, or all in a folder such as a fetched run; 1 if a file is damaged."""
    path = ctx.path(word)
    folders = checkpoints_below(resolve(path) if path.is_file() else path)
    if not folders:
        raise not_a_checkpoint(word, path)
    manifests = [(ctx.short(folder), require_intact(folder)) for folder in folders]
    if ctx.json:
        ctx.answer(answers.Verify(checkpoints=tuple(_as_json(*one) for one in manifests)))
        return Exit.DONE
    for shown, manifest in manifests:
        values = (manifest.metrics or {}).items()
        metrics = "  ".join(f"{name} {value:.4g}" for name, value in values if isinstance(value, float))
        files = f"{counted(_count(manifest), 'file')} intact"
        ctx.out(f"{shown}: {files}, {manifest.trainer} step {manifest.step}  {metrics}")
    return Exit.DONE


def not_a_checkpoint(shown: str, path: Path) -> NotFound:
    """For a path without a manifest: what is there instead, and what to do with it."""
    what, why = f"{shown} is not a checkpoint", "it contains no manifest.json"
    if not path.exists():
        return NotFound(what, "it does not exist", "gpujob fetch")
    if (path / "run.json").is_file():  # a fetched run of a script, which has files of its own format
        why = f"{why}: its run wrote files of its own, each of which gpujob fetch verified"
        return NotFound(what, why, f"ls {shell.join([shown])}")
    return NotFound(what, why, "gpujob verify fetched/RUN, after gpujob fetch")


def resolve(path: Path) -> Path:
    """The checkpoint that `best` or `last` names, the best of a fetched run, else the path itself."""
    pointer = path if path.is_file() else path / "checkpoints" / "best"
    if pointer.name in ("best", "last") and pointer.is_file():
        step = last_bytes(str(pointer), _LONGEST_DIGEST).decode("utf-8", errors="replace").strip()
        return pointer.parent / step if is_step(step) else path
    return path


def checkpoints_below(folder: Path) -> list[Path]:
    """The folder itself if it is a checkpoint, else those in it and in its `checkpoints`."""
    if (folder / MANIFEST).is_file() or (folder / DIGEST).is_file():
        return [folder]
    folders = [*folder.glob("[0-9]*"), *folder.glob("checkpoints/[0-9]*")]
    return sorted((p for p in folders if p.is_dir()), key=lambda p: (len(p.name), p.name))


def require_intact(folder: Path, known: Mapping[Path, str] | None = None) -> Manifest:
    """The manifest, once every file that it names is verified. Raises GpujobError naming each fault.

    `known`: digests that the caller has just computed of these files.
    """
    manifest = _manifest(folder)
    faults = [
        fault
        for name, entry in manifest.files.items()
        if (fault := _fault(folder / name, name, entry, (known or {}).get(folder / name)))
    ]
    names = {*manifest.files, MANIFEST, DIGEST}
    faults += [f"{p.name} is not in the manifest" for p in sorted(folder.iterdir()) if p.name not in names]
    if faults:
        raise _damaged(folder, faults[0], "; ".join(faults[1:]))
    return manifest


def _damaged(folder: Path, what: str, why: str = "") -> GpujobError:
    return GpujobError(f"{folder} is damaged: {what}", why, f"fetch it again: {_AGAIN}")


def _manifest(folder: Path) -> Manifest:
    path, digest = folder / MANIFEST, folder / DIGEST
    for needed in (path, digest):
        if not needed.is_file():
            raise _damaged(folder, f"{needed.name} is missing")
    words = last_bytes(str(digest), _LONGEST_DIGEST).decode("utf-8", errors="replace").split()
    if not words or sha256(str(path)) != words[0]:
        raise _damaged(folder, f"{MANIFEST} does not match {DIGEST}")
    faults: list[str] = []
    record = load_json(str(path), faults) or {}
    if not faults:
        files = record.get("files")
        for name, entry in files.items() if isinstance(files, dict) else ():
            faults += decode.fault(entry, _File, f"files[{name!r}]")
        faults += decode.fault(record, Manifest)
    if faults:
        raise _damaged(folder, f"{MANIFEST} is not a manifest", faults[0])
    return msgspec.convert(record, Manifest)


def _fault(path: Path, name: str, entry: _File, known: str | None) -> str | None:
    if not inside(name):
        return f"the manifest names {name!r}, which lies outside"
    if not path.is_file():
        return f"{name} is missing"
    if path.stat().st_size != entry.bytes:
        return f"{name} has {path.stat().st_size} bytes instead of {entry.bytes}"
    if (known or sha256(str(path))) != entry.sha256:
        return f"{name} does not match its sha256"
    return None


def _count(manifest: Manifest) -> int:
    """Files of the checkpoint, its manifest and that one's digest included."""
    return len(manifest.files) + 2


def _as_json(shown: str, manifest: Manifest) -> answers.VerifiedCheckpoint:
    fields = {**msgspec.structs.asdict(manifest), "files": _count(manifest)}
    return answers.VerifiedCheckpoint(path=shown, **fields)
