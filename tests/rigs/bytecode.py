"""The helper with its byte code, for hosts of tests.

Each new host compiles the helper at the first command, for a third of a CPU second, and most tests have a new
host. What is written and sent here differs from the real thing by the byte code alone.
"""

from __future__ import annotations

import compileall
import contextlib
import functools
import io
import os
import shutil
import tarfile
import tempfile
import threading
from pathlib import Path
from py_compile import PycInvalidationMode

import pytest

from orchestrator.targets import helper_host
from orchestrator.targets.ssh import bootstrap

_install = helper_host.install


def use(monkeypatch: pytest.MonkeyPatch) -> None:
    """Install and send the helper with its byte code from now on, in commands run in this process."""
    monkeypatch.setattr(helper_host, "install", install)
    monkeypatch.setattr(bootstrap, "bundle_archive", archive)


@functools.cache
def bundle() -> Path:
    """A folder as `helper_host.install` makes it, compiled; its files are as old as those of an archive."""
    folder = Path(tempfile.mkdtemp(prefix="gj-helper-"))
    made = _install(folder)
    for source in made.rglob("*.py"):
        os.utime(source, (0, 0))
    assert compileall.compile_dir(made, quiet=2, invalidation_mode=PycInvalidationMode.TIMESTAMP)
    return made


def close() -> None:
    """Remove the folder of `bundle`. Processes of pytest-xdist end without their exit functions."""
    if bundle.cache_info().currsize:
        shutil.rmtree(bundle().parent)
        bundle.cache_clear()


def install(onhost: Path) -> Path:
    folder = onhost / helper_host.digest()
    if onhost.is_dir() and not folder.exists():
        partial = onhost / f"{folder.name}.{os.getpid()}.{threading.get_ident()}"
        shutil.copytree(bundle(), partial)
        with contextlib.suppress(OSError):  # another thread or process was first
            partial.rename(folder)
        shutil.rmtree(partial, ignore_errors=True)
    return _install(onhost)


@functools.cache
def archive() -> bytes:
    """What `bootstrap.bundle_archive` returns, and the byte code."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz", compresslevel=1) as tar:
        for path in sorted(path for path in bundle().rglob("*") if path.is_file()):
            entry = tarfile.TarInfo(str(path.relative_to(bundle())))
            entry.size, entry.mode = path.stat().st_size, 0o644
            tar.addfile(entry, io.BytesIO(path.read_bytes()))
    return out.getvalue()
