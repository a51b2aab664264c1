"""`python startup_filter.py ssh …`: runs ssh for rsync; drops what start-up files print before the mark.

It is run as a script, so it imports the standard library only.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys

MARK = b"\x1egpujob rsync\n"
PRINT_MARK = "printf '\\036gpujob rsync\\n'"  # runs on the host before rsync, in any login shell
LIMIT = 1 << 20  # bytes that start-up files may print
_BLOCK = 1 << 18


def main(words: list[str]) -> int:
    """Runs ssh and prints its stdout after the mark, with stdin and stderr shared; returns its exit code."""
    with subprocess.Popen(words, stdout=subprocess.PIPE) as ssh:
        assert ssh.stdout
        source, out = ssh.stdout.fileno(), sys.stdout.fileno()
        try:
            _write(out, _read_to_mark(source))
            while block := os.read(source, _BLOCK):
                _write(out, block)
        except BrokenPipeError:
            ssh.kill()  # rsync has ended
        return ssh.wait()


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
