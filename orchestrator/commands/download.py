"""Downloads what a run has: every hash verified, each file complete or absent."""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import shutil
import threading
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import msgspec

from orchestrator import files
from orchestrator.commands import localspace, storable, verify
from orchestrator.context import Context
from orchestrator.core import decode, jsontext, runstate, shell
from orchestrator.core.runfacts import RunFacts
from orchestrator.errors import GpujobError, UsageError
from orchestrator.onhost.files import lock_descriptor, open_regular, sha256
from orchestrator.targets import helper_files
from orchestrator.targets.base import Host, Refused
from orchestrator.targets.helper_files import Stage, StagedFile
from orchestrator.view import transfer

PARTS = ".gpujob-part"
_STEP = re.compile(r"checkpoints/[0-9]+")
_BLOCK = 1 << 20
_POLL = 0.02  # seconds between two looks at a part that grows


class Download(msgspec.Struct, frozen=True):
    """`left_out` could not be downloaded, `missing` are outputs that the run has not made."""

    files: tuple[StagedFile, ...]
    left_out: tuple[str, ...]
    missing: tuple[str, ...]

    def is_complete(self, run: RunFacts, now: float) -> bool:
        """Whether nothing remains on the host alone; outputs may be missing of a run that did not succeed."""
        has_succeeded = isinstance(runstate.fold(run, now), runstate.Succeeded)
        return not self.left_out and not (self.missing and has_succeeded)


def download_run(ctx: Context, host: Host, run_id: str, which: str, folder: Path) -> Download:
    """Into `folder`: staged on the host, received into parts named by digest, verified, renamed.

    `which` checkpoints: best, last or all. Files that are in `folder` already and complete are kept.
    """
    with localspace.explained(folder):
        files.keep_out_of_git(folder)
        return _download(ctx, host, run_id, which, folder)


def _download(ctx: Context, host: Host, run_id: str, which: str, folder: Path) -> Download:
    with locked(folder):
        is_known = is_of_run(folder, run_id)
        with _staged(host, run_id, which, folder) as stage:
            _warn(
                ctx,
                stage.left_out,
                "was left out: a link that leads out of the run, no regular file, or a path too long",
            )
            _warn(ctx, stage.denied, "was left out: the user of the host may not read it")
            _warn(ctx, stage.missing, "does not exist, though `outputs` names it")
            stage = msgspec.structs.replace(stage, files=storable.rename(ctx, folder, stage.files))
            _warn(ctx, stage.no_room, "was left out until the run has ended: the host has no room to copy it")
            for file in stage.files:
                if not is_known and is_other(folder / file.path, file):
                    what = f"{folder / file.path} exists, and was not fetched from this run"
                    raise UsageError(what, "nothing was written", "--to another folder")
            receive(ctx, host, stage, folder)
        remove_parts(folder)
        digests = {folder / file.path: file.sha256 for file in stage.files}
        for path in checkpoints(stage.files):
            verify.require_intact(folder / path, digests)
    return Download(stage.files, (*stage.left_out, *stage.denied), stage.missing)


@contextlib.contextmanager
def _staged(host: Host, run_id: str, which: str, folder: Path) -> Iterator[Stage]:
    """Makes the host gather the files of a run. GpujobError, before any is sent, if `folder` has no room."""
    parts = {path.name: path.stat().st_size for path in _files(folder / PARTS)}
    present = {
        path.relative_to(folder).as_posix(): path.stat().st_size
        for path in _files(folder)
        if path.parent.name != PARTS
    }
    free = localspace.free(folder)
    try:
        with helper_files.staged(host, run_id, which, free + sum(parts.values()), present) as stage:
            absent = [file for file in stage.files if present.get(file.path) != file.bytes]
            needed = sum({file.sha256: file.bytes - parts.get(file.sha256, 0) for file in absent}.values())
            if needed > free:
                raise localspace.too_little(
                    folder, needed, free, [(file.path, file.bytes) for file in absent]
                )
            yield stage
    except Refused as refused:
        if refused.kind != "client-space":
            raise
        needs = decode.struct(refused.details, _Needs) or _Needs()
        largest = [(file.path, file.bytes) for file in needs.largest]
        raise localspace.too_little(folder, needs.needed, free, largest) from None


class _Sized(msgspec.Struct, frozen=True):
    path: str
    bytes: decode.Size


class _Needs(msgspec.Struct, frozen=True):
    """What the host would have sent."""

    needed: decode.Size = 0
    largest: tuple[_Sized, ...] = ()


def _files(folder: Path) -> Iterator[Path]:
    for path in folder.rglob("*") if folder.is_dir() else ():
        if path.is_file() and not path.is_symlink():
            yield path


def checkpoints(files: Iterable[StagedFile]) -> list[str]:
    """Those of our trainers: a script's own may have another format, and an output is none."""
    paths = {file.path for file in files}
    folders = {path.rpartition("/")[0] for path in paths if path.endswith(f"/{verify.MANIFEST}")}
    return sorted(f for f in folders if _STEP.fullmatch(f) and f"{f}/{verify.DIGEST}" in paths)


def _warn(ctx: Context, names: tuple[str, ...], why: str) -> None:
    for name in names[:5]:
        ctx.talk(f"warning: {name} {why}")
    if names[5:]:
        ctx.talk(f"warning: and {len(names) - 5} more files")


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """One fetch into a folder at a time: parts have shared names."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        with files.explained_locks():
            is_ours = lock_descriptor(handle, str(folder), wait=False)
        if not is_ours:
            what = f"another fetch into {folder} is under way"
            raise GpujobError(what, "", "wait for it, or --to DIR")
        yield
    finally:
        os.close(handle)


def is_of_run(folder: Path, run_id: str) -> bool:
    """Whether a fetch of this run has written here: run.json arrives first. UsageError for another run."""
    try:
        with open_regular(str(folder / "run.json")) as record:
            other = jsontext.parse_object(record.read())["id"]
    except (OSError, jsontext.BadJson, KeyError):
        return False
    if other != run_id:
        raise UsageError(f"{folder} holds another run, {other}", "nothing was written", "--to another folder")
    return True


def arrival_order(path: str) -> tuple[bool, bool, bool, str]:
    """run.json names the run that the others belong to; pointers and manifests come after what they name."""
    is_pointer = path in ("checkpoints/last", "checkpoints/best")
    return (path != "run.json", is_pointer, "manifest" in path, path)


def receive(ctx: Context, host: Host, stage: Stage, folder: Path) -> None:
    """Every file that is not in `folder` yet, in one transfer; then each under its final name."""
    files = [file for file in stage.files if not _is_complete(folder / file.path, file)]
    for file in files:
        require_place(folder, folder / file.path)
    parts = folder / PARTS
    parts.mkdir(parents=True, exist_ok=True)
    pending = {file.sha256: file for file in files if not _is_complete(parts / file.sha256, file)}
    for digest, file in pending.items():
        _remove_long_part(parts / digest, file.bytes)
    sizes = {digest: file.bytes for digest, file in pending.items()}
    with transfer.bar(ctx, sum(sizes.values())) as on_bytes:
        on_bytes(sum((parts / digest).stat().st_size for digest in sizes if (parts / digest).exists()))
        with hashed_on_arrival(parts, sizes) as digests:
            if pending:
                host.receive(stage.folder, sorted(pending), parts, on_bytes)
    verified = {digest for digest in pending if digests.get(digest) == digest}
    uses = Counter(file.sha256 for file in files)
    for file in sorted(files, key=lambda file: arrival_order(file.path)):
        uses[file.sha256] -= 1
        keep = uses[file.sha256] > 0
        _put(parts / file.sha256, folder / file.path, file, keep, file.sha256 in verified)
        verified.add(file.sha256)


def _remove_long_part(part: Path, size: int) -> None:
    """rsync does not send a part again that is as long as the file, so a wrong one would stay."""
    if part.exists() and part.stat().st_size >= size:
        part.unlink()


def _put(part: Path, final: Path, file: StagedFile, keep: bool, verified: bool) -> None:
    """`keep`: another file has the same content, so the part is needed again."""
    if not (verified and part.stat().st_size == file.bytes) and not _is_complete(part, file):
        part.unlink(missing_ok=True)
        why = "its sha256 differs; the part was deleted"
        raise GpujobError(f"{file.path} was damaged in transfer", why, "gpujob fetch")
    final.parent.mkdir(parents=True, exist_ok=True)
    complete = part
    if keep:
        complete = part.with_suffix(".copy")
        shutil.copyfile(part, complete)
    files.sync(complete)
    complete.replace(final)


def require_place(folder: Path, final: Path) -> None:
    """GpujobError where a file cannot have this place: a folder has it, or a link or a file is above it."""
    for path in [final, *final.parents]:
        if path == folder:
            return
        if path.is_symlink():
            why = "a fetched file would be written outside the folder"
            raise GpujobError(f"{path} is a link", why, "remove it")
        if path.exists() and path.is_dir() == (path == final):
            what = f"{path} is a {'folder' if path == final else 'file'}"
            raise GpujobError(what, "nothing was written", shell.join(["mv", str(path), f"{path}.old"]))


def _is_complete(path: Path, file: StagedFile) -> bool:
    is_candidate = not path.is_symlink() and path.is_file() and path.stat().st_size == file.bytes
    return is_candidate and sha256(str(path)) == file.sha256


def is_other(path: Path, file: StagedFile) -> bool:
    """Whether there is a file that a fetched one would replace."""
    return os.path.lexists(path) and not _is_complete(path, file)


def remove_parts(folder: Path) -> None:
    with contextlib.suppress(OSError):
        for part in (folder / PARTS).iterdir():
            part.unlink()
        (folder / PARTS).rmdir()


@contextlib.contextmanager
def hashed_on_arrival(folder: Path, sizes: Mapping[str, int]) -> Iterator[dict[str, str]]:
    """Within it, parts of these names and sizes are received; after it, the sha256 of each complete one.

    A part that was overwritten after it was read has another digest than its own: one that differs from
    what was promised means nothing until the file is read again.
    """
    digests: dict[str, str] = {}
    ended = threading.Event()
    reader = threading.Thread(target=_hash_parts, args=(folder, sizes, ended, digests), daemon=True)
    reader.start()
    try:
        yield digests
    finally:
        ended.set()
        reader.join()


def _hash_parts(folder: Path, sizes: Mapping[str, int], ended: threading.Event, into: dict[str, str]) -> None:
    for name in sorted(sizes):  # the order in which rsync sends them
        with contextlib.suppress(OSError):
            digest = _hash_growing(folder / name, sizes[name], ended)
            if digest:
                into[name] = digest


def _hash_growing(path: Path, size: int, ended: threading.Event) -> str | None:
    while True:
        has_ended = ended.is_set()  # before looking: a file that exists by then is found below
        if path.exists():
            break
        if has_ended:
            return None
        ended.wait(_POLL)
    digest, count = hashlib.sha256(), 0
    with path.open("rb") as part:
        while count < size:
            has_ended = ended.is_set()  # before reading: what was written until then is read below
            block = part.read(min(_BLOCK, size - count))
            if not block and has_ended:
                return None
            if not block:
                ended.wait(_POLL)
            digest.update(block)
            count += len(block)
    return digest.hexdigest()
