"""Creates environments in `env/<key>`: a venv over an existing interpreter, with the packages it lacks.

Each is created once per key, under a lock, and shared by runs. The file `complete` in it is written last.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from typing import BinaryIO, NamedTuple

from orchestrator.core.layout import Layout
from orchestrator.onhost import files, processes, setup
from orchestrator.onhost.errors import Refused
from orchestrator.onhost.setup import Setup

_COMPLETE = "complete"
_SITE_FOLDERS = (
    "import site, sysconfig; print(sysconfig.get_path('purelib')); print(*site.getsitepackages(), sep='\\n')"
)
_NO_VENV = "python3-venv may not be installed on the host"
_UV = ("~/.local/bin/uv", "~/.cargo/bin/uv")  # where its installer puts it, which may not be on PATH


class Environment(NamedTuple):
    """The environment to create. `requirements`: the text of a requirements file for pip.

    `keep`: a version that pip may not replace (`torch==2.4`). `own`: the packages of `python` are not visible
    in the environment. `setup`: the script to run in it (setup.py); None for none.
    """

    key: str
    python: str
    packages: list[str]
    requirements: str = ""
    keep: str = ""
    own: bool = False
    setup: Setup | None = None


def ensure(layout: Layout, wish: Environment) -> str:
    """Creates `env/<key>` unless it exists; returns the path of its interpreter.

    What pip and the script print goes to `env/<key>.log`. Raises Refused, with the reason, if one fails.
    """
    folder = layout.environment(wish.key)
    complete = os.path.join(folder, _COMPLETE)
    python = os.path.join(folder, "bin", "python")
    with files.lock(folder + ".lock"):
        is_orphaned = os.path.islink(python) and not os.path.exists(python)
        if is_orphaned or not os.path.exists(complete):
            processes.kill_marked(_mark(wish))
            shutil.rmtree(folder, ignore_errors=True)
            with open(layout.environment_log(wish.key), "w+b", buffering=0) as log:
                _create(folder, wish, log)
                if wish.setup:
                    setup.run(layout, folder, wish.python, wish.setup, log, _mark(wish))
            files.write(complete, "\n".join([*wish.packages, ""]).encode())
    return python


def _mark(wish: Environment) -> str:
    """Marks the processes that build an environment: they go on if their helper is killed."""
    return "env-" + wish.key


def _create(folder: str, wish: Environment, log: BinaryIO) -> None:
    site = [] if wish.own else ["--system-site-packages"]
    _run([wish.python, "-m", "venv", "--without-pip", *site, folder], _NO_VENV)
    python = os.path.join(folder, "bin", "python")
    if not wish.own:
        _link_parent(wish.python, python)
    options = []
    for option, name, text in (
        ("-r", "requirements.txt", wish.requirements),
        ("-c", setup.CONSTRAINTS, wish.keep),
    ):
        if text:
            path = os.path.join(folder, name)
            files.write(path, text.encode())
            options += [option, path]
    if wish.packages and "--hash=" in wish.requirements:  # pip wants hashes of all packages or of none
        _install(wish, python, options, log)
        _install(wish, python, wish.packages, log)
    elif wish.packages or wish.requirements:
        _install(wish, python, [*wish.packages, *options], log)


def _install(wish: Environment, python: str, arguments: list[str], log: BinaryIO) -> None:
    """Installs with uv where the host has it, else with the parent's pip.

    uv would install again what the parent has, so it is used for environments of their own alone. To create
    a pip in the environment takes seconds, and is not possible on Debian without python3-venv.
    """
    uv = wish.own and next(
        filter(None, (shutil.which(os.path.expanduser(one)) for one in ("uv", *_UV))), None
    )
    if uv:
        _run([uv, "pip", "install", "--python", python, *arguments], log=log, mark=_mark(wish))
        return
    words = ["install", "--disable-pip-version-check", "--progress-bar", "off", *arguments]
    try:
        _run([wish.python, "-m", "pip", "--python", python, *words], log=log, mark=_mark(wish))
    except Refused as error:
        if not any(text in str(error) for text in ("no such option", "No module named pip")):
            raise
        _run([python, "-m", "ensurepip"], _NO_VENV)
        _run([python, "-m", "pip", *words], log=log, mark=_mark(wish))


def _link_parent(parent: str, python: str) -> None:
    """Makes the parent's packages visible by a .pth file: a venv of a venv sees only the system's."""
    folders = _run([parent, "-c", _SITE_FOLDERS]).split("\n")
    own = _run([python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"]).strip()
    paths = dict.fromkeys(folder for folder in folders if folder)
    files.write(os.path.join(own, "parent.pth"), "\n".join([*paths, ""]).encode())


def _run(words: list[str], hint: str = "", log: BinaryIO | None = None, mark: str = "") -> str:
    """Returns the stdout of a command, unless it goes to `log`. Raises Refused if it fails."""
    # Run in `/`, because -m and -c import from the current folder first.
    start = log.tell() if log else 0
    out, err = (log, subprocess.STDOUT) if log else (subprocess.PIPE, subprocess.PIPE)
    environment = {**os.environ, "GPUJOB_MARK": mark}
    process = subprocess.run(
        words, stdin=subprocess.DEVNULL, stdout=out, stderr=err, cwd="/", env=environment
    )
    if log:
        log.seek(0, os.SEEK_END)
    if process.returncode:
        printed = setup.printed(log, start) if log else process.stderr
        lines = printed.decode(errors="replace").strip().splitlines()
        reasons = [line for line in lines if line.startswith(("ERROR:", "error:"))] or lines
        reason = (reasons or [hint or "no reason given"])[-1] or hint
        raise Refused("environment", "the Python environment could not be created: %s" % reason)
    return "" if log else process.stdout.decode(errors="replace")
