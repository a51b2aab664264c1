"""Running a command on this machine; both of its output streams are read while it runs."""

from __future__ import annotations

import contextlib
import subprocess
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import IO

import msgspec

from orchestrator import files

_STDERR_BYTES = 8192


class Done(msgspec.Struct, frozen=True):
    """How a command ended: exit code (negative: a signal), the end of its stderr, its stdout if captured."""

    code: int
    err: str
    out: bytes = b""

    @classmethod
    def of(cls, code: int, errors: Iterable[bytes], out: bytes = b"") -> Done:
        """`errors`: all of stderr."""
        return cls(code, b"".join(errors)[-_STDERR_BYTES:].decode("utf-8", errors="replace"), out)

    @property
    def reason(self) -> str:
        """The last line of its stderr, else its exit code."""
        return self.last_error or f"it ended with exit code {self.code}"

    @property
    def last_error(self) -> str:
        """The last line of its stderr; empty if there is none."""
        return (self.err.strip().splitlines() or [""])[-1]


def capture(
    words: Sequence[str],
    *,
    env: Mapping[str, str] | None = None,
    on_terminal: bool = False,
    seconds: float | None = None,
) -> Done:
    """Runs a short command to its end. Raises OSError if it cannot be started, TimeoutExpired if it is late.

    `on_terminal`: it has the stdin and stdout of gpujob itself, so that it can ask for a password.
    """
    stdin, stdout = (None, None) if on_terminal else (subprocess.DEVNULL, subprocess.PIPE)
    process = subprocess.run(
        list(words), stdin=stdin, stdout=stdout, stderr=subprocess.PIPE, env=env, check=False, timeout=seconds
    )
    return Done.of(process.returncode, [process.stderr], process.stdout or b"")


def run(
    words: Sequence[str],
    *,
    stdin: bytes = b"",
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    on_line: Callable[[str], None] = lambda line: None,
) -> Done:
    """Runs a command to its end; `on_line` gets its stdout. Raises OSError if it cannot be started.

    The command is killed if this function is left by an exception, Ctrl-C included.
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
    reader = threading.Thread(target=_read, args=(process.stderr, errors), daemon=True)
    reader.start()
    try:
        with contextlib.suppress(BrokenPipeError):
            process.stdin.write(stdin)
            process.stdin.close()
        for line in process.stdout:
            on_line(line.decode("utf-8", errors="replace").rstrip("\n"))
        code = process.wait()
        reader.join()
        return Done.of(code, errors)
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
    """`python -m trainers`, in the folder of that package: -m imports from the current folder first, and
    files of the user's there (a random.py) would shadow modules."""
    folder = files.trainers_folder().parent
    env = {**env, "PYTHONPATH": str(folder)}
    return run([python, "-m", "trainers", *words], stdin=stdin, env=env, cwd=folder, on_line=on_line)


def _read(stream: IO[bytes], into: list[bytes]) -> None:
    with contextlib.suppress(ValueError):
        into.extend(stream)
