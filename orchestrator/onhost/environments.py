"""Python environments below `env/<key>`: a venv over an interpreter that stands, with what it lacks.

Made once per key, under a lock, shared by runs; the file that marks one whole is written last.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
from typing import Any

from orchestrator.core.layout import Layout
from orchestrator.onhost.answers import Refused

_MARK = "complete"
_SITES = (
    "import site, sysconfig; print(sysconfig.get_path('purelib')); print(*site.getsitepackages(), sep='\\n')"
)


def make(layout: Layout, key: str, python: str, packages: list[str]) -> dict[str, Any]:
    """The interpreter of `env/<key>`. Refused, with pip's last words, where a package cannot be had."""
    folder = layout.environment(key)
    os.makedirs(os.path.dirname(folder), mode=0o700, exist_ok=True)
    with open(folder + ".lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not os.path.exists(os.path.join(folder, _MARK)):
            shutil.rmtree(folder, ignore_errors=True)
            _fill(folder, python, packages)
            with open(os.path.join(folder, _MARK), "w") as mark:
                mark.write("\n".join(packages) + "\n")
    return {"python": os.path.join(folder, "bin", "python")}


def _fill(folder: str, python: str, packages: list[str]) -> None:
    _run([python, "-m", "venv", "--system-site-packages", folder], "python3-venv may be missing there")
    inside = os.path.join(folder, "bin", "python")
    _see_parent(folder, python, inside)
    if packages:
        _run([inside, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *packages], "")


def _see_parent(folder: str, python: str, inside: str) -> None:
    """A venv made by a venv sees the system's packages and not its parent's: a .pth file shows those."""
    sites = _run([python, "-c", _SITES], "").split("\n")
    own = _run([inside, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"], "").strip()
    with open(os.path.join(own, "parent.pth"), "w") as handle:
        handle.write("\n".join(dict.fromkeys(site for site in sites if site)) + "\n")


def _run(words: list[str], hint: str) -> str:
    done = subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True)
    if done.returncode:
        last = (done.stderr.decode(errors="replace").strip().splitlines() or [hint or "no reason given"])[-1]
        raise Refused("environment", "an environment could not be made: %s" % (last or hint))
    return done.stdout.decode(errors="replace")
