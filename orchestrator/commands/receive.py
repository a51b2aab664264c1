"""What a run has, brought home: every hash verified, whole or absent."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import re
import shutil
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from orchestrator.commands import arrivals, verify
from orchestrator.context import Context
from orchestrator.core import runstate
from orchestrator.core.paths import inside, is_digest
from orchestrator.errors import GpujobError, UsageError
from orchestrator.onhost.files import sha256
from orchestrator.targets.base import Host
from orchestrator.view import transfer

PARTS = ".gpujob-part"
_STEP = re.compile(r"checkpoints/[0-9]+")


@dataclass(frozen=True)
class Home:
    """What came home, every hash verified. `left_out` could not come, `missing` are outputs not made."""

    files: list[dict[str, Any]]
    left_out: list[str]
    missing: list[str]

    def whole(self, seen: dict[str, Any], now: float) -> bool:
        """Whether nothing is left behind. A run that did not succeed may not have made its outputs."""
        succeeded = isinstance(runstate.fold(seen, now), runstate.Succeeded)
        return not self.left_out and not (self.missing and succeeded)


def bring(ctx: Context, host: Host, run_id: str, which: str, folder: Path) -> Home:
    """What a run has, here: staged there, received into parts named by digest, verified, renamed."""
    _keep_out_of_git(folder)
    with _alone(folder):
        return _staged(ctx, host, run_id, which, folder)


def _staged(ctx: Context, host: Host, run_id: str, which: str, folder: Path) -> Home:
    begun = _begun(folder, run_id)
    staged = host.ask("stage", run=run_id, which=which)
    _warn(ctx, staged["left_out"], "was left out: a link that leads out of the run, or no plain file")
    _warn(ctx, staged["missing"], "is not there, though `outputs` names it")
    _warn(ctx, staged["no_room"], "was left out until the run has ended: the host has no room to copy it")
    try:
        for file in staged["files"]:
            if not inside(file["path"]):
                raise GpujobError(f"the host offered {file['path']!r}", "it would land outside the folder")
            if not is_digest(file["sha256"]):
                raise GpujobError(f"the host offered {file['path']!r}", "its sha256 is none")
            if not begun and _is_other(folder / file["path"], file):
                what = f"{folder / file['path']} is there, and was not fetched from this run"
                raise UsageError(what, "nothing was written", "--to another folder")
        _receive(ctx, host, staged, folder)
    finally:
        with contextlib.suppress(GpujobError):
            host.ask("unstage", run=run_id, token=staged["token"])
    _sweep_parts(folder)
    taken = {folder / file["path"]: file["sha256"] for file in staged["files"]}
    for path in checkpoints(staged["files"]):
        verify.checkpoint(folder / path, taken)
    return Home(staged["files"], staged["left_out"], staged["missing"])


def _warn(ctx: Context, names: list[str], why: str) -> None:
    for name in names[:5]:
        ctx.warn(f"warning: {name} {why}")
    if names[5:]:
        ctx.warn(f"warning: and {len(names) - 5} more files")


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """One fetch into a folder at a time: parts have shared names."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError:
        raise GpujobError(
            f"another fetch into {folder} is under way", "", "wait for it, or --to DIR"
        ) from None
    finally:
        os.close(handle)


def _begun(folder: Path, run_id: str) -> bool:
    """Whether a fetch of this run has written here: run.json arrives first. UsageError for another."""
    try:
        other = json.loads((folder / "run.json").read_text("utf-8"))["id"]
    except (OSError, ValueError, KeyError, TypeError):
        return False
    if other != run_id:
        raise UsageError(f"{folder} holds another run, {other}", "nothing was written", "--to another folder")
    return True


def _keep_out_of_git(folder: Path) -> None:
    """What was fetched is no code: the next deploy must not send it along."""
    folder.mkdir(parents=True, exist_ok=True)
    if not any(folder.iterdir()):
        (folder / ".gitignore").write_text("*\n", "utf-8")


def _in_turn(file: dict[str, Any]) -> tuple[bool, bool, bool, str]:
    """run.json says whose the others are; pointers after manifests after the files they speak of."""
    name = file["path"]
    pointer = name in ("checkpoints/last", "checkpoints/best")
    return (name != "run.json", pointer, "manifest" in name, name)


def _receive(ctx: Context, host: Host, staged: dict[str, Any], folder: Path) -> None:
    """What is not here and whole, in one go; then each under its final name."""
    wanted = [file for file in staged["files"] if not _is_whole(folder / file["path"], file)]
    for file in wanted:
        _refuse_links(folder, folder / file["path"])
    parts = folder / PARTS
    parts.mkdir(parents=True, exist_ok=True)
    missing = {file["sha256"]: file for file in wanted if not _is_whole(parts / file["sha256"], file)}
    for digest, file in missing.items():
        _forget_too_long(parts / digest, file["bytes"])
    have = sum((parts / digest).stat().st_size for digest in missing if (parts / digest).exists())
    with transfer.bar(ctx, sum(file["bytes"] for file in missing.values())) as moved:
        moved(have)
        sizes = {digest: file["bytes"] for digest, file in missing.items()}
        with arrivals.hashed(parts, sizes) as arrived:
            if missing:
                host.receive(staged["folder"], sorted(missing), parts, moved)
    proven = {digest for digest in missing if arrived.get(digest) == digest}
    uses = Counter(file["sha256"] for file in wanted)
    for file in sorted(wanted, key=_in_turn):
        uses[file["sha256"]] -= 1
        keep = uses[file["sha256"]] > 0
        _put(parts / file["sha256"], folder / file["path"], file, keep, file["sha256"] in proven)
        proven.add(file["sha256"])


def _forget_too_long(part: Path, size: int) -> None:
    """A part as long as the whole is not asked for again by rsync, so a wrong one would stay."""
    if part.exists() and part.stat().st_size >= size:
        part.unlink()


def _put(part: Path, final: Path, file: dict[str, Any], keep: bool, proven: bool) -> None:
    """`keep`: another file has the same content, so the part is needed again. `proven`: hashed by now."""
    if not (proven and part.stat().st_size == file["bytes"]) and not _is_whole(part, file):
        part.unlink(missing_ok=True)
        why = "its sha256 differs; the part was thrown away"
        raise GpujobError(f"{file['path']} did not arrive whole", why, "gpujob fetch")
    final.parent.mkdir(parents=True, exist_ok=True)
    whole = part
    if keep:
        whole = part.with_suffix(".copy")
        shutil.copyfile(part, whole)
    _sync(whole)
    whole.replace(final)


def _refuse_links(folder: Path, final: Path) -> None:
    """A link below the folder could lead a file elsewhere."""
    for parent in [final, *final.parents]:
        if parent == folder:
            return
        if parent.is_symlink():
            raise GpujobError(
                f"{parent} is a link", "a fetched file would land outside the folder", "remove it"
            )


def _is_whole(path: Path, file: dict[str, Any]) -> bool:
    if path.is_symlink() or not path.is_file() or path.stat().st_size != file["bytes"]:
        return False
    wanted: str = file["sha256"]
    return sha256(str(path)) == wanted


def _is_other(path: Path, file: dict[str, Any]) -> bool:
    """Whether something is there that a fetched file would replace."""
    return os.path.lexists(path) and not _is_whole(path, file)


def _sync(path: Path) -> None:
    with path.open("rb") as handle:
        os.fsync(handle.fileno())


def _sweep_parts(folder: Path) -> None:
    with contextlib.suppress(OSError):
        for part in (folder / PARTS).iterdir():
            part.unlink()
        (folder / PARTS).rmdir()


def checkpoints(files: list[dict[str, Any]]) -> Iterator[str]:
    """Those of trainers of ours: a script's own may look otherwise, and an output is none."""
    found = {file["path"] for file in files}
    for path in found:
        folder, _, name = path.rpartition("/")
        if name == verify.MANIFEST and _STEP.fullmatch(folder) and f"{folder}/{verify.DIGEST}" in found:
            yield folder
