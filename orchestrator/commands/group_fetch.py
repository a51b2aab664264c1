"""Downloads of a run over several hosts, each of which has a folder of it."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Sequence
from pathlib import Path

from orchestrator import registry
from orchestrator.commands import download
from orchestrator.commands.download import Download
from orchestrator.context import Context
from orchestrator.core import runstate
from orchestrator.core.runfacts import RunFacts
from orchestrator.errors import GpujobError, NotFound
from orchestrator.settings_files import Setting
from orchestrator.targets import helper
from orchestrator.targets.base import Host


def fetch_and_terminate(
    ctx: Context, settings: dict[str, Setting], run: RunFacts, first: Host, folder: Path
) -> tuple[Download, list[str]]:
    """Downloads what each host has, then terminates all; returns the download of `first`, and what ended.

    Nothing is terminated where the run is still active on a host, or not all of it could be downloaded.
    """
    assert run.group
    with contextlib.ExitStack() as stack:
        hosts = [first]
        for label in run.group.hosts:
            if label != first.label:
                with contextlib.suppress(NotFound):  # it has ended, with its disk
                    host = stack.enter_context(registry.target(ctx, settings, label).connect_started())
                    stack.enter_context(host.keep_awake())
                    hosts.append(host)
        result, kept = download.download_run(ctx, first, run.id, "all", folder), list[str]()
        for host in hosts:
            facts = helper.find_run(host, run.id)
            if facts is None:
                continue
            complete = result if host is first else download_member(ctx, host, facts, folder)
            is_over = not runstate.is_going(facts, ctx.now()) and host.may_end_with(run.id)
            if not (is_over and complete.is_complete(facts, ctx.now())):
                kept.append(host.label)
        if kept:
            ctx.warn(f"no instance is terminated: not everything was downloaded from {', '.join(kept)}")
            ctx.talk(f"next: gpujob ssh {run.id}, or gpujob hosts down {first.label} --discard")
            return result, []
        return result, _terminate_all(ctx, hosts)


def _terminate_all(ctx: Context, hosts: Sequence[Host]) -> list[str]:
    """Terminates each host, also where that of another fails; returns what was done, for the user."""
    lines, failures = list[str](), list[GpujobError]()
    for host in hosts:
        try:
            lines.append(host.terminate())
        except GpujobError as error:
            failures.append(error)
    if failures:
        for line in (*lines, *(error.what for error in failures[1:])):
            ctx.talk(line)
        raise failures[0]
    return lines


def download_all(ctx: Context, host: Host, run: RunFacts, folder: Path) -> Download:
    """Downloads all of a run: of rank 0 into `folder`, of another host of it into a folder below."""
    if run.group is None or run.group.rank == 0:
        result = download.download_run(ctx, host, run.id, "all", folder)
        ctx.talk(f"{run.id} is in {ctx.short(folder)}, every sha256 verified")
        return result
    return download_member(ctx, host, run, folder)


def download_member(ctx: Context, host: Host, run: RunFacts, folder: Path) -> Download:
    """Downloads all of a run from one of its other hosts into rank-N, less what `folder` has too."""
    assert run.group
    own = folder / f"rank-{run.group.rank}"
    shared = _link_all(folder, own)
    result = download.download_run(ctx, host, run.id, "all", own)
    for path in shared:
        if (own / path).exists() and (own / path).samefile(folder / path):
            (own / path).unlink()
    _remove_empty(own)
    ctx.talk(f"what {host.label} has besides is in {ctx.short(own)}, every sha256 verified")
    return result


def _link_all(folder: Path, own: Path) -> list[Path]:
    """Links the downloaded files into the other folder, so that equal ones are not sent again."""
    linked = []
    for path in sorted(folder.rglob("*")):
        relative = path.relative_to(folder)
        if path.is_symlink() or not path.is_file() or relative.parts[0].startswith(("rank-", ".gpujob")):
            continue
        (own / relative).parent.mkdir(parents=True, exist_ok=True)
        with contextlib.suppress(OSError):  # it is there already, or the file system has no links
            os.link(path, own / relative)
        linked.append(relative)
    return linked


def _remove_empty(folder: Path) -> None:
    for path in sorted(folder.rglob("*"), reverse=True):
        if path.is_dir():
            with contextlib.suppress(OSError):
                path.rmdir()
