"""Runs a command for a client: sends its stdout in frames, then its exit code and the end of its stderr."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import threading
from typing import BinaryIO

from orchestrator.core import jsontext
from orchestrator.onhost import frames

_NOT_FOUND = 127  # the exit code of a shell for a command that cannot be run
_STDERR_BYTES = 8192


def run(request: jsontext.Object, stdin: BinaryIO, out: BinaryIO) -> None:
    """Runs the command of a request: words, env (added to the helper's), cwd (or null), bytes (of its stdin).

    The command's stdin follows the request. When the client disconnects (EOF on the helper's stdin), the
    command and its children are killed.
    """
    writer = frames.Writer(out)
    words = request.texts("words")
    content = stdin.read(request.integer("bytes") or 0)
    try:
        child = subprocess.Popen(
            words,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**os.environ, **request.child("env").all_texts()},
            cwd=request.text("cwd"),
            start_new_session=True,
        )
    except OSError as error:
        writer.end(_result(_NOT_FOUND, "%s: %s" % (words[0], error)))
        return
    stdout, stderr = child.stdout, child.stderr
    assert stdout
    assert stderr
    errors: list[bytes] = []
    reader = threading.Thread(target=errors.extend, args=(stderr,), daemon=True)
    reader.start()
    threading.Thread(target=_write_stdin, args=(child, content), daemon=True).start()
    threading.Thread(target=_kill_at_end_of, args=(stdin, child), daemon=True).start()
    for block in iter(lambda: os.read(stdout.fileno(), 1 << 16), b""):
        writer.write(block)
    code = child.wait()
    reader.join()
    writer.end(_result(code, b"".join(errors)[-_STDERR_BYTES:].decode("utf-8", errors="replace")))


def _result(code: int, err: str) -> bytes:
    return json.dumps({"code": code, "err": err}).encode() + b"\n"


def _write_stdin(child: subprocess.Popen[bytes], content: bytes) -> None:
    assert child.stdin
    with contextlib.suppress(OSError):
        child.stdin.write(content)
        child.stdin.close()


def _kill_at_end_of(stdin: BinaryIO, child: subprocess.Popen[bytes]) -> None:
    stdin.read()
    with contextlib.suppress(OSError):
        os.killpg(child.pid, signal.SIGKILL)
