"""`gpujob tunnel [RUN] PORT...`: ports of a run's host on this machine, until Ctrl-C."""

from __future__ import annotations

from collections.abc import Sequence

from orchestrator import registry, settings_files
from orchestrator.commands import runs
from orchestrator.context import Context
from orchestrator.errors import Exit, UsageError
from orchestrator.store import Store
from orchestrator.targets.base import Host
from orchestrator.targets.forward import Forwarder, Port, parse_ports
from orchestrator.view import host_answers as answers

VISIT_SECONDS = 3600.0


def tunnel(ctx: Context, words: Sequence[str], on: str | None) -> int:
    """`words`: ports, a run before them. Where the connection is lost it connects again, and says so."""
    word, ports = _split(words)
    settings, store = settings_files.load(ctx), Store(ctx.state_dir)
    with registry.target(ctx, settings, runs.find_target(ctx, store, on, word)).connect() as host:
        run = runs.get(ctx, host, store, word)
        require_remote(host, ports)
        forwarder = Forwarder(ctx, host, ports)
        with forwarder.listening():
            if host.extend_lease(VISIT_SECONDS):
                ctx.talk(f"{host.label} stays up for an hour, at most until its deadline")
            _report(ctx, host, run.id, ports)
            try:
                forwarder.watch()
            except KeyboardInterrupt:
                ctx.talk("\nthe ports are closed")
    return Exit.INTERRUPTED


def require_remote(host: Host, ports: Sequence[Port]) -> None:
    """UsageError for this machine, whose ports need no tunnel."""
    if host.is_local:
        what = "the run is on this machine: its ports need no tunnel"
        raise UsageError(what, "", f"http://127.0.0.1:{ports[0].remote}")


def _split(words: Sequence[str]) -> tuple[str | None, list[Port]]:
    """A single word is a port; of several, the first may be a run."""
    first, *rest = words
    is_run = bool(rest) and not first.replace(":", "").isdigit()
    return (first if is_run else None), parse_ports(rest if is_run else words)


def _report(ctx: Context, host: Host, run_id: str, ports: Sequence[Port]) -> None:
    if ctx.json:
        open_ports = tuple(answers.ForwardedPort(local=port.local, remote=port.remote) for port in ports)
        ctx.answer(answers.Tunnel(run=run_id, target=host.label, ports=open_ports))
        return
    for port in ports:
        ctx.out(f"http://{port}")
        ctx.talk(f"  is port {port.remote} of {host.label}; Ctrl-C closes it")
