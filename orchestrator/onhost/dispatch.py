"""The queue of a host at work: adds runs to it, starts those whose GPUs are free, and removes stopped ones.

There is no daemon. The supervisor of a run that ends, the boot of an EC2 instance, and every gpujob command
on the host call `advance`. It may be killed at any point and called by several processes at once.
"""

from __future__ import annotations

import contextlib
import errno
import time
from typing import NamedTuple

from orchestrator.core.layout import Layout, RunPaths
from orchestrator.onhost import (
    allocation,
    elsewhere,
    exits,
    files,
    instance_limits,
    journal,
    launching,
    leases,
    private,
    processes,
    reserved_space,
    run_environment,
    run_facts,
    run_queue,
    runs,
)
from orchestrator.onhost.errors import Refused
from orchestrator.onhost.records import RunSpec, State
from orchestrator.onhost.run_queue import Entry

_KEEP_SECONDS = (
    instance_limits.DEFAULT_IDLE_MINUTES * 60
)  # for which a look at the queue keeps an instance up
_TRIES = 3
# What an operation fails with where something else is in the place of a file or folder of the run.
_DAMAGE = (errno.EACCES, errno.EEXIST, errno.EISDIR, errno.ELOOP, errno.ENOTDIR, errno.EPERM)
_APPEARS_SECONDS = 15.0  # seconds for a supervisor that was launched by somebody else to write its state


class _Turn(NamedTuple):
    """What became of the first run of the queue: it was started, it could not be (`failed`), or it waits."""

    run: str
    is_over: bool


def enqueue(layout: Layout, request: runs.StartRequest) -> runs.Started:
    """Adds a run to the queue and starts it at once if its GPUs are free; returns what runs.start does.

    May be repeated: a run that waits, is alive or has ended is left unchanged.
    """
    paths = layout.run(request.spec.id)
    spec = runs.recorded(paths, request.spec.id) if request.resume else request.spec
    with files.lock(layout.start_lock), files.lock(paths.lock):
        run = run_facts.find(layout, spec.id, 0)
        if run and run.elsewhere:
            raise elsewhere.refusal(spec.id, run.elsewhere)
        if run is None or not (run.is_alive or run.queue or (run.state and not request.resume)):
            allocation.require_no_other(layout, spec)
            try:
                spec = runs.with_changes(paths, spec, request.spec)
                runs.prepare(layout, paths, spec, request.secrets)
                run_queue.add(layout, spec.id, private.user_umask, resumes=request.resume)
            except BaseException:
                run_queue.remove(layout, spec.id)
                runs.undo(layout, paths, spec)
                raise
    runs.start_companions(layout, spec, request.secrets)
    started = advance(layout)
    return {"started": spec.id in started, "run": runs.require(layout, spec.id, 5).to_json()}


def advance(layout: Layout) -> list[str]:
    """Starts the runs at the head of the queue for as long as their GPUs are free; returns their ids."""
    started: list[str] = []
    while not run_queue.is_empty(layout):
        with files.lock(layout.start_lock):
            turn = _try_first(layout)
        if turn is None:
            break
        started += [turn.run] if turn.is_over else []
    _keep_instance_up(layout)
    return started


def _try_first(layout: Layout) -> _Turn | None:
    """Starts the first run of the queue; None if it has to wait, or if none waits."""
    waiting = run_queue.entries(layout)
    if not waiting:
        return None
    entry = waiting[0]
    paths, spec = layout.run(entry.run), RunSpec.load(layout.run(entry.run).run_json)
    if spec is None:
        return _give_up(layout, entry, "its run.json cannot be read")
    others = run_facts.find_brief(layout, entry.run)
    same_job = [run.id for run in others if run.is_alive and run.job == spec.job]
    choice = allocation.choose(layout, spec, others)
    if same_job or choice.lease is None:
        reason = "%s of the same job is running" % same_job[0] if same_job else choice.reason
        run_queue.note(layout, entry.run, reason)
        return None
    try:
        if entry.resumes:
            runs.prepare(layout, paths, spec, {})
        leases.take(paths, entry.run, choice.lease)
        _launch(layout, entry)
    except Refused as error:
        return _give_up(layout, entry, str(error))
    except OSError as error:
        _require_damage(error)
        return _give_up(layout, entry, str(error))
    run_queue.remove(layout, entry.run)
    if entry.resumes:
        runs.start_companions(layout, spec, {})
    return _Turn(entry.run, is_over=True)


def _launch(layout: Layout, entry: Entry) -> None:
    """Launches the run, again if its supervisor was killed before it started the command."""
    for tries_left in reversed(range(_TRIES)):
        try:
            launching.launch(layout, entry.run, entry.restarts, entry.umask)
            return
        except Refused as error:
            has_started = run_queue.find(layout, entry.run) is None
            if has_started:
                return  # and its supervisor was killed since
            if error.kind != "no-supervisor" or not tries_left:
                raise


def _give_up(layout: Layout, entry: Entry, why: str) -> _Turn:
    """Records that a run could not be started, unless its supervisor appears after all."""
    paths = layout.run(entry.run)
    launching.kill_session(layout, entry.run)
    try:
        with files.lock(paths.alive, wait=False) as is_first:  # no supervisor of the run begins meanwhile
            if is_first:
                journal.note(paths, "the run could not be started: %s" % why)
                _end(paths, entry, "not-started", None)
    except OSError as error:
        _require_damage(error)
    run_queue.remove(layout, entry.run)
    return _Turn(entry.run, is_over=False)


def _require_damage(error: OSError) -> None:
    """Raises an error that may pass, as of a full disk: the run goes on waiting."""
    if error.errno not in _DAMAGE:
        raise error


def stop(layout: Layout, run_id: str, by: str, now: bool) -> runs.Stopped:
    """Removes a run from the queue, or stops it as runs.stop does; then starts what waits for its GPUs."""
    was_waiting = _withdraw(layout, run_id, by)
    answer = runs.stop(layout, run_id, by, now)
    launching.advance_later(layout)
    return {**answer, "was_running": answer["was_running"] or was_waiting}


def _withdraw(layout: Layout, run_id: str, by: str) -> bool:
    """Ends the wait of a run; returns whether it waited. A run that is being started is waited for."""
    paths = layout.run(run_id)
    if run_queue.is_empty(layout):
        return False
    with files.lock(layout.start_lock):
        entry = run_queue.find(layout, run_id)
        if entry is None:
            return False
        with files.lock(paths.alive, wait=False) as is_first:  # no supervisor begins meanwhile
            if is_first:
                _end(paths, entry, "stopped", by)
                run_queue.remove(layout, run_id)
                return True
    processes.wait_until(lambda: run_queue.last_start(paths) != entry.before, _APPEARS_SECONDS)
    return False


def _end(paths: RunPaths, entry: Entry, reason: str, by: str | None) -> None:
    """Records the end of a run that waited. Without a supervisor in state.json, none may begin any more."""
    now = time.time()
    state = State.load(paths.state) or elsewhere.new_state(entry.run)
    state.machine, state.supervisor, state.child = elsewhere.machine_id(), None, None
    state.ended, state.reason, state.by, state.log_bytes = now, reason, by, files.size(paths.log)
    state.exit_code = exits.NOT_FOUND if reason == "not-started" else None
    reserved_space.write_json(paths, paths.state, vars(state))
    run_environment.forget_secrets(paths)


def _keep_instance_up(layout: Layout) -> None:
    """Renews the lease of an EC2 instance on which runs wait; its deadline stays."""
    limits = instance_limits.find()
    if limits is not None and run_queue.entries(layout):
        with contextlib.suppress(OSError):
            limits.renew_lease(time.time() + _KEEP_SECONDS)
