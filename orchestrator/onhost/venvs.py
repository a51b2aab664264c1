"""Creates environments in `env/<key>`: a venv over an existing interpreter, with the packages it lacks.

Each is created once per key, under a lock, and shared by runs. The file `complete` in it is written last.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from typing import NamedTuple

from orchestrator.core.layout import Layout
from orchestrator.onhost import files
from orchestrator.onhost.errors import Refused

_COMPLETE = "complete"
_SITE_FOLDERS = (
    "import site, sysconfig; print(sysconfig.get_path('purelib')); print(*site.getsitepackages(), sep='\\n')"
)
_NO_VENV = "python3-venv may not be installed on the host"


class Environment(NamedTuple):
    """The environment to create. `requirements`: the text of a requirements file for pip.

    `keep`: a version that pip may not replace (`torch==2.4`). `own`: the packages of `python` are not visible
    in the environment.
    """

    key: str
    python: str
    packages: list[str]
    requirements: str = ""
    keep: str = ""
    own: bool = False


def ensure(layout: Layout, wish: Environment) -> str:
    """Creates `env/<key>` unless it exists; returns the path of its interpreter.

    Raises Refused, with pip's error, if a package cannot be installed.
    """
    folder = layout.environment(wish.key)
    complete = os.path.join(folder, _COMPLETE)
    with files.lock(folder + ".lock"):
        if not os.path.exists(complete):
            shutil.rmtree(folder, ignore_errors=True)
            _create(folder, wish)
            files.write(complete, "\n".join([*wish.packages, ""]).encode())
    return os.path.join(folder, "bin", "python")


def _create(folder: str, wish: Environment) -> None:
    site = [] if wish.own else ["--system-site-packages"]
    _run([wish.python, "-m", "venv", "--without-pip", *site, folder], _NO_VENV)
    python = os.path.join(folder, "bin", "python")
    if not wish.own:
        _link_parent(wish.python, python)
    arguments = list(wish.packages)
    for option, name, text in (
        ("-r", "requirements.txt", wish.requirements),
        ("-c", "constraints.txt", wish.keep),
    ):
        if text:
            path = os.path.join(folder, name)
            files.write(path, text.encode())
            arguments += [option, path]
    if wish.packages or wish.requirements:
        _install(wish.python, python, arguments)


def _install(parent: str, python: str, arguments: list[str]) -> None:
    """Installs with the parent's pip.

    To create one in the environment takes seconds, and is not possible on Debian without python3-venv.
    """
    words = ["install", "--quiet", "--disable-pip-version-check", *arguments]
    try:
        _run([parent, "-m", "pip", "--python", python, *words])
    except Refused as error:
        if not any(text in str(error) for text in ("no such option", "No module named pip")):
            raise
        _run([python, "-m", "ensurepip"], _NO_VENV)
        _run([python, "-m", "pip", *words])


def _link_parent(parent: str, python: str) -> None:
    """Makes the parent's packages visible by a .pth file: a venv of a venv sees only the system's."""
    folders = _run([parent, "-c", _SITE_FOLDERS]).split("\n")
    own = _run([python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"]).strip()
    paths = dict.fromkeys(folder for folder in folders if folder)
    files.write(os.path.join(own, "parent.pth"), "\n".join([*paths, ""]).encode())


def _run(words: list[str], hint: str = "") -> str:
    # Run in `/`, because -m and -c import from the current folder first.
    process = subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, cwd="/")
    if process.returncode:
        lines = process.stderr.decode(errors="replace").strip().splitlines()
        reasons = [line for line in lines if line.startswith("ERROR:")] or lines
        reason = (reasons or [hint or "no reason given"])[-1] or hint
        raise Refused("environment", "the Python environment could not be created: %s" % reason)
    return process.stdout.decode(errors="replace")
