"""Forks helpers: `python -I -X utf8 helperserver.py BUNDLE` (see forkedhelper.py).

It forks one helper for each message on its standard input, a socket, and ends with it. A message is JSON with
four file descriptors: the three standard ones, and a socket that gets two lines, the number of the process
and, in the end, its wait status.
"""

from __future__ import annotations

import atexit
import contextlib
import gc
import importlib
import json
import os
import select
import signal
import socket
import sys
import threading
import traceback
from pathlib import Path
from typing import Any

LONGEST = 1 << 17  # bytes of a message
_MAIN = "orchestrator.onhost.modes"


def serve(bundle: str) -> None:
    """Forks helpers until standard input ends."""
    sys.path.insert(0, bundle)
    for module in Path(bundle, "orchestrator", "onhost").glob("[!_]*.py"):
        importlib.import_module(f"orchestrator.onhost.{module.stem}")
    gc.collect()
    gc.freeze()  # the pages of what is imported stay shared
    requests = socket.socket(fileno=os.dup(0))
    woken, wake = os.pipe()
    os.set_blocking(wake, False)
    signal.set_wakeup_fd(wake)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    running: dict[int, int] = {}
    while True:
        ready, _, _ = select.select([requests, woken], [], [])
        if woken in ready:
            os.read(woken, 1 << 10)
            _reap(running)
        if requests in ready:
            message, fds, _, _ = socket.recv_fds(requests, LONGEST, 4)
            if not message:
                return
            pid = os.fork()
            if pid == 0:
                _become_helper(json.loads(message), fds)
            running[pid] = fds[3]
            for fd in fds[:3]:
                os.close(fd)
            os.write(fds[3], b"%d\n" % pid)


def _reap(running: dict[int, int]) -> None:
    """Reports the helpers that have ended."""
    while running:
        pid, status = os.waitpid(-1, os.WNOHANG)
        if pid == 0:
            return
        line = running.pop(pid)
        with contextlib.suppress(OSError):  # nobody waits for it any more
            os.write(line, b"%d\n" % status)
        os.close(line)


def _become_helper(request: dict[str, Any], fds: list[int]) -> None:
    """Sets this process up as a new Python would be, and runs the helper to its end."""
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    os.setsid()
    for target, fd in enumerate(fds[:3]):
        os.dup2(fd, target)
    os.closerange(3, os.sysconf("SC_OPEN_MAX"))
    os.environ.clear()
    os.environ.update(request["env"])
    os.umask(request["umask"])
    os.chdir(request["cwd"])
    python, bundle, *words = request["words"]
    sys.executable, sys.argv, sys.path[0] = python, [bundle, *words], bundle
    interpreters = importlib.import_module("orchestrator.onhost.interpreters")
    interpreters.__file__ = f"{bundle}/orchestrator/onhost/interpreters.py"
    code = 1
    try:
        code = importlib.import_module(_MAIN).main(words)
        threading._shutdown()  # type: ignore[attr-defined]
        atexit._run_exitfuncs()
        sys.stdout.flush()
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        traceback.print_exc()
    os._exit(code & 0xFF)


if __name__ == "__main__":
    serve(sys.argv[1])
