"""`gpujob ssh [RUN]`: a shell of yours where a run is, in its folder."""

from __future__ import annotations

import os

from orchestrator import registry
from orchestrator.commands import config, runs
from orchestrator.context import Context
from orchestrator.errors import GpujobError, NotFound
from orchestrator.store import Store

_VISIT_SECONDS = 3600.0


def login(ctx: Context, word: str | None, on: str | None) -> int:
    """Becomes the shell. Of a host that is named and has no run, in the home folder."""
    settings = config.load(ctx)
    store = Store(ctx.state_dir)
    with registry.target(ctx, settings, runs.find_target(ctx, store, on, word)).connect() as host:
        try:
            run_id: str | None = runs.get(ctx, host, store, word).id
        except NotFound:
            if word is not None or on is None:
                raise
            run_id = None
        words, env = host.shell(run_id)
        if not (ctx.stdin.isatty() and ctx.stdout.isatty()):
            raise GpujobError("a shell needs a terminal", "", f"ssh {on or host.label} COMMAND")
        if host.extend_lease(_VISIT_SECONDS):
            ctx.talk(f"{host.label} stays up for an hour, at most until its deadline")
    os.execvpe(words[0], words, env)
