"""Runs `ssh …` for rsync and drops what start-up files print before the marker: `python quiet.py ssh …`.

A file of its own, run by itself: standard library alone.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys

MARK = b"\x1egpujob rsync\n"
SAY = "printf '\\036gpujob rsync\\n'"  # what the host says before rsync does, in any login shell
MOST = 1 << 20  # bytes of noise
_BLOCK = 1 << 18


def main(words: list[str]) -> int:
    """ssh's exit code; its stdout from the marker on is ours, stdin and stderr are shared."""
    ssh = subprocess.Popen(words, stdout=subprocess.PIPE)
    assert ssh.stdout
    source, out = ssh.stdout.fileno(), sys.stdout.fileno()
    try:
        _write(out, _after_mark(source))
        while block := os.read(source, _BLOCK):
            _write(out, block)
    except BrokenPipeError:
        ssh.kill()  # rsync is gone
    return ssh.wait()


def _after_mark(source: int) -> bytes:
    """What came along behind the marker; nothing where the stream ends, or never is quiet."""
    seen = b""
    while MARK not in seen and len(seen) < MOST:
        block = os.read(source, _BLOCK)
        if not block:
            return b""
        seen += block
    return seen.partition(MARK)[2]


def _write(out: int, data: bytes) -> None:
    while data:
        data = data[os.write(out, data) :]


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        sys.exit(main(sys.argv[1:]))
    sys.exit(130)
