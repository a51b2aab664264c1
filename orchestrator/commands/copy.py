"""`gpujob cp SOURCE TARGET`: files between this machine and a run's folder; every SHA-256 is verified."""

from __future__ import annotations

import os
import posixpath
from pathlib import Path
from typing import NamedTuple

import msgspec

from orchestrator import files as local_files
from orchestrator import registry, settings_files
from orchestrator.commands import download, runs, storable
from orchestrator.context import Context
from orchestrator.core.paths import inside
from orchestrator.core.text import counted, size
from orchestrator.errors import GpujobError, UsageError
from orchestrator.onhost import folders
from orchestrator.onhost.files import sha256
from orchestrator.store import Store
from orchestrator.targets import helper_files
from orchestrator.targets.base import Host
from orchestrator.targets.helper_files import StagedFile
from orchestrator.view import host_answers, transfer
from orchestrator.view.answer import FetchedFile

_FORM = "gpujob cp RUN:work/out.txt . , or gpujob cp FILE RUN:work/"


class Remote(NamedTuple):
    """`path`: in the folder of the run."""

    run: str
    path: str


def copy(ctx: Context, source: str, target: str, on: str | None, force: bool) -> int:
    """One of the two is RUN:PATH. Nothing that exists is replaced without `force`."""
    from_host, to_host = _remote(source), _remote(target)
    remote = from_host or to_host
    if remote is None or (from_host and to_host):
        what = "one of the two is a path of a run, written RUN:PATH"
        here = next((word for word in (source, target) if remote and ctx.path(word).exists()), None)
        fix = f"./{here} is the file of that name here" if here else _FORM
        raise UsageError(what, f"{source} and {target} are {'both' if remote else 'not'}", fix)
    settings, store = settings_files.load(ctx), Store(ctx.state_dir)
    remote_target = registry.target(ctx, settings, runs.find_target(ctx, store, on, remote.run))
    registry.require_transfer(ctx, remote_target)
    with remote_target.connect() as host, host.keep_awake():
        run = runs.get(ctx, host, store, remote.run)
        if from_host:
            files = _download(ctx, host, run.id, remote.path, ctx.path(target), target.endswith("/"), force)
        else:
            files = _upload(ctx, host, run.id, ctx.path(source), remote.path, force)
    _report(ctx, run.id, files)
    return 0


def _remote(word: str) -> Remote | None:
    """None for a path of this machine: one without a colon, or with a / before it."""
    run, colon, path = word.partition(":")
    if not colon or "/" in run:
        return None
    if not run:
        why = "a variable of your shell may not be set"
        raise UsageError(f"{word}: there is no run before the colon", why, _FORM)
    path = posixpath.normpath(path or ".") + ("/" if path.endswith(("/", "/.")) else "")
    if path.rstrip("/") != "." and not inside(path):
        raise UsageError(f"{word}: the path leads out of the folder of the run", "", _FORM)
    return Remote(run, path)


def _download(
    ctx: Context, host: Host, run_id: str, path: str, to: Path, is_folder: bool, force: bool
) -> list[StagedFile]:
    base = path.rstrip("/")
    with helper_files.staged(host, run_id, f"path:{base}") as stage:
        if not stage.files:
            why = ", ".join(stage.left_out) and "it is a link out of the run, or no regular file"
            if stage.denied:
                why = "the user of the host may not read it"
            raise GpujobError(
                f"{run_id} has no file {base}",
                why,
                f"gpujob ssh {run_id} -- ls {posixpath.dirname(base) or '.'}",
            )
        final = to / posixpath.basename(base) if (is_folder or to.is_dir()) and base != "." else to
        is_file = [file.path for file in stage.files] == [base]
        folder = final.parent if is_file else final
        files = tuple(
            _renamed(file, final.name if is_file else posixpath.relpath(file.path, base))
            for file in stage.files
        )
        if folder.exists() and not folder.is_dir():
            raise UsageError(f"{ctx.short(folder)} is a file", "nothing was written", _FORM)
        files = storable.rename(ctx, folder, files)
        for file in files:
            download.require_place(folder, folder / file.path)
            if not force and download.is_other(folder / file.path, file):
                fix = f"gpujob cp --force {run_id}:{path} {to}"
                raise UsageError(f"{ctx.short(folder / file.path)} exists", "nothing was written", fix)
        local_files.make_folder(folder, _FORM)
        with download.locked(folder):
            download.receive(ctx, host, msgspec.structs.replace(stage, files=files), folder)
            download.remove_parts(folder)
    for name in stage.denied:
        ctx.warn(f"warning: {name} was left out: the user of the host may not read it")
    for name in stage.left_out:
        ctx.warn(f"warning: {name} was left out: a link that leads out of the run, or no regular file")
    return [_renamed(file, str(folder / file.path)) for file in files]


def _upload(ctx: Context, host: Host, run_id: str, source: Path, path: str, force: bool) -> list[StagedFile]:
    source = Path(os.path.normpath(source))
    names = _names_to_send(ctx, source)
    base = posixpath.join(path, source.name) if path.endswith("/") or path == "." else path
    folder = source.parent if source.is_file() else source
    files = [_local(folder, name, base if source.is_file() else posixpath.join(base, name)) for name in names]
    copy = helper_files.begin_copy(host, run_id)
    with transfer.bar(ctx, sum(file.bytes for file in files)) as on_bytes:
        host.send_files(folder, names, copy.folder, on_bytes)
    for old in helper_files.finish_copy(host, run_id, copy, dict(zip(names, files, strict=True)), force):
        ctx.talk(f"what was there is kept as {old}")
    return files


def _names_to_send(ctx: Context, source: Path) -> list[str]:
    """The file, or those below a folder. UsageError where nothing or not all of it can be copied."""
    if not os.path.lexists(source):
        raise UsageError(f"there is no {ctx.short(source)}", "", _FORM)
    if source.is_file():
        return [source.name]
    names = sorted(folders.walk(str(source))) if source.is_dir() else []
    if not names:
        why = "it is an empty folder" if source.is_dir() else "it is a broken link, or no regular file"
        raise UsageError(f"{ctx.short(source)} has no file to copy", why, _FORM)
    others = [name for name in names if not (source / name).is_file()]
    if others:
        what = f"{ctx.short(source / others[0])} cannot be copied"
        why = f"it is a broken link, or no regular file, as {len(others)} of the folder's {len(names)} are"
        raise UsageError(what, f"{why}; nothing was copied", f"remove it from {ctx.short(source)}")
    return names


def _local(folder: Path, name: str, path: str) -> StagedFile:
    file = folder / name
    return StagedFile(path, file.stat().st_size, sha256(str(file)))


def _renamed(file: StagedFile, path: str) -> StagedFile:
    return msgspec.structs.replace(file, path=path)


def _report(ctx: Context, run_id: str, files: list[StagedFile]) -> None:
    if ctx.json:
        copied = tuple(FetchedFile(path=one.path, bytes=one.bytes, sha256=one.sha256) for one in files)
        ctx.answer(host_answers.Copied(run=run_id, files=copied))
        return
    for file in files[:5]:
        ctx.out(file.path)
    if files[5:]:
        ctx.out(f"and {len(files) - 5} more files")
    total = size(sum(file.bytes for file in files))
    ctx.talk(f"{counted(len(files), 'file')}, {total}, every sha256 verified")
