"""`gpujob ssh [RUN] [-- COMMAND]`: a shell of yours where a run is, or one command in its environment."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Sequence

from orchestrator import registry, settings_files
from orchestrator.commands import runs, tunnel
from orchestrator.context import Context
from orchestrator.core import shell
from orchestrator.core.runfacts import RunFacts
from orchestrator.errors import GpujobError, NotFound
from orchestrator.store import Store
from orchestrator.targets.base import Host
from orchestrator.targets.forward import Forwarder, parse_ports

_COMMAND_SECONDS = 600.0
_LOST = 255  # the exit code of ssh where the connection was lost


def login(
    ctx: Context, word: str | None, on: str | None, command: Sequence[str] = (), forwarded: Sequence[str] = ()
) -> int:
    """Becomes the shell, or the `command`, whose exit code is returned.

    Of a host that is named and has no run, the shell is in the home folder. `forwarded`: ports, as `tunnel`
    takes them, which are open meanwhile.
    """
    ports = parse_ports(forwarded)
    store = Store(ctx.state_dir)
    target = registry.target(ctx, settings_files.load(ctx), runs.find_target(ctx, store, on, word))
    with target.connect() as host:
        run = _find_run(ctx, host, store, word, may_be_absent=on is not None and not command)
        words, env = _words(ctx, host, run, command)
        if host.extend_lease(_COMMAND_SECONDS if command else tunnel.VISIT_SECONDS) and not command:
            ctx.talk(f"{host.label} stays up for an hour, at most until its deadline")
        if ports:
            tunnel.require_remote(host, ports)
            forwarder = Forwarder(ctx, host, ports)
            with forwarder.listening():
                return _while_forwarding(ctx, host, forwarder, words, env, is_shell=not command)
    return os.execvpe(words[0], words, env)


def _find_run(
    ctx: Context, host: Host, store: Store, word: str | None, may_be_absent: bool
) -> RunFacts | None:
    try:
        return runs.get(ctx, host, store, word)
    except NotFound:
        if word is not None or not may_be_absent:
            raise
        return None


def _words(
    ctx: Context, host: Host, run: RunFacts | None, command: Sequence[str]
) -> tuple[list[str], dict[str, str]]:
    has_terminal = ctx.stdin.isatty() and ctx.stdout.isatty()
    if command and run:
        return host.execute(run.id, command, has_terminal)
    words, env = host.shell(run.id if run else None)
    if not has_terminal:
        next_step = f"gpujob ssh {run.id} -- COMMAND" if run else shell.join(["ssh", host.label, "COMMAND"])
        raise GpujobError("a shell needs a terminal", "", next_step)
    return words, env


def _while_forwarding(
    ctx: Context, host: Host, forwarder: Forwarder, words: list[str], env: dict[str, str], is_shell: bool
) -> int:
    """Where the connection is lost, the ports stay and a new shell starts. A command is not run twice."""
    while True:
        code = _call(words, env)
        if code != _LOST or host.is_connected():
            return code
        if not is_shell:
            ctx.warn(f"the connection to {host.label} was lost; how the command ended is not known")
            return code
        forwarder.reconnect()
        ctx.talk("this is a new shell; what ran in the other one has ended")


def _call(words: list[str], env: dict[str, str]) -> int:
    """Runs a command to its end; Ctrl-C is its own matter."""
    process = subprocess.Popen(words, env=env)
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        code = process.wait()
        return code if code >= 0 else 128 - code
    finally:
        signal.signal(signal.SIGINT, before)
