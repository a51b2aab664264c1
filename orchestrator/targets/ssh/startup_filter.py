"""`python startup_filter.py ssh …`: runs ssh for rsync; keeps what the host's start-up files do from it.

What they print before the mark is dropped, and they find nothing to read: stdin is passed on after the mark.

It is run as a script, so it imports the standard library only.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import threading
from typing import IO

MARK = b"\x1egpujob rsync\n"
RSYNC = r"""exec /bin/sh -c 'printf "\\036gpujob rsync\n"; exec rsync "$@"' rsync"""
"""What runs on the host in place of `rsync`, in any login shell and whatever that prints at each command."""
LIMIT = 1 << 20  # bytes that start-up files may print
_BLOCK = 1 << 18


def main(words: list[str]) -> int:
    """Runs ssh; passes on its stdout and stdin after the mark, and its stderr; returns its exit code."""
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as ssh:
        assert ssh.stdin
        assert ssh.stdout
        source, out = ssh.stdout.fileno(), sys.stdout.fileno()
        try:
            _write(out, _read_to_mark(source))
            threading.Thread(target=_pass_on, args=(ssh.stdin,), daemon=True).start()
            while block := os.read(source, _BLOCK):
                _write(out, block)
        except BrokenPipeError:
            ssh.kill()  # rsync has ended
        return ssh.wait()


def _pass_on(ssh: IO[bytes]) -> None:
    """Copies stdin to ssh, up to its end."""
    with contextlib.suppress(OSError, ValueError), ssh:
        while block := os.read(sys.stdin.fileno(), _BLOCK):
            _write(ssh.fileno(), block)


def _read_to_mark(source: int) -> bytes:
    """Reads up to the mark; returns the bytes that were read after it, empty if the mark is missing."""
    content = b""
    while MARK not in content and len(content) < LIMIT:
        block = os.read(source, _BLOCK)
        if not block:
            return b""
        content += block
    return content.partition(MARK)[2]


def _write(out: int, data: bytes) -> None:
    while data:
        data = data[os.write(out, data) :]


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        sys.exit(main(sys.argv[1:]))
    sys.exit(130)
