"""`gpujob fetch [RUN]`: downloads checkpoints, log, events and outputs; every hash verified."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

from orchestrator import registry, settings_files
from orchestrator.commands import download, group_fetch, runs
from orchestrator.commands.download import Download
from orchestrator.commands.follow import waiting
from orchestrator.context import Context
from orchestrator.core import runstate
from orchestrator.core.runfacts import RunFacts
from orchestrator.core.text import counted, size
from orchestrator.errors import Exit, NotFound, Unreachable, UsageError
from orchestrator.store import Store
from orchestrator.targets import helper
from orchestrator.targets.base import Host, Target
from orchestrator.view import answers
from orchestrator.view.answer import FetchedFile


def fetch(
    ctx: Context,
    word: str | None,
    on: str | None,
    which: str,
    to: str | None,
    follow: bool,
    keep_instance: bool,
    source: str | None = None,
) -> int:
    """Into ./fetched/<run-id>/ unless `to` is given. A file that is there already and complete is kept.

    An instance that was launched for a run that has ended is terminated once everything is downloaded and
    verified; not with `keep_instance`. `source`: the copy in S3 to download instead.
    """
    settings = settings_files.load(ctx)
    store = Store(ctx.state_dir)
    if source is not None:
        return _from_s3(ctx, store, word, source, which, to, on, follow)
    label = runs.find_target(ctx, store, on, word)
    target = registry.target(ctx, settings, label)
    registry.require_transfer(ctx, target)
    with contextlib.ExitStack() as stack:
        host = _connected(ctx, store, stack, target, word)
        run = runs.get(ctx, host, store, word)
        ctx.step = f"the download of {run.id}; each file that is there is complete"
        folder = ctx.path(to) if to else ctx.path(settings["fetch_dir"].value) / run.id
        if follow:
            followed = _follow(ctx, host, run.id, which, folder)
            if followed is None:
                return Exit.INTERRUPTED
            run = helper.find_run(host, run.id) or run
            if keep_instance or not _may_terminate(ctx, host, run):
                if ctx.json:
                    _report(ctx, run.id, folder, followed)
                return Exit.DONE
        if run.queue and not follow:
            next_step = f"gpujob fetch {run.id} --follow, or gpujob monitor {run.id} --stream"
            raise NotFound(waiting(run), "it has not started, so there is nothing to download", next_step)
        if which != "all" and getattr(run.checkpoints, which) is None and not _has_outputs(run):
            raise _no_checkpoint(ctx, run, which)
        terminates = not keep_instance and _may_terminate(ctx, host, run)
        if terminates and run.group:
            result, ended = group_fetch.fetch_and_terminate(ctx, settings, run, host, folder)
        else:
            which = "all" if terminates else which
            result = download.download_run(ctx, host, run.id, which, folder)
            ended = _terminate(ctx, host, run, result) if terminates else []
    _report(ctx, run.id, folder, result)
    if ended and not ctx.json:
        ctx.talk(f"{'; '.join(ended)}; --keep-instance would have kept {'it' if len(ended) == 1 else 'them'}")
    return Exit.DONE


def _connected(
    ctx: Context, store: Store, stack: contextlib.ExitStack, target: Target, word: str | None
) -> Host:
    """The host of the run; where it is gone, the error names the copy in S3 if there is one."""
    try:
        host = stack.enter_context(target.connect_started())
    except (NotFound, Unreachable) as error:
        from orchestrator.commands import fetch_s3  # noqa: PLC0415 - only this needs it

        copy = fetch_s3.find_copy(ctx, store, word)
        if copy:
            error.next_step = f"gpujob fetch {copy.run_id} --from s3"
        raise
    stack.enter_context(host.keep_awake())
    return host


def _from_s3(
    ctx: Context,
    store: Store,
    word: str | None,
    source: str,
    which: str,
    to: str | None,
    on: str | None,
    follow: bool,
) -> int:
    from orchestrator.commands import fetch_s3  # noqa: PLC0415 - only this needs it

    if on is not None or follow:
        other = "--follow" if follow else "--on"
        why = "the copy in S3 is read, not the host"
        raise UsageError(f"--from and {other} exclude each other", why, f"gpujob fetch RUN --from {source}")
    copy = fetch_s3.require_copy(ctx, store, word, source)
    folder = ctx.path(to) if to else ctx.path(settings_files.load(ctx)["fetch_dir"].value) / copy.run_id
    result = fetch_s3.fetch(ctx, copy, which, folder)
    _report(ctx, copy.run_id, folder, result, "verified by ETag, checkpoints by their manifest")
    return Exit.DONE


def _terminate(ctx: Context, host: Host, run: RunFacts, result: Download) -> list[str]:
    """Terminates the host if nothing is left on it alone; returns what was done, for the user."""
    if result.is_complete(run, ctx.now()):
        return [host.terminate()]
    ctx.warn(f"{host.label} is kept: not everything was downloaded")
    ctx.talk(f"next: gpujob ssh {run.id}, or gpujob hosts down {host.label} --discard")
    return []


def _may_terminate(ctx: Context, host: Host, run: RunFacts) -> bool:
    """Whether the host was launched for this run, which has ended, and has no other."""
    return not runstate.is_going(run, ctx.now()) and host.may_end_with(run.id)


def _has_outputs(run: RunFacts) -> bool:
    """A command may keep files among its checkpoints too."""
    record = run.record
    return record is None or bool(record.outputs) or not record.trainer


def _no_checkpoint(ctx: Context, run: RunFacts, which: str) -> NotFound:
    state = runstate.word(runstate.fold(run, ctx.now()))
    why = f"it is {state}; checkpoints: {len(run.checkpoints.steps)}"
    return NotFound(f"{run.id} has no {which} checkpoint", why, f"gpujob monitor {run.id} --stream")


def _follow(ctx: Context, host: Host, run_id: str, which: str, folder: Path) -> Download | None:
    """Downloads each new checkpoint as it is written, until the run ends; None on Ctrl-C."""
    before: Any = None
    try:
        while True:
            run = helper.find_run(host, run_id)
            if run is None:
                raise NotFound(f"run {run_id} was removed", "", "gpujob status")
            is_going = runstate.is_going(run, ctx.now())
            current = run.checkpoints.steps if which == "all" else getattr(run.checkpoints, which)
            if run.queue is None and (current != before or not is_going):
                result = download.download_run(ctx, host, run_id, which, folder)
                if not ctx.json:  # one object, once it has ended
                    _report(ctx, run_id, folder, result)
                before = current
            if not is_going:
                return result
            ctx.sleep(2.0)
    except KeyboardInterrupt:
        if ctx.json:
            raise
        ctx.talk(f"\nrun {run_id} goes on; what was fetched is complete")
        return None


def _report(
    ctx: Context, run_id: str, folder: Path, result: Download, verified: str = "every sha256 verified"
) -> None:
    shown = ctx.short(folder)
    checkpoints = [f"{shown}/{path}" for path in download.checkpoints(result.files)]
    if ctx.json:
        ctx.answer(
            answers.Fetch(
                run=run_id,
                folder=str(folder),
                checkpoints=tuple(checkpoints),
                files=tuple(
                    FetchedFile(path=file.path, bytes=file.bytes, sha256=file.sha256) for file in result.files
                ),
                left_out=result.left_out,
                missing=result.missing,
            )
        )
        return
    ctx.out(shown)
    total = sum(file.bytes for file in result.files)
    ctx.talk(f"{counted(len(result.files), 'file')}, {size(total)}, {verified}")
    for path in checkpoints[-1:]:
        ctx.talk(f"next:\n  gpujob verify {path}\n  gpujob predict {path} FILE…")
