"""Running a command on this machine: words in, lines out as they come, both streams read."""

from __future__ import annotations

import contextlib
import subprocess
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from orchestrator import share


@dataclass(frozen=True)
class Done:
    """How a command ended: exit code (negative: a signal), the last of its stderr."""

    code: int
    err: str


def run(
    words: Sequence[str],
    *,
    stdin: bytes = b"",
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    on_line: Callable[[str], None] = lambda line: None,
) -> Done:
    """Blocks until it ended. Raises FileNotFoundError where there is no such command.

    The command is ended with us: an exception (Ctrl-C too) on the way kills it.
    """
    process = subprocess.Popen(
        list(words),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=env,
        cwd=cwd,
    )
    assert process.stdin
    assert process.stdout
    assert process.stderr
    errors: list[bytes] = []
    reader = threading.Thread(target=_drain, args=(process.stderr, errors), daemon=True)
    reader.start()
    try:
        with contextlib.suppress(BrokenPipeError):
            process.stdin.write(stdin)
            process.stdin.close()
        for line in process.stdout:
            on_line(line.decode("utf-8", errors="replace").rstrip("\n"))
        code = process.wait()
        reader.join()
        return Done(code, b"".join(errors)[-8192:].decode("utf-8", errors="replace"))
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
        for stream in (process.stdin, process.stdout, process.stderr):
            with contextlib.suppress(BrokenPipeError):
                stream.close()


def trainers(
    python: str,
    words: Sequence[str],
    env: Mapping[str, str],
    *,
    stdin: bytes = b"",
    on_line: Callable[[str], None] = lambda line: None,
) -> Done:
    """`python -m trainers` where they lie: -m imports from the current folder first, and files of the
    user's there (a random.py) would stand in for modules."""
    home = share.trainers_package().parent
    env = {**env, "PYTHONPATH": str(home)}
    return run([python, "-m", "trainers", *words], stdin=stdin, env=env, cwd=home, on_line=on_line)


def _drain(stream: IO[bytes], into: list[bytes]) -> None:
    with contextlib.suppress(ValueError):
        into.extend(stream)
