"""The files that are sent to `onhost/<hash>`: helper, supervisor, and the parts of core/ that they use."""

from __future__ import annotations

import hashlib
import os
import shutil
from functools import cache
from pathlib import Path

_PACKAGE = Path(__file__).parent.parent
_CORE = ("__init__.py", "codetree.py", "layout.py", "paths.py", "shell.py", "tmux.py")
_MAIN = "import sys\nfrom orchestrator.onhost.helper import main\nsys.exit(main(sys.argv[1:]))\n"


@cache
def files() -> dict[str, bytes]:
    """Relative path to content; `python3 -I FOLDER MODE …` runs the helper."""
    paths = [_PACKAGE / "__init__.py", *(_PACKAGE / "core" / name for name in _CORE)]
    paths += sorted((_PACKAGE / "onhost").glob("*.py"))
    modules = {f"orchestrator/{path.relative_to(_PACKAGE).as_posix()}": path.read_bytes() for path in paths}
    return {"__main__.py": _MAIN.encode(), **modules}


@cache
def digest() -> str:
    """Names the version of the helper."""
    sha256 = hashlib.sha256()
    for name, content in sorted(files().items()):
        sha256.update(name.encode() + b"\0" + content + b"\0")
    return sha256.hexdigest()[:16]


def install(onhost: Path) -> Path:
    """`onhost/<hash>` on this machine, created once and atomically."""
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
