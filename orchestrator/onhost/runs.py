"""Starting, stopping and cleaning runs. Every operation may be repeated."""

from __future__ import annotations

import contextlib
import fcntl
import glob
import os
import shutil
import signal
import subprocess
import sys
import time
from typing import Any, Iterator, Sequence

from orchestrator.core import tmux
from orchestrator.core.layout import Layout, RunPaths, scratch
from orchestrator.onhost import ballast, facts, jsonfile, look, proc, rivals
from orchestrator.onhost.answers import Refused

_SETTLE = 15.0  # seconds until a supervisor must have reported
_BUNDLE = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
# What a run sees of the environment of its deploy. Anything else it has to be given: pass_env.
_PASSED = (
    *("CONDA_PREFIX", "CUDA_HOME", "CUDA_VISIBLE_DEVICES", "HF_HOME", "HOME", "LANG", "LD_LIBRARY_PATH"),
    *("LOGNAME", "OMP_NUM_THREADS", "PATH", "SHELL", "TORCH_HOME", "TZ", "USER", "VIRTUAL_ENV"),
    *("XDG_CACHE_HOME", "XDG_RUNTIME_DIR"),
)
# What the tmux server may keep of our environment: a run's own comes from its run.json.
_KEEP = (
    *("HOME", "LANG", "LC_ALL", "LOGNAME", "PATH", "SHELL", "TERM", "USER", "XDG_RUNTIME_DIR"),
    *("AWS_EC2_METADATA_SERVICE_ENDPOINT", "GPUJOB_BOX"),  # where the supervisor finds its box
)


def start(
    layout: Layout,
    spec: dict[str, Any],
    secrets: dict[str, str],
    resume: bool,
    share_gpu: bool = False,
    beside: Sequence[str] | None = None,
) -> dict[str, Any]:
    """Brings a run up in its tmux session and answers with its facts.

    One start at a time on a host, whichever client asks: who is in its way (rivals.refuse) is judged again.
    A start that was cut may be repeated: a run that is going, or that has ended and is not to be resumed, is
    answered as it is.
    """
    paths = layout.run(spec["id"])
    if resume:
        spec = _begun(paths, spec["id"])
    with _locked(layout.start_lock), _locked(paths.lock):
        seen = look.one(layout, spec["id"], 0)
        assert seen is not None
        began = seen["state"] is not None
        if seen["supervised"] or seen["pids"] or (began and not resume):
            return {"started": False, "seen": seen}
        try:
            rivals.refuse(layout, spec, share_gpu, beside)
            _fill(layout, paths, spec, secrets)
            _bring_up(layout, spec["id"])
        except BaseException:
            _undo(layout, paths, spec)
            raise
    return {"started": True, "seen": look.one(layout, spec["id"], 5)}


def stop(layout: Layout, run_id: str, by: str, now: bool) -> dict[str, Any]:
    """Ends a run: checkpoint if it can, then every process that carries its mark; verified.

    Answers `left`, the pids that are still there (it must be empty), and `was_going`. Where the disk takes no
    stop.json, the run ends all the same.
    """
    seen = _must_see(layout, run_id)
    paths, mark = layout.run(run_id), (seen["run"] or {}).get("mark", "")
    going, said = seen["supervised"] or bool(seen["pids"]), True
    if going:
        bounds = (seen["run"] or {}).get("limits") or {}
        grace = 0.0 if now else float(bounds.get("grace_seconds", 60))
        said = _say(paths, paths.stop, {"v": 1, "by": by, "t": time.time(), "now": now})
        _end(layout, run_id, seen, grace)
    left = proc.kill_marked(mark) if mark else []
    _kill_session(layout, run_id)
    if going and not left:
        _record_end(paths, by, said)
    return {"was_going": going, "left": left, "seen": look.one(layout, run_id, 5)}


def clean(layout: Layout, run_id: str, purge: bool) -> dict[str, Any]:
    """Removes what a run leaves behind (docs/contract.md); `purge` removes all of it."""
    seen = _must_see(layout, run_id)
    if seen["supervised"] or seen["pids"]:
        raise Refused("going", "run %s is still going" % run_id)
    paths, state = layout.run(run_id), seen["state"] or {}
    rests = [
        paths.work,
        paths.stage,
        paths.secrets,
        paths.ballast,
        *glob.glob(os.path.join(paths.checkpoints, ".*")),
    ]
    if (seen["run"] or {}).get("mark"):
        rests.append(scratch(seen["run"]["mark"]))
    rests += [path for path in state.get("shared_memory", []) if path.startswith("/dev/shm/")]
    removed = [path for path in rests if _remove(path)]
    if purge and _remove(paths.folder):
        removed.append(paths.folder)
    return {"removed": removed}


def _begun(paths: RunPaths, run_id: str) -> dict[str, Any]:
    """What the run was begun with: a resume continues that, whatever the asker says."""
    spec = jsonfile.load(paths.run_json)
    if spec is None or jsonfile.load(paths.state) is None:
        raise Refused("not-begun", "run %s has never begun, so it cannot be resumed" % run_id)
    return spec


def _undo(layout: Layout, paths: RunPaths, spec: dict[str, Any]) -> None:
    """A start that failed leaves no process, and no folder of a run that never began."""
    if jsonfile.load(paths.state) is None:
        _kill_session(layout, spec["id"])
        proc.kill_marked(spec["mark"])
        _remove(paths.folder)


@contextlib.contextmanager
def _locked(path: str) -> Iterator[None]:
    os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
    with open(path, "w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def _fill(layout: Layout, paths: RunPaths, spec: dict[str, Any], secrets: dict[str, str]) -> None:
    os.makedirs(paths.checkpoints, mode=0o700, exist_ok=True)
    if not os.path.exists(paths.work):
        _copy_tree(layout, paths.work, (spec.get("code") or {}).get("tree"))
    ballast.lay(paths)
    if secrets:
        jsonfile.replace(paths.secrets, secrets)
    if not os.path.exists(paths.run_json):
        environment = {name: os.environ[name] for name in _PASSED if name in os.environ}
        jsonfile.replace(paths.run_json, dict(spec, env={**environment, **spec.get("env", {})}))
    with contextlib.suppress(FileNotFoundError):
        os.unlink(paths.stop)


def _copy_tree(layout: Layout, work: str, tree: str | None) -> None:
    """A real, writable copy under its final name only when whole."""
    partial = work + ".partial"
    _remove(partial)
    if tree and not os.path.isdir(layout.tree(tree)):
        raise Refused("no-tree", "the code of this run (tree %s) is no longer on the host" % tree)
    if tree:
        shutil.copytree(layout.tree(tree), partial, symlinks=True)
        for folder, _, names in os.walk(partial):
            os.chmod(folder, 0o755)
            for name in names:
                path = os.path.join(folder, name)
                if not os.path.islink(path):
                    os.chmod(path, os.stat(path).st_mode | 0o200)
    else:
        os.makedirs(partial)
    os.rename(partial, work)


def _bring_up(layout: Layout, run_id: str) -> None:
    version = facts.tmux_version()
    if version is None:
        raise Refused("no-tmux", "tmux is not installed on this host")
    if (tmux.parse_version(version) or (0, 0)) < tmux.OLDEST:
        raise Refused("no-tmux", "%s is too old; 2.6 is the oldest that works" % version)
    before = jsonfile.load(layout.run(run_id).state)
    _prepare_server(layout)
    _kill_session(layout, run_id)
    command = [sys.executable, "-I", _BUNDLE, "supervise", layout.root, run_id]
    words = tmux.new(
        tmux.server(layout.tmux_socket, layout.tmux_conf),
        tmux.session_name(run_id),
        layout.root,
        command,
    )
    done = subprocess.run(
        words,
        env={name: os.environ[name] for name in _KEEP if name in os.environ},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    if done.returncode:
        raise Refused("tmux", done.stdout.decode(errors="replace").strip() or "tmux gave no reason")
    _await_supervisor(layout, run_id, before)


def _prepare_server(layout: Layout) -> None:
    folder = os.path.dirname(layout.tmux_socket)
    os.makedirs(folder, mode=0o700, exist_ok=True)
    if os.stat(folder).st_uid != os.getuid():
        raise Refused("tmux", "%s belongs to another user" % folder)
    with open(layout.tmux_conf, "w") as handle:
        handle.write(tmux.CONF)


def _await_supervisor(layout: Layout, run_id: str, before: dict[str, Any] | None) -> None:
    end = time.monotonic() + _SETTLE
    path = layout.run(run_id).state
    while time.monotonic() < end:
        state = jsonfile.load(path)
        fresh = state is not None and (before is None or state["supervisor"] != before["supervisor"])
        if state and fresh and (state["child"] or state["ended"]):
            return
        time.sleep(0.02)
    raise Refused("no-supervisor", "the supervisor did not report within %d s" % _SETTLE)


def _end(layout: Layout, run_id: str, seen: dict[str, Any], grace: float) -> None:
    """The supervisor does it, so that it happens even if nobody waits; without one we do."""
    state, mark = seen["state"] or {}, (seen["run"] or {}).get("mark", "")
    if seen["supervised"]:
        proc.send([state["supervisor"]["pid"]], signal.SIGTERM)
        _wait(lambda: not proc.alive(state["supervisor"], state["boot"]), grace + 15)
        if proc.alive(state["supervisor"], state["boot"]):
            proc.send([state["supervisor"]["pid"]], signal.SIGKILL)
    else:
        first = state.get("child") or {}
        proc.send([first["pid"]] if proc.alive(first, state.get("boot")) else seen["pids"], signal.SIGTERM)
        _wait(lambda: not proc.marked(mark), grace)


def _wait(over: Any, seconds: float) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end and not over():
        time.sleep(0.05)


def _record_end(paths: RunPaths, by: str, said: bool) -> None:
    """Where no supervisor was left to say it, or it could not know that it was a stop (not `said`)."""
    state = jsonfile.load(paths.state)
    if state and not state["ended"]:
        size = os.stat(paths.log).st_size if os.path.exists(paths.log) else 0
        state.update(ended=time.time(), reason="stopped", by=by, child=None, log_bytes=size)
    elif state and not said and state["reason"] == "preempted":
        state.update(reason="stopped", by=by)
    else:
        return
    _say(paths, paths.state, state)


def _say(paths: RunPaths, path: str, value: dict[str, Any]) -> bool:
    """Whether it is on the disk now, in the room of the ballast if need be."""
    try:
        ballast.replace(paths, path, value)
    except OSError:
        return False
    return True


def _kill_session(layout: Layout, run_id: str) -> None:
    with contextlib.suppress(OSError):
        subprocess.run(
            tmux.kill(tmux.server(layout.tmux_socket), tmux.session_name(run_id)),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )


def _must_see(layout: Layout, run_id: str) -> dict[str, Any]:
    seen = look.one(layout, run_id, 0)
    if seen is None:
        raise Refused("absent", "no run %s on this host" % run_id)
    return seen


def _remove(path: str) -> bool:
    if os.path.isdir(path) and not os.path.islink(path):
        shutil.rmtree(path, ignore_errors=True)
    else:
        with contextlib.suppress(OSError):
            os.unlink(path)
            return True
        return False
    return not os.path.exists(path)
