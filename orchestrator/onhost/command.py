"""`run`: a command on the host; its stdout in frames, its end and the last of its stderr after them."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import threading
from typing import Any, BinaryIO

from orchestrator.onhost import frames


def run(request: dict[str, Any], stdin: BinaryIO, out: BinaryIO) -> None:
    """`request`: words, env (on top of ours), cwd (or null), bytes (of stdin, which follow it).

    When the asker goes away (EOF on our stdin), the command and its children are killed.
    """
    writer = frames.Writer(out)
    given = stdin.read(request["bytes"])
    try:
        child = subprocess.Popen(
            request["words"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**os.environ, **request["env"]},
            cwd=request["cwd"],
            start_new_session=True,
        )
    except OSError as error:
        writer.end(_ended(127, "%s: %s" % (request["words"][0], error)))
        return
    assert child.stdout
    assert child.stderr
    errors: list[bytes] = []
    reader = threading.Thread(target=errors.extend, args=(child.stderr,), daemon=True)
    reader.start()
    threading.Thread(target=_give, args=(child, given), daemon=True).start()
    threading.Thread(target=_kill_at_end, args=(child, stdin), daemon=True).start()
    while True:
        block = os.read(child.stdout.fileno(), 1 << 16)
        if not block:
            break
        writer.write(block)
    code = child.wait()
    reader.join()
    writer.end(_ended(code, b"".join(errors)[-8192:].decode("utf-8", errors="replace")))


def _ended(code: int, err: str) -> bytes:
    return json.dumps({"code": code, "err": err}).encode() + b"\n"


def _give(child: subprocess.Popen[bytes], data: bytes) -> None:
    assert child.stdin
    with contextlib.suppress(OSError):
        child.stdin.write(data)
        child.stdin.close()


def _kill_at_end(child: subprocess.Popen[bytes], stdin: BinaryIO) -> None:
    stdin.read()
    with contextlib.suppress(OSError):
        os.killpg(child.pid, signal.SIGKILL)
