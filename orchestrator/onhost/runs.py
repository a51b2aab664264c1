"""Starts and stops runs. Every operation may be repeated."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import time
from typing import Callable, Mapping, NamedTuple, Sequence, TypedDict

from orchestrator.core.layout import Layout, RunPaths, scratch
from orchestrator.onhost import (
    alert_watch,
    allocation,
    cleaning,
    containers,
    elsewhere,
    engines,
    files,
    inventory,
    launching,
    leases,
    mirror,
    private,
    processes,
    reserved_space,
    run_facts,
    run_processes,
    setup,
)
from orchestrator.onhost.errors import Refused
from orchestrator.onhost.records import DEFAULT_GRACE, RunSpec, State
from orchestrator.onhost.run_facts import RunAnswer, RunFacts

_STOP_MARGIN = 15.0  # seconds beyond the grace until a supervisor is killed
# Variables that a run inherits from the helper that starts it. Others must be listed in pass_env.
_INHERITED = (
    *("CONDA_PREFIX", "CUDA_HOME", "CUDA_VISIBLE_DEVICES", "HF_HOME", "HOME", "LANG", "LD_LIBRARY_PATH"),
    *("LOGNAME", "OMP_NUM_THREADS", "PATH", "SHELL", "TORCH_HOME", "TZ", "USER", "VIRTUAL_ENV"),
    *("XDG_CACHE_HOME", "XDG_RUNTIME_DIR"),
)


class Started(TypedDict):
    """`started`: by this request; False for a run that was left as it was."""

    started: bool
    run: RunAnswer


class Stopped(TypedDict):
    """`remaining`: the pids that are still alive (normally none), described by `processes`.

    `sees_all`: whether this user sees the processes of others.
    """

    was_running: bool
    remaining: list[int]
    run: RunAnswer
    processes: list[processes.Process]
    sees_all: bool
    written: inventory.Written


class StartRequest(NamedTuple):
    """The parameters of `start`.

    `known_runs`: ids of runs that were live when it was planned; None if unknown. `restarts`: how many of the
    job's restarts are used.
    """

    spec: RunSpec
    secrets: Mapping[str, str] = {}
    resume: bool = False
    share_gpu: bool = False
    known_runs: Sequence[str] | None = None
    restarts: int = 0


def start(layout: Layout, request: StartRequest) -> Started:
    """Starts a run in its tmux session.

    A lock allows one start at a time on a host; conflicts are checked again under it. An interrupted start
    may be repeated: a run that is alive, or that has ended and is not to be resumed, is left unchanged.
    """
    run_id = request.spec.id
    paths = layout.run(run_id)
    spec = recorded(paths, run_id) if request.resume else request.spec
    with files.lock(layout.start_lock), files.lock(paths.lock):
        run = require(layout, run_id)
        if run.elsewhere:
            raise elsewhere.refusal(run_id, run.elsewhere)
        if run.is_alive or (run.state and not request.resume):
            start_companions(layout, spec, request.secrets)
            return {"started": False, "run": run.to_json()}
        try:
            spec = with_changes(paths, spec, request.spec)
            allocation.require_no_conflict(layout, spec, request.share_gpu, request.known_runs)
            prepare(layout, paths, spec, request.secrets)
            leases.release(paths)
            launching.launch(layout, run_id, request.restarts, private.user_umask)
        except BaseException:
            undo(layout, paths, spec)
            raise
    start_companions(layout, spec, request.secrets)
    return {"started": True, "run": require(layout, run_id, 5).to_json()}


def start_companions(layout: Layout, spec: RunSpec, secrets: Mapping[str, str]) -> None:
    """Starts the processes that send the alerts of a run and copy its results to S3, if it asks for them.

    Each takes its own part of the secrets.
    """
    alert_watch.start(layout, spec, secrets)
    mirror.start(layout, spec, secrets)


def stop(layout: Layout, run_id: str, by: str, now: bool) -> Stopped:
    """Stops a run: SIGTERM so that it writes a checkpoint, then SIGKILL to every process of it.

    If the disk is too full for stop.json, the run is stopped all the same. Raises Refused if it is alive on
    another machine.
    """
    run, paths = require(layout, run_id), layout.run(run_id)
    if run.elsewhere:
        raise elsewhere.refusal(run_id, run.elsewhere)
    find = _finder(run, paths.log)
    is_recorded = True
    if run.is_alive:
        grace = 0.0 if now else run.spec.grace_seconds if run.spec else DEFAULT_GRACE
        is_recorded = _record(paths, paths.stop, {"v": 1, "by": by, "t": time.time(), "now": now})
        _terminate(run, paths, grace, find)
    if container := containers.find(run.spec):
        container.remove()
    remaining = processes.kill(find)
    if not remaining:
        launching.kill_session(layout, run_id)
    if run.is_alive and not remaining:
        _record_end(paths, run_id, by, is_recorded)
    ended = run._replace(is_supervised=False, pids=[], session=None)  # of a run whose folder was removed
    after = run_facts.find(layout, run_id, 5) or ended
    return {
        "was_running": run.is_alive,
        "remaining": remaining,
        "run": after.to_json(),
        "processes": [processes.describe(pid) for pid in remaining],
        "sees_all": processes.are_all_visible(),
        "written": inventory.written(layout, run_id),
    }


def require(layout: Layout, run_id: str, lines: int = 0) -> RunFacts:
    run = run_facts.find(layout, run_id, lines)
    if run is None:
        raise Refused("no-run", "no run %s on this host" % run_id)
    return run


def recorded(paths: RunPaths, run_id: str) -> RunSpec:
    """Returns the specification in run.json; a resume uses it instead of what the client sends."""
    spec = RunSpec.load(paths.run_json)
    if spec is None or State.load(paths.state) is None:
        raise Refused("not-started", "run %s has never started, so it cannot be resumed" % run_id)
    return spec


def with_changes(paths: RunPaths, spec: RunSpec, requested: RunSpec) -> RunSpec:
    """Records limits and hosts that a resume changes; returns the specification with them."""
    changes = {
        key: {**spec.record.child(key).values, **value}
        for key in ("limits", "group")
        if (value := requested.record.child(key).values)
    }
    if spec is requested or not changes:
        return spec
    record = {**spec.record.values, **changes}
    files.write_json(paths.run_json, record)
    return RunSpec.parse(record)


def undo(layout: Layout, paths: RunPaths, spec: RunSpec) -> None:
    """Cleans up after a failed start: if the run never started, ends its processes and deletes its folder."""
    if State.load(paths.state) is None:
        launching.kill_session(layout, spec.id)
        processes.kill_marked(spec.mark)
        cleaning.remove(paths.folder)


def prepare(layout: Layout, paths: RunPaths, spec: RunSpec, secrets: Mapping[str, str]) -> None:
    """Creates the run's folder and its files, without starting a process."""
    os.makedirs(paths.checkpoints, mode=0o700, exist_ok=True)
    if not os.path.exists(paths.work):
        _create_work_folder(layout, paths.work, spec)
    private.make_folder(scratch(spec.mark))
    reserved_space.create(layout, paths)
    passed = {name: value for name, value in secrets.items() if name in spec.pass_env}
    if passed:  # not the URL of a webhook, which no file may contain
        files.write_json(paths.secrets, passed)
    image = engines.require_image(spec.image_id or spec.image) if spec.image else None
    if not os.path.exists(paths.run_json):
        names = containers.INHERITED if image else _INHERITED
        inherited = {name: os.environ[name] for name in names if name in os.environ}
        record = {**spec.record.values, "env": {**inherited, **spec.env}}
        files.write_json(
            paths.run_json, {**record, **({"image": {"name": spec.image, "id": image}} if image else {})}
        )
    with contextlib.suppress(FileNotFoundError):
        os.unlink(paths.stop)


def _create_work_folder(layout: Layout, work: str, spec: RunSpec) -> None:
    """Makes a writable copy of a stored tree, with what the job's setup left; renamed once it is complete."""
    partial, tree = work + ".partial", spec.code_tree
    cleaning.remove(partial)
    if tree and not os.path.isdir(layout.tree(tree)):
        raise Refused("no-tree", "the code of this run (tree %s) is no longer on the host" % tree)
    if tree:
        shutil.copytree(layout.tree(tree), partial, symlinks=True)
        for folder, _, names in os.walk(partial):
            os.chmod(folder, 0o700)
            for name in names:
                path = os.path.join(folder, name)
                if not os.path.islink(path):
                    os.chmod(path, os.stat(path).st_mode | 0o200)
    else:
        os.makedirs(partial)
    if spec.setup_folder:
        setup.overlay(spec.setup_folder, partial)
    os.rename(partial, work)


def _finder(run: RunFacts, log: str) -> Callable[[], list[int]]:
    """Returns a function that finds the processes of a run, also those that only its supervisor knows by now.

    Their sessions and parents may be gone once the first of them have ended, so what was found is remembered.
    """
    mark, state = run.spec.mark if run.spec else "", run.state or State(boot=processes.boot())
    known = run_processes.identities(run.pids)

    def find() -> list[int]:
        nonlocal known
        known = [*state.processes, *known]
        pids = run_processes.find(mark, state.replace(boot=processes.boot(), processes=known), log=log)
        known = run_processes.identities(pids)
        return pids

    return find


def _terminate(run: RunFacts, paths: RunPaths, grace: float, find: Callable[[], list[int]]) -> None:
    """Sends SIGTERM to the supervisor, which ends the run even if this process dies, else to the trainer.

    A supervisor that waits for a process which this user may not end is left alone: it records the end.
    """
    state = run.state
    if state and state.supervisor and run.is_supervised:
        supervisor, boot = state.supervisor, state.boot

        def has_finished() -> bool:
            current = State.load(paths.state)
            return not processes.is_alive(supervisor, boot) or bool(current and current.left)

        find()
        processes.send([supervisor["pid"]], signal.SIGTERM)
        if not processes.wait_until(has_finished, grace + _STOP_MARGIN):
            processes.send([supervisor["pid"]], signal.SIGKILL)
        return
    child = state.child if state and processes.is_alive(state.child, state.boot) else None
    container = None if child else containers.find(run.spec)
    if not (container and container.signal("TERM")):
        processes.send([child["pid"]] if child else run.pids, signal.SIGTERM)
    processes.wait_until(lambda: not find(), grace)


def _record_end(paths: RunPaths, run_id: str, by: str, is_recorded: bool) -> None:
    """Records the end of a stopped run if its supervisor did not, or had no stop.json with the reason."""
    state = State.load(paths.state)
    if state is None and os.path.isdir(paths.folder):
        state = elsewhere.new_state(run_id)
    if state and not state.ended:
        state.ended, state.reason, state.by = time.time(), "stopped", by
        state.child, state.log_bytes = None, files.size(paths.log)
    elif state and not is_recorded and state.reason == "preempted":
        state.reason, state.by = "stopped", by
    else:
        return
    _record(paths, paths.state, vars(state))


def _record(paths: RunPaths, path: str, value: Mapping[str, object]) -> bool:
    """Writes a JSON file, in the reserved space if necessary; returns whether it was written."""
    try:
        reserved_space.write_json(paths, path, value)
    except OSError:
        return False
    return True
