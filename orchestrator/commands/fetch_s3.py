"""`gpujob fetch --from s3`: downloads what a run copied to S3, without its host; every file verified."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from orchestrator import files
from orchestrator.commands import download, localspace, runs, s3, s3_listing, storable, verify
from orchestrator.commands.download import Download
from orchestrator.context import Context
from orchestrator.core import s3 as core_s3
from orchestrator.core.paths import is_step
from orchestrator.core.s3 import S3, Location, Object
from orchestrator.core.text import counted
from orchestrator.errors import GpujobError, NotFound, UsageError
from orchestrator.onhost import s3_etags
from orchestrator.onhost.files import sha256
from orchestrator.store import Store
from orchestrator.targets.helper_files import StagedFile
from orchestrator.view import transfer

if TYPE_CHECKING:
    from orchestrator.core.runfacts import RunFacts

_THREADS = 8
_BLOCK = 1 << 20
_FOLDER = "checkpoints/"
_POINTERS = ("last", "best")


class Copy(msgspec.Struct, frozen=True):
    """The copy of a run in S3."""

    run_id: str
    location: Location
    settings: S3


def find_copy(ctx: Context, store: Store, word: str | None) -> Copy | None:
    """That of the run that `word` names in the cache; None for an unknown run, or one without a copy."""
    cached = [record.facts for record in store.runs().values()]
    try:
        return _copy_of(runs.choose(cached, word, ctx.now()))
    except (NotFound, UsageError):
        return None


def _copy_of(run: RunFacts) -> Copy | None:
    settings = run.record.s3 if run.record else None
    if settings is None or not settings.mirror:
        return None
    location = core_s3.parse(f"{settings.mirror.rstrip('/')}/{run.id}", "outputs")
    return Copy(run.id, location, S3(endpoint=settings.endpoint, region=settings.region))


def require_copy(ctx: Context, store: Store, word: str | None, source: str) -> Copy:
    """What `--from` names: `s3` for the copy of a run in the cache, or the folder of a run in S3."""
    if source != "s3" and not source.startswith(core_s3.SCHEME):
        raise UsageError(f"--from {source}: s3, or s3://BUCKET/PREFIX/RUN", "", "gpujob fetch RUN --from s3")
    if source != "s3":
        location = core_s3.parse(source, f"--from {source}")
        if word and not location.prefix.endswith(word):
            location = Location(location.bucket, location.folder + word)
        return Copy(location.prefix.rpartition("/")[2], location, S3())
    cached = [record.facts for record in store.runs().values()]
    if not cached:
        why = "this client knows no run"
        raise NotFound("--from s3: no run", why, "gpujob fetch --from s3://BUCKET/PREFIX/RUN")
    run = runs.choose(cached, word, ctx.now())
    copy = _copy_of(run)
    if copy is None:
        why = "its job has no `outputs: s3://…`"
        raise NotFound(f"{run.id} was not copied to S3", why, f"gpujob fetch {run.id}")
    return copy


def fetch(ctx: Context, copy: Copy, which: str, folder: Path) -> Download:
    """Downloads the checkpoints `which` and all other files into `folder`; complete ones are kept."""
    ctx.step = f"the download of {copy.run_id} from S3; each file that is there is complete"
    reader = _Reader(ctx, copy)
    chosen = reader.choose(which)
    files.keep_out_of_git(folder)
    with download.locked(folder):
        received = reader.download(chosen, folder, download.is_of_run(folder, copy.run_id))
        download.remove_parts(folder)
    digests = {folder / file.path: file.sha256 for file in received}
    for path in download.checkpoints(received):
        verify.require_intact(folder / path, digests)
    return Download(tuple(received), tuple(reader.left_out), ())


class _Reader:
    """Reads the objects of a copy. `left_out`: keys that cannot be files here."""

    def __init__(self, ctx: Context, copy: Copy) -> None:
        self._ctx, self._copy = ctx, copy
        self._what = f"the copy of {copy.run_id}"
        self._client = s3.new_client(ctx, copy.settings)
        self.left_out: list[str] = []
        self._objects = self._listed()
        self._by_size: list[str] = []
        first = next(iter(self._objects.values()))
        with s3.explained(self._what, copy.location):
            self._sizes_only = s3.is_encrypted_by_kms(self._client, copy.location, first, False)

    def _listed(self) -> dict[str, Object]:
        location, objects = self._copy.location, dict[str, Object]()
        with s3.explained(self._what, location):
            for entry in s3_listing.below(self._client, location):
                path = entry.key.removeprefix(location.folder)
                if s3_listing.is_file_name(path):
                    objects[path] = Object(path, entry.size, entry.etag)
                elif path and not path.endswith("/"):
                    self.left_out.append(path)
        if not objects:
            step = f"aws s3 ls {core_s3.SCHEME}{location.bucket}/{location.prefix.rpartition('/')[0]}/"
            raise NotFound(f"{self._what}: there is nothing at {location}", "", step)
        return objects

    def choose(self, which: str) -> list[Object]:
        """The files of the complete checkpoints `which`, and all that belong to no checkpoint."""
        steps = {path.split("/")[1] for path in self._objects if _step(path)}
        manifested = {step for step in steps if f"{_FOLDER}{step}/{verify.MANIFEST}" in self._objects}
        complete = {
            step
            for step in steps
            if step not in manifested or f"{_FOLDER}{step}/{verify.DIGEST}" in self._objects
        }
        pointed = {name: self._pointer(name) for name in _POINTERS}
        if which != "all" and steps:
            complete = {self._one(which, complete, pointed)}
        pointers = {_FOLDER + name for name, step in pointed.items() if step and step not in complete}
        return [
            one
            for path, one in self._objects.items()
            if (not (step := _step(path)) or step in complete) and path not in pointers
        ]

    def _one(self, which: str, complete: set[str], pointed: Mapping[str, str]) -> str:
        step = pointed[which]
        if step in complete:
            return step
        newest = max(complete, key=int, default="")
        why = f"it has {counted(len(complete), 'complete checkpoint')}"
        if which == "best" or not newest:
            step = f"gpujob fetch {self._copy.run_id} --from s3 --which {'last' if newest else 'all'}"
            raise NotFound(f"{self._what} has no {which} checkpoint", why, step)
        if step:
            self._ctx.warn(
                f"warning: checkpoint {step} was not copied completely; {newest} is the newest one"
            )
        return newest

    def _pointer(self, name: str) -> str:
        """The step that a pointer names; "" where there is none, or a file of the program's own."""
        one = self._objects.get(_FOLDER + name)
        if one is None or one.size > 32:
            return ""
        with s3.explained(self._what, self._copy.location):
            text: str = self._get(one)["Body"].read().decode("utf-8", errors="replace").strip()
        return text if is_step(text) else ""

    def download(self, chosen: Sequence[Object], folder: Path, is_known: bool) -> list[StagedFile]:
        """`is_known`: an earlier download of this run wrote into the folder, whose files may be replaced."""
        missing, names = [], storable.new_names(folder, [one.path for one in chosen])
        for old, new in names.items():
            self._ctx.warn(f"warning: {old} is written as {new}")
        for one in chosen:
            final = folder / names.get(one.path, one.path)
            download.require_place(folder, final)
            if not self._is_complete(final, one):
                if final.exists() and not is_known:
                    what = f"{final} exists, and was not fetched from this run"
                    raise UsageError(what, "nothing was written", "--to another folder")
                missing.append(one)
        (folder / download.PARTS).mkdir(exist_ok=True)
        localspace.require(folder, [(one.path, one.size) for one in missing])
        at, total = folder / download.PARTS, sum(one.size for one in missing)
        bar, room = transfer.bar(self._ctx, total), localspace.explained(folder)
        with room, bar as on_bytes, ThreadPoolExecutor(_THREADS) as pool:
            parts = list(pool.map(lambda one: self._receive(one, at, on_bytes), missing))
        for one, part in sorted(
            zip(missing, parts, strict=True), key=lambda pair: download.arrival_order(pair[0].path)
        ):
            final = folder / names.get(one.path, one.path)
            final.parent.mkdir(parents=True, exist_ok=True)
            files.sync(part)
            part.replace(final)
        if self._by_size:
            why = "their ETag is no MD5, as with KMS; checkpoints are verified by their manifest"
            self._ctx.warn(f"warning: {len(self._by_size)} files are verified by their size alone: {why}")
        received = ((names.get(one.path, one.path), one.size) for one in chosen)
        return [StagedFile(path, size, sha256(str(folder / path))) for path, size in received]

    def _is_complete(self, path: Path, one: Object) -> bool:
        etag = "" if self._sizes_only else one.etag
        return path.is_file() and s3_etags.matches(str(path), one.size, etag) is True

    def _receive(self, one: Object, parts: Path, on_bytes: transfer.Tell) -> Path:
        """Downloads an object, or the rest of it, into a part. GpujobError if that is not what S3 listed."""
        part = parts / hashlib.sha256(f"{one.path} {one.etag}".encode()).hexdigest()
        present = part.stat().st_size if part.exists() else 0
        if present > one.size:
            part.unlink()
            present = 0
        with s3.explained(self._what, self._copy.location), part.open("ab") as file:
            if present < one.size:
                for block in self._get(one, present)["Body"].iter_chunks(_BLOCK):
                    on_bytes(file.write(block))
        matches = s3_etags.matches(str(part), one.size, "" if self._sizes_only else one.etag)
        if matches is False:
            part.unlink()
            why = "it differs from its ETag in S3; the part was deleted"
            raise GpujobError(f"{one.path} was damaged in transfer", why, "the same command again")
        if matches is None:
            self._by_size.append(one.path)
        return part

    def _get(self, one: Object, start: int = 0) -> Any:
        location = self._copy.location
        only = {"Range": f"bytes={start}-"} if start else {}
        key = location.folder + one.path
        return self._client.get_object(Bucket=location.bucket, Key=key, IfMatch=f'"{one.etag}"', **only)


def _step(path: str) -> str:
    """The step of the checkpoint that a file belongs to; "" for others."""
    parts = path.split("/")
    return parts[1] if len(parts) > 2 and parts[0] == "checkpoints" and is_step(parts[1]) else ""
