"""Runs the script of a job's `setup` once, in its environment; keeps the files that it makes for the runs."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
from typing import BinaryIO, Mapping, NamedTuple, Sequence

from orchestrator.core.layout import Layout
from orchestrator.core.paths import inside
from orchestrator.core.shell import join, script_words
from orchestrator.onhost.errors import Refused

CONSTRAINTS = "constraints.txt"  # in an environment: versions that pip may not replace
_FILES = "work"  # in an environment: the folder of the script
_PIP = '#!/bin/sh\nexec %s "$@"\n'


class Setup(NamedTuple):
    """A script, and the `files` of the code `tree` that it reads."""

    script: str
    tree: str
    files: Sequence[str]
    variables: Mapping[str, str]


def run(layout: Layout, folder: str, parent: str, wish: Setup, log: BinaryIO, mark: str) -> None:
    """Runs the script in the environment `folder`, with copies of its files, and its variables.

    `pip` installs into the environment, and does not replace its torch. Raises Refused with the line that
    failed; its output is in `log`. `mark`: of its processes.
    """
    work = os.path.join(folder, _FILES)
    os.makedirs(work)
    for path in wish.files:
        if inside(path):
            copy(os.path.join(layout.tree(wish.tree), path), os.path.join(work, path))
    _provide_pip(parent, os.path.join(folder, "bin"))
    start = log.seek(0, os.SEEK_END)
    try:
        process = subprocess.run(
            script_words(wish.script, "setup"),
            cwd=work,
            env={**_environment(folder, wish.variables), "GPUJOB_MARK": mark},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
        )
    except OSError as error:
        raise Refused("setup", "setup could not be run: %s" % error) from None
    if process.returncode:
        lines = printed(log, start).decode(errors="replace").strip().splitlines()
        last = [line for line in lines if line.startswith("gpujob: setup, ")][:1] or lines[-1:]
        output = [line for line in lines if not line.startswith("gpujob: setup, ")][-1:]
        reason = (
            ": ".join([*(line[len("gpujob: setup, ") :] for line in last), *output]) or "it printed nothing"
        )
        what = "setup failed with exit code %d (%s); its output: %s" % (process.returncode, reason, log.name)
        raise Refused("setup", what)


def overlay(folder: str, work: str) -> None:
    """Copies what setup left in its folder over a run's copy of the code; links stay links."""
    for parent, folders, names in os.walk(folder):
        relative = os.path.relpath(parent, folder)
        links = [name for name in folders if os.path.islink(os.path.join(parent, name))]
        for name in [*names, *links]:
            copy(os.path.join(parent, name), os.path.join(work, relative, name))
        for name in folders:
            if name not in links:
                os.makedirs(os.path.join(work, relative, name), exist_ok=True)


def copy(source: str, target: str) -> None:
    """Replaces `target` by a writable copy of a file or a link; sockets and the like are left out."""
    kind = os.lstat(source).st_mode
    if not (stat.S_ISREG(kind) or stat.S_ISLNK(kind)):
        return
    os.makedirs(os.path.dirname(target), exist_ok=True)
    if os.path.lexists(target):
        os.unlink(target)
    shutil.copy2(source, target, follow_symlinks=False)
    if stat.S_ISREG(kind):
        os.chmod(target, stat.S_IMODE(kind) | 0o200)


def printed(log: BinaryIO, start: int) -> bytes:
    """Returns up to 64 KiB from the end of what was written since `start`."""
    end = log.seek(0, os.SEEK_END)
    log.seek(max(start, end - (1 << 16)))
    return log.read()


def _environment(folder: str, variables: Mapping[str, str]) -> dict[str, str]:
    """As if the environment were activated."""
    constraints = os.path.join(folder, CONSTRAINTS)
    kept = {"PIP_CONSTRAINT": constraints} if os.path.exists(constraints) else {}
    path = os.path.join(folder, "bin") + os.pathsep + os.environ.get("PATH", os.defpath)
    return {**os.environ, "PYTHONUNBUFFERED": "1", **kept, **variables, "VIRTUAL_ENV": folder, "PATH": path}


def _provide_pip(parent: str, folder: str) -> None:
    """Creates `pip`: the host's would install into the host's Python."""
    python = os.path.join(folder, "python")
    words = [python, "-m", "pip"]
    has_pip = subprocess.run([*words, "--version"], stdin=subprocess.DEVNULL, capture_output=True, cwd="/")
    if has_pip.returncode:
        words = [parent, "-m", "pip", "--python", python]
    for name in ("pip", "pip3"):
        path = os.path.join(folder, name)
        if not os.path.exists(path):
            with open(path, "w") as handle:
                handle.write(_PIP % join(words))
            os.chmod(path, 0o700)
