"""The files that go to `onhost/<hash>`: helper and supervisor, with the pure rooms they stand on."""

from __future__ import annotations

import hashlib
import os
import shutil
from functools import cache
from pathlib import Path

_PACKAGE = Path(__file__).parent.parent
_CORE = ("__init__.py", "codetree.py", "layout.py", "paths.py", "shell.py", "tmux.py")
_ROOMS = ("__init__.py", *(f"core/{name}" for name in _CORE))
_MAIN = "import sys\nfrom orchestrator.onhost.helper import main\nsys.exit(main(sys.argv[1:]))\n"


@cache
def files() -> dict[str, bytes]:
    """Relative path to content; running the folder with `python3 -I FOLDER VERB …` runs the helper."""
    ours = [_PACKAGE / room for room in _ROOMS] + sorted((_PACKAGE / "onhost").glob("*.py"))
    found = {f"orchestrator/{path.relative_to(_PACKAGE).as_posix()}": path.read_bytes() for path in ours}
    return {"__main__.py": _MAIN.encode(), **found}


@cache
def digest() -> str:
    whole = hashlib.sha256()
    for name, content in sorted(files().items()):
        whole.update(name.encode() + b"\0" + content + b"\0")
    return whole.hexdigest()[:16]


def lay_out(onhost: Path) -> Path:
    """`onhost/<hash>` on this machine, made once and whole."""
    folder = onhost / digest()
    if folder.is_dir():
        return folder
    partial = onhost / f"{digest()}.{os.getpid()}.partial"
    for name, content in files().items():
        (partial / name).parent.mkdir(parents=True, exist_ok=True)
        (partial / name).write_bytes(content)
    try:
        partial.rename(folder)
    except OSError:  # another client was first
        shutil.rmtree(partial, ignore_errors=True)
    return folder
