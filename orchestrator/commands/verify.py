"""`gpujob verify PATH`: every hash of a checkpoint, so that one flipped byte is found and named."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from orchestrator.context import Context
from orchestrator.core.paths import inside
from orchestrator.errors import Exit, GpujobError, NotFound
from orchestrator.onhost.files import sha256

MANIFEST, DIGEST = "manifest.json", "manifest.sha256"


def verify(ctx: Context, place: str) -> int:
    """A checkpoint, or a folder that holds some (a fetched run). 1 names every file at fault."""
    typed = ctx.path(place)
    found = checkpoints_below(pointed(typed) if typed.is_file() else typed)
    if not found:
        raise NotFound(f"{place} holds no checkpoint", "there is no manifest.json in it", "gpujob fetch")
    verified = [{"path": ctx.short(path), **checkpoint(path)} for path in found]
    if ctx.json:
        ctx.answer({"checkpoints": verified})
        return Exit.DONE
    for one in verified:
        metrics = "  ".join(f"{k} {v:.4g}" for k, v in (one["metrics"] or {}).items() if isinstance(v, float))
        ctx.out(f"{one['path']}: {one['files']} files whole, {one['trainer']} step {one['step']}  {metrics}")
    return Exit.DONE


def pointed(place: Path) -> Path:
    """The checkpoint that `best` or `last` names, the best of a fetched run, else the place itself."""
    pointer = place if place.is_file() else place / "checkpoints" / "best"
    if pointer.name in ("best", "last") and pointer.is_file():
        step = pointer.read_text("utf-8", errors="replace").strip()
        return pointer.parent / step if step.isdigit() else place
    return place


def checkpoints_below(folder: Path) -> list[Path]:
    """The folder itself if it is a checkpoint, else those in it and in its `checkpoints`."""
    if (folder / MANIFEST).is_file() or (folder / DIGEST).is_file():
        return [folder]
    places = [*folder.glob("[0-9]*"), *folder.glob("checkpoints/[0-9]*")]
    return sorted((p for p in places if p.is_dir()), key=lambda p: (len(p.name), p.name))


def checkpoint(folder: Path, taken: Mapping[Path, str] | None = None) -> dict[str, Any]:
    """What the manifest says, once all it names is proven whole. Raises GpujobError naming each fault.

    `taken`: digests that the caller took of these files just now.
    """
    manifest = _manifest(folder)
    faults = [
        fault
        for name, entry in manifest["files"].items()
        if (fault := _fault(folder / name, name, entry, (taken or {}).get(folder / name)))
    ]
    known = {*manifest["files"], MANIFEST, DIGEST}
    faults += [f"{p.name} is not in the manifest" for p in sorted(folder.iterdir()) if p.name not in known]
    if faults:
        next_step = "fetch it again: gpujob fetch RUN"
        raise GpujobError(f"{folder} is damaged: {faults[0]}", "; ".join(faults[1:]), next_step)
    told = {key: manifest.get(key) for key in ("trainer", "step", "epoch", "metrics", "code_tree", "data")}
    return {**told, "files": len(manifest["files"]) + 2}


def _manifest(folder: Path) -> dict[str, Any]:
    path, digest = folder / MANIFEST, folder / DIGEST
    for needed in (path, digest):
        if not needed.is_file():
            raise GpujobError(f"{folder} is damaged: {needed.name} is missing", "", "gpujob fetch RUN")
    words = digest.read_text("utf-8", errors="replace").split()
    if not words or sha256(str(path)) != words[0]:
        raise GpujobError(f"{folder} is damaged: {MANIFEST} does not match {DIGEST}", "", "gpujob fetch RUN")
    manifest: dict[str, Any] = json.loads(path.read_text("utf-8"))
    return manifest


def _fault(path: Path, name: str, entry: dict[str, Any], taken: str | None) -> str | None:
    if not inside(name):
        return f"the manifest names {name!r}, which lies outside"
    if not path.is_file():
        return f"{name} is missing"
    if path.stat().st_size != entry["bytes"]:
        return f"{name} has {path.stat().st_size} bytes instead of {entry['bytes']}"
    if (taken or sha256(str(path))) != entry["sha256"]:
        return f"{name} does not match its sha256"
    return None
