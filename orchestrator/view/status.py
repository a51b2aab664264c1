"""The table of runs, the detail of one, the machine below."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from orchestrator.context import Context
from orchestrator.core import decode
from orchestrator.core import events as ev
from orchestrator.core.hostfacts import Gpu
from orchestrator.core.text import duration, size
from orchestrator.view.console import Paint, columns, harmless, width

GOING = ("preparing", "running", "orphaned", "unreachable")
_STYLE = {
    "unreachable": "yellow",
    "running": "green",
    "succeeded": "green",
    "preparing": "cyan",
    "failed": "red",
    "lost": "red",
    "orphaned": "yellow",
    "stopped": "yellow",
    "preempted": "yellow",
}


def telling(seen: dict[str, Any]) -> dict[str, Any]:
    """What JSON and screen say of a run besides its state."""
    run, state = seen.get("run") or {}, seen.get("state") or {}
    account = ev.parse(seen.get("events") or []).events
    child = state.get("child") or {}
    return {
        "job": run.get("job"),
        "trainer": run.get("trainer"),
        "who": run.get("who"),
        "created": run.get("created"),
        "attempt": state.get("attempt"),
        "exit_code": state.get("exit_code"),
        "signal": state.get("signal"),
        "supervisor_pid": (state.get("supervisor") or {}).get("pid") if seen.get("supervised") else None,
        "trainer_pid": child.get("pid"),
        "pids": seen.get("pids") or [],
        "session": seen.get("session"),
        "folder": seen.get("folder"),
        "log_bytes": (seen.get("log") or {}).get("bytes"),
        "last_lines": (seen.get("log") or {}).get("tail") or [],
        "metrics": {e.split: e.values for e in account if isinstance(e, ev.Metrics)},
        "epoch": _progress(account).get("epoch"),
        "checkpoints": seen.get("checkpoints"),
        "health": [
            {"rule": e.rule, "severity": e.severity, "seen": e.seen}
            for e in account
            if isinstance(e, ev.Health) and e.severity != "info"
        ],
        "used_seconds": state.get("used_seconds"),
    }


def _progress(account: tuple[ev.Event, ...]) -> dict[str, Any]:
    at = ev.last(account, ev.Progress)
    return {"epoch": at.epoch} if at else {}


def print_status(ctx: Context, answers: list[dict[str, Any]], detail: bool) -> None:
    """Host after host: its runs, those that are going in detail, the machine."""
    for number, answer in enumerate(answers):
        if number:
            ctx.out("")
        _print_host(ctx, answer, detail, several=len(answers) > 1)


def _print_host(ctx: Context, answer: dict[str, Any], detail: bool, several: bool) -> None:
    paint = Paint(ctx.env, ctx.stdout)
    label, described = answer["target"], answer["described"]
    if several:
        ctx.out(paint(label, "bold", "blue"))
    if answer.get("box"):
        box = answer["box"]
        ctx.out(f"  {box['type']} in {box['zone']}, {box['state']}: {box['money']}")
    if answer.get("box") and answer["box"]["ended"]:
        ctx.warn(f"{label} has ended; what follows was last seen there")
    elif answer.get("unreachable"):
        ctx.warn(f"{label} does not answer ({answer['unreachable']}); what follows is from the cache")
    if answer.get("asked"):
        ctx.talk(f"cached {duration(ctx.now() - answer['asked'])} ago")
    going = [run for run in described if run["state"] in GOING]
    if not described:
        ctx.out(f"nothing runs on {label}, and nothing ever ran there")
    elif not going and not detail:
        ctx.out(f"nothing runs on {label}; the last:")
    for line in columns([_row(run, ctx.now()) for run in described]):
        ctx.out(_coloured(line, paint))
    for run in described if detail else (going or described[-1:]):
        _print_detail(ctx, paint, run)
    _print_machine(ctx, answer)


def _row(run: dict[str, Any], now: float) -> list[str]:
    return [run["id"], run["state"], headline(run), _times(run, now)]


def headline(run: dict[str, Any]) -> str:
    """The state's own data in a few words."""
    state = run["state"]
    if state == "running":
        step = f"step {run['step']}/{run['of']}{_share(run)}" if run["of"] else "no progress told"
        return step + (f", attempt {run['attempt']}" if (run["attempt"] or 1) > 1 else "")
    words: dict[str, Callable[[], Any]] = {
        "failed": lambda: run["reason"],
        "stopped": lambda: f"by {run['by']}",
        "preempted": lambda: f"resumable from step {run['step']}",
        "lost": lambda: _lost(run),
        "unreachable": lambda: "its host does not answer",
        "orphaned": lambda: "its supervisor is gone, the trainer lives",
        "succeeded": lambda: _best(run),
        "preparing": lambda: "not started yet",
    }
    return str(words[state]()) if state in words else ""


def _share(run: dict[str, Any]) -> str:
    epoch = f", epoch {run['epoch']:g}" if run.get("epoch") is not None else ""
    return f" ({100 * (run['step'] or 0) / run['of']:.0f} %{epoch})"


def _lost(run: dict[str, Any]) -> str:
    if run["last_seen"] is None:
        return "never started"
    step = run["resumable_from"]
    return "no process and no end" + (f", resumable from step {step}" if step is not None else "")


def _best(run: dict[str, Any]) -> str:
    best = (run.get("checkpoints") or {}).get("best")
    return f"best checkpoint {best}" if best is not None else ""


def _times(run: dict[str, Any], now: float) -> str:
    if run["state"] == "running":
        left = f", {duration(run['eta'])} to go" if run["eta"] is not None else ""
        return f"{duration(now - run['since'])}{left}"
    ended = run.get("ended") or run.get("last_seen")
    return f"{duration(now - ended)} ago" if ended else ""


def _print_detail(ctx: Context, paint: Paint, run: dict[str, Any]) -> None:
    ctx.out("")
    ctx.out(paint(run["id"], "bold") + f"  {run['who'] or ''}")
    pids = " ".join(str(pid) for pid in run["pids"]) or "none"
    log = size(run["log_bytes"] or 0)
    ctx.out(f"  session {run['session'] or 'none'} · pids {pids} · log {log}{_cost(run)}")
    for split, values in run["metrics"].items():
        ctx.out(f"  {split:6} " + "  ".join(f"{k} {v:.4g}" for k, v in values.items() if v is not None))
    for health in run["health"]:
        ctx.out(paint(f"  {health['severity']} {health['rule']}: {harmless(health['seen'])}", "yellow"))
    for line in run["last_lines"]:
        ctx.out("  " + paint("│", "dim") + " " + _cut(harmless(line), ctx))


def _cost(run: dict[str, Any]) -> str:
    return f" · about ${run['cost_usd']:.2f}" if run.get("cost_usd") is not None else ""


def _cut(line: str, ctx: Context) -> str:
    """To the width of a terminal; whole into a pipe."""
    room = width(ctx.env, ctx.stdout) - 5
    return line if room <= 0 or len(line) <= room or not ctx.stdout.isatty() else line[:room] + "…"


def _print_machine(ctx: Context, answer: dict[str, Any]) -> None:
    if "disk" not in answer:
        return
    disk, memory = answer["disk"], answer["memory"]
    ctx.out("")
    gpu_use = gpus(decode.structs(answer["gpus"], Gpu))
    ctx.out(
        f"  {answer['hostname']}: disk {size(disk['free'])} free of {size(disk['total'])}, "
        f"memory {size(memory['available'])} free of {size(memory['total'])}, {gpu_use}"
    )


def gpus(gpus: Sequence[Gpu] | None) -> str:
    """Each GPU's use and memory; `no GPU` where there is none."""
    if gpus is None:
        return "GPUs unknown"
    if not gpus:
        return "no GPU"
    return ", ".join(
        f"GPU {gpu.index} {gpu.use_percent} %, {gpu.used_mib}/{gpu.total_mib} MiB" for gpu in gpus
    )


def _coloured(line: str, paint: Paint) -> str:
    for word, style in _STYLE.items():
        line = line.replace(f"  {word} ", f"  {paint(word, style)} ", 1)
    return line
