"""`gpujob ssh [RUN]`: a shell of yours where a run is, in its folder."""

from __future__ import annotations

import os

from orchestrator import registry
from orchestrator.commands import config, runs
from orchestrator.context import Context
from orchestrator.core.hostfacts import RunFacts
from orchestrator.errors import GpujobError, NotFound
from orchestrator.store import Store
from orchestrator.targets.base import Host

_VISIT_SECONDS = 3600.0


def login(ctx: Context, word: str | None, on: str | None) -> int:
    """Becomes the shell. Of a host that is named and has no run, in the home folder."""
    settings = config.load(ctx)
    store = Store(ctx.state_dir)
    with registry.target(ctx, settings, runs.find_target(ctx, store, on, word)).connect() as host:
        try:
            run: RunFacts | None = runs.get(ctx, host, store, word)
        except NotFound:
            if word is not None or on is None:
                raise
            run = None
        words, env = host.shell(run.id if run else None)
        if not (ctx.stdin.isatty() and ctx.stdout.isatty()):
            raise GpujobError("a shell needs a terminal", "", _without_terminal(host, run))
        if host.extend_lease(_VISIT_SECONDS):
            ctx.talk(f"{host.label} stays up for an hour, at most until its deadline")
    os.execvpe(words[0], words, env)


def _without_terminal(host: Host, run: RunFacts | None) -> str:
    """What a script can do instead."""
    if host.is_local:
        return f"cd {run.folder}" if run and run.folder else "gpujob status"
    if host.label.startswith("ec2:"):
        return "gpujob fetch, or gpujob monitor --stream"
    return f"ssh {host.label} COMMAND"
