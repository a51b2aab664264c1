"""Whether a run may start on this host, and on which GPUs: none is used by two runs, or by another program.

The client has checked that too, but several clients may deploy to the host.

A run that came through the queue has a lease, and sees no other GPU. Any other run that asks for a GPU may
use every GPU that it sees, so all of these count as used while it is alive. A host without GPUs has one slot,
which every live run uses.

The caller holds start.lock from the look at what is free until the run with its lease has been started.
"""

from __future__ import annotations

import time
from typing import Iterable, Mapping, NamedTuple, Sequence

from orchestrator.core.layout import Layout
from orchestrator.onhost import elsewhere, gpus, host_facts, leases, processes, run_facts, run_queue
from orchestrator.onhost.errors import Refused
from orchestrator.onhost.gpus import Gpu, GpuProcess
from orchestrator.onhost.leases import SLOT, VISIBLE, Lease
from orchestrator.onhost.records import RunSpec
from orchestrator.onhost.run_facts import RunFacts

_LAUNCH_SECONDS = 60.0  # for which a lease without a supervisor counts: one may be starting
_GPU_SECONDS = 30.0  # for nvidia-smi, which takes 7 s and more where it has to load the driver


class Choice(NamedTuple):
    """The lease that a run can have now; or None, and why it has to wait."""

    lease: Lease | None
    reason: str = ""


def choose(layout: Layout, spec: RunSpec, runs: Sequence[RunFacts]) -> Choice:
    """Returns the lease that a run can have, considering `runs`, all others on this host."""
    if (cards := gpus.sample(_GPU_SECONDS)) is None:
        return Choice(None, "the GPUs of this host cannot be read")
    users = host_facts.gpu_processes() if cards else []
    used = _used(layout, cards, runs, users)
    if not cards:
        return Choice(None, "after %s" % used[SLOT]) if SLOT in used else Choice(_lease([(SLOT, 0)]))
    usable = visible(cards, spec.env)
    if len(usable) < spec.gpus:
        return Choice(None, "needs %s, and this host has %d" % (_gpus(spec.gpus), len(usable)))
    before = leases.load(layout.run(spec.id)) or Lease((), ())
    free = sorted((card for card in usable if card.uuid not in used), key=lambda c: c.uuid not in before.gpus)
    if len(free) < spec.gpus:
        users_text = ", ".join(dict.fromkeys(used[card.uuid] for card in usable if card.uuid in used))
        return Choice(None, "needs %s, %d free; in use by %s" % (_gpus(spec.gpus), len(free), users_text))
    chosen = sorted((card.index or 0, card.uuid) for card in free[: spec.gpus])
    return Choice(_lease((uuid, index) for index, uuid in chosen))


def _gpus(count: int) -> str:
    return "1 GPU" if count == 1 else "%d GPUs" % count


def leased(layout: Layout, runs: Iterable[RunFacts]) -> list[RunFacts]:
    """Returns those of `runs` that use GPUs by a lease now."""
    return [run for run in runs if _uses(layout, run) and leases.load(layout.run(run.id)) is not None]


def visible(cards: Sequence[Gpu], env: Mapping[str, str]) -> list[Gpu]:
    """Returns the GPUs that a run with these variables sees: all, or those of CUDA_VISIBLE_DEVICES.

    CUDA ignores what follows the first word that names no GPU.
    """
    words = env.get(VISIBLE)
    if words is None:
        return list(cards)
    usable: list[Gpu] = []
    for word in (word.strip() for word in words.split(",")):
        matching = [card for card in cards if word and _is_named(card, word)]
        if not matching:
            break
        usable += [card for card in matching[:1] if card not in usable]
    return usable


def _is_named(card: Gpu, word: str) -> bool:
    return word == str(card.index) or (word.startswith("GPU-") and card.uuid.startswith(word))


def _lease(devices: Iterable[tuple[str, int]]) -> Lease:
    pairs = list(devices)
    here = (time.time(), elsewhere.host_name(), elsewhere.machine_id(), processes.boot())
    return Lease(tuple(uuid for uuid, _ in pairs), tuple(index for _, index in pairs), *here)


def _used(
    layout: Layout, cards: Sequence[Gpu], runs: Sequence[RunFacts], users: Sequence[GpuProcess]
) -> dict[str, str]:
    """Returns who uses each GPU, or the slot, that is in use."""
    used: dict[str, str] = {}
    for run in runs:
        if _uses(layout, run):
            used.update(dict.fromkeys(_of(layout, cards, run), run.id))
    for user in users:
        used.setdefault(user.gpu, user.run or "%s (pid %s)" % (user.name, user.pid))
    return used


def _of(layout: Layout, cards: Sequence[Gpu], run: RunFacts) -> list[str]:
    """Returns what a live run uses: the GPUs of its lease, else all that it sees if it asks for any."""
    if not cards:
        return [SLOT]
    lease = leases.load(layout.run(run.id))
    if lease is not None:
        return list(lease.gpus)
    if run.spec is not None and not run.spec.gpus:
        return []
    return [card.uuid for card in visible(cards, run.spec.env if run.spec else {})]


def _uses(layout: Layout, run: RunFacts) -> bool:
    """Returns whether a run is alive here, or was just started and has not written its state yet."""
    if run.pids or (run.is_supervised and not (run.state and run.state.ended is not None)):
        return True
    lease = leases.load(layout.run(run.id))
    return bool(
        lease
        and run.state is None
        and lease.boot == processes.boot()
        and abs(time.time() - lease.taken) < _LAUNCH_SECONDS
    )


def live_runs(layout: Layout) -> list[RunFacts]:
    """Returns the runs that have a live process or supervisor; log and events are not read."""
    return [run for run in run_facts.find_brief(layout) if run.is_alive]


def require_no_conflict(
    layout: Layout, spec: RunSpec, share_gpu: bool, known_runs: Sequence[str] | None
) -> None:
    """Raises Refused if a run of the same job is live, or a GPU that the run needs is in use.

    `details` name the run or the processes. `known_runs`: ids of the runs that were live when this start was
    planned. A run that has started since then counts as using a GPU, even if it does not use it yet.
    """
    others = require_no_other(layout, spec)
    if share_gpu or not spec.gpus or not gpus.sample():
        return
    new = [] if known_runs is None else [run for run in others if run.id not in known_runs]
    new += leased(layout, run_facts.find_brief(layout, spec.id))
    users = host_facts.gpu_processes() or [process for run in new for process in _expected(run)]
    if users:
        raise Refused("gpu", "a GPU is in use", processes=[user._asdict() for user in users])


def require_no_other(layout: Layout, spec: RunSpec) -> list[RunFacts]:
    """Returns all other live runs; raises Refused if one of the same job is live, or waits in the queue."""
    others = [run for run in live_runs(layout) if run.id != spec.id]
    for run in others:
        if run.job == spec.job:
            raise Refused("running", "%s is already running as %s" % (run.job, run.id), run=run.id)
    for name, job in queued_runs(layout):
        if job == spec.job and name != spec.id:
            raise Refused("queued", "%s already waits in the queue as %s" % (job, name), run=name)
    return others


def queued_runs(layout: Layout) -> list[tuple[str, str | None]]:
    """Returns id and job of each run that waits on this machine, in their order."""
    waiting = [entry.run for entry in run_queue.entries(layout)]
    specs = ((name, RunSpec.load(layout.run(name).run_json)) for name in waiting)
    return [(name, spec.job if spec else None) for name, spec in specs]


def _expected(run: RunFacts) -> list[GpuProcess]:
    """Returns the process that will use a GPU once this run has started; empty if the run needs no GPU."""
    if run.spec is None or not run.spec.gpus:
        return []
    pid = run.state.child["pid"] if run.state and run.state.child else None
    return [GpuProcess("", pid, run.spec.argv[0], 0, None, run.id)]
