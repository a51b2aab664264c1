"""Python environments below `env/<key>`: a venv over an interpreter that stands, with what it lacks.

Made once per key, under a lock, shared by runs; the file that marks one whole is written last.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
from typing import Any, NamedTuple

from orchestrator.core.layout import Layout
from orchestrator.onhost.answers import Refused

_MARK = "complete"
_LIST = "requirements.txt"
_SITES = (
    "import site, sysconfig; print(sysconfig.get_path('purelib')); print(*site.getsitepackages(), sep='\\n')"
)


class Wanted(NamedTuple):
    """`requirements` is the text of a file for pip, `keep` a version that it may not replace (`torch==2.4`);
    `own`: nothing of what `python` has is seen."""

    key: str
    python: str
    packages: list[str]
    requirements: str = ""
    keep: str = ""
    own: bool = False


def make(layout: Layout, wanted: Wanted) -> dict[str, Any]:
    """The interpreter of `env/<key>`. Refused, with pip's last words, where a package cannot be had."""
    folder = layout.environment(wanted.key)
    os.makedirs(os.path.dirname(folder), mode=0o700, exist_ok=True)
    with open(folder + ".lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not os.path.exists(os.path.join(folder, _MARK)):
            shutil.rmtree(folder, ignore_errors=True)
            _fill(folder, wanted)
            with open(os.path.join(folder, _MARK), "w") as mark:
                mark.write("\n".join(wanted.packages) + "\n")
    return {"python": os.path.join(folder, "bin", "python")}


def _fill(folder: str, wanted: Wanted) -> None:
    sees = [] if wanted.own else ["--system-site-packages"]
    _run([wanted.python, "-m", "venv", "--without-pip", *sees, folder], "python3-venv may be missing there")
    inside = os.path.join(folder, "bin", "python")
    if not wanted.own:
        _see_parent(folder, wanted.python, inside)
    asked = list(wanted.packages)
    for option, name, text in (("-r", _LIST, wanted.requirements), ("-c", "keep.txt", wanted.keep)):
        if text:
            asked += [option, os.path.join(folder, name)]
            with open(os.path.join(folder, name), "w") as file:
                file.write(text)
    if wanted.packages or wanted.requirements:
        _install(wanted.python, inside, asked)


def _install(python: str, inside: str, asked: list[str]) -> None:
    """By the pip that is there: one in the environment takes seconds, and Debian cannot make it by itself."""
    words = ["install", "--quiet", "--disable-pip-version-check", *asked]
    try:
        _run([python, "-m", "pip", "--python", inside, *words], "")
    except Refused as no:
        if not any(said in str(no) for said in ("no such option", "No module named pip")):
            raise
        _run([inside, "-m", "ensurepip"], "python3-venv may be missing there")
        _run([inside, "-m", "pip", *words], "")


def _see_parent(folder: str, python: str, inside: str) -> None:
    """A venv made by a venv sees the system's packages and not its parent's: a .pth file shows those."""
    sites = _run([python, "-c", _SITES], "").split("\n")
    own = _run([inside, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"], "").strip()
    with open(os.path.join(own, "parent.pth"), "w") as handle:
        handle.write("\n".join(dict.fromkeys(site for site in sites if site)) + "\n")


def _run(words: list[str], hint: str) -> str:
    # Elsewhere than where the user stands: -m and -c import from the current folder first.
    done = subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, cwd="/")
    if done.returncode:
        lines = done.stderr.decode(errors="replace").strip().splitlines()
        told = [line for line in lines if line.startswith("ERROR:")] or lines or [hint or "no reason given"]
        raise Refused("environment", "an environment could not be made: %s" % (told[-1] or hint))
    return done.stdout.decode(errors="replace")
