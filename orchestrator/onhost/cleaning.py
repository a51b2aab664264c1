"""Deletes what a run left, and verifies that it is gone."""

from __future__ import annotations

import contextlib
import errno
import glob
import os
from typing import Callable, TypedDict

from orchestrator.core.layout import Layout, scratch
from orchestrator.onhost import containers, copies, elsewhere, processes, run_facts, shared_memory
from orchestrator.onhost.errors import Refused
from orchestrator.onhost.inventory import is_inside

_NAMED = 10  # number of paths that are named if they cannot be deleted


class Cleaned(TypedDict):
    """`removed`: the deleted paths. `left`: what could not be deleted, and why."""

    removed: list[str]
    left: list[str]


def clean(layout: Layout, run_id: str, purge: bool) -> Cleaned:
    """Deletes a run's work folder and temporary files (docs/contract.md), with `purge` its whole folder.

    run.json and state.json are deleted last: a run of which something is left keeps its state, and can be
    purged again.

    Raises Refused while the run is alive.
    """
    run, paths = run_facts.find(layout, run_id, 0), layout.run(run_id)
    if run is None:
        raise Refused("no-run", "no run %s on this host" % run_id)
    if run.elsewhere:
        raise elsewhere.refusal(run_id, run.elsewhere)
    if run.is_alive:
        raise Refused("running", "run %s is still running" % run_id, run=run_id)
    if container := containers.find(run.spec):
        container.remove()  # one that a restart of the machine left
    if run.queue:
        raise Refused("running", "run %s waits in the queue" % run_id, run=run_id)
    targets = [paths.work, paths.stage, paths.secrets, paths.reserved, paths.reserved_v1]
    targets.append(os.path.join(paths.folder, copies.FOLDER))
    if not os.path.islink(paths.checkpoints):
        targets += glob.glob(os.path.join(glob.escape(paths.checkpoints), ".*"))
    if run.spec and run.spec.mark:
        targets.append(scratch(run.spec.mark))
    if run.state:
        in_use = shared_memory.mapped(processes.table())
        targets += [path for path in run.state.shared_memory if path not in in_use]
    removed, left = _remove_all(targets)
    if purge:
        records = (os.path.basename(paths.run_json), os.path.basename(paths.state))
        rest = [name for name in os.listdir(paths.folder) if name not in records]
        left += _remove_all([os.path.join(paths.folder, name) for name in rest])[1]
        if not left:
            left = remove(paths.folder)
            removed += [] if left else [paths.folder]
    return {"removed": removed, "left": list(dict.fromkeys(left))[:_NAMED]}


def remove(path: str) -> list[str]:
    """Deletes a file or a folder, making folders of this user writable; returns what is left and why.

    Nothing is deleted where a file system is mounted, whose files may be others'.
    """
    real = os.path.realpath(os.path.dirname(path)) + "/" + os.path.basename(path)
    mounted = [mount.point for mount in elsewhere.mounts() if is_inside(real, mount.point)]
    if mounted:
        return ["%s: a file system is mounted there" % point for point in mounted]
    failures = _delete(path)
    if failures:
        _make_writable(path)
        failures = _delete(path)
    return failures


def _remove_all(targets: list[str]) -> tuple[list[str], list[str]]:
    removed, left = [], []
    for path in targets:
        if os.path.lexists(path):
            failures = remove(path)
            left += failures
            removed += [] if failures else [path]
    return removed, left


def _delete(path: str) -> list[str]:
    failures: list[str] = []

    def record(error: OSError) -> None:
        if error.errno not in (errno.ENOENT, errno.ENOTEMPTY):
            failures.append("%s: %s" % (error.filename, error.strerror))

    def attempt(function: Callable[[str], None], at: str) -> None:
        try:
            function(at)
        except OSError as error:
            record(error)

    if os.path.isdir(path) and not os.path.islink(path):
        for folder, subfolders, names in os.walk(path, topdown=False, onerror=record):
            for name in [*names, *subfolders]:
                at = os.path.join(folder, name)
                attempt(os.unlink if os.path.islink(at) or name in names else os.rmdir, at)
        attempt(os.rmdir, path)
    else:
        attempt(os.unlink, path)
    if os.path.lexists(path) and not failures:
        failures.append("%s: it was written to while it was deleted" % path)
    return failures


def _make_writable(path: str) -> None:
    parent = os.path.dirname(path)
    if not os.access(parent, os.W_OK | os.X_OK):
        _allow_owner(parent)
    if os.path.islink(path) or not os.path.isdir(path):
        return
    _allow_owner(path)
    for folder, subfolders, _ in os.walk(path):
        for name in subfolders:
            if not os.path.islink(os.path.join(folder, name)):
                _allow_owner(os.path.join(folder, name))


def _allow_owner(folder: str) -> None:
    with contextlib.suppress(OSError):
        os.chmod(folder, os.stat(folder).st_mode | 0o700)
