"""A running command with its stdin, stdout and exit code, and a reader of its output."""

from __future__ import annotations

import contextlib
import os
import re
import select
import subprocess
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import IO, Protocol

from orchestrator.errors import GpujobError, Unreachable
from orchestrator.process import Done

TIMEOUT = 15.0  # seconds without a byte; a host sends a heartbeat every 2
_BLOCK = 1 << 18
_LONGEST_LINE = 256 << 20  # bytes; the longest answer lists the files of a fetch
_FRAME = re.compile(rb"-?[0-9]{1,18}\n")


class Pipe(Protocol):
    """A running command.

    `write` and `receive` raise Unreachable if the connection broke or is silent too long.
    """

    def wait(self, seconds: float) -> bool:
        """Waits for output or its end; returns whether `receive` would return at once."""

    def write(self, data: bytes) -> None:
        """Writes all of `data` to the command's stdin."""

    def end_input(self) -> None:
        """Closes the command's stdin."""

    def receive(self) -> bytes:
        """Returns some bytes of the command's stdout; empty only at its end."""

    def finish(self) -> Done:
        """Waits until the command has ended; returns its exit code and stderr.

        Call it after the end of stdout.
        """

    def close(self) -> None:
        """Releases the command, whether or not it has ended."""


class Reader:
    """Reads lines, numbers of bytes and frames from a pipe; `before_receive` is called where it may wait."""

    def __init__(self, pipe: Pipe, before_receive: Callable[[], None] = lambda: None) -> None:
        self._pipe = pipe
        self._buffer = bytearray()
        self.before_receive = before_receive

    def line(self) -> bytes:
        """Returns the bytes up to and including the next newline; without a newline only at the end."""
        start = 0
        while (end := self._buffer.find(b"\n", start)) < 0:
            start = len(self._buffer)
            if start > _LONGEST_LINE:
                why = f"a line is longer than {_LONGEST_LINE >> 20} MiB"
                raise GpujobError("the host gave an answer that cannot be used", why, "gpujob doctor")
            if not self._fill():
                return self._take(len(self._buffer))
        return self._take(end + 1)

    def some(self, most: int) -> bytes:
        """Returns available bytes, at most `most`; waits for the first one; empty only at the end."""
        if not self._buffer:
            self._fill()
        return self._take(min(most, len(self._buffer)))

    def frames(self) -> Iterator[bytes]:
        """Yields the payloads of onhost/frames.py, in pieces as they arrive, so that an interruption loses
        none.

        Empty pieces are heartbeats. Raises Unreachable if the stream ends before its last frame.
        """
        while True:
            head = self.line()
            if not head.endswith(b"\n"):
                raise Unreachable("the host stopped sending", "the stream ended before its last frame")
            if not _FRAME.fullmatch(head):
                raise GpujobError("the host sent no frame", repr(head[:80])[1:], "gpujob doctor")
            remaining = int(head)
            if remaining < 0:
                return
            if remaining == 0:
                yield b""
            while remaining:
                piece = self.some(remaining)
                if not piece:
                    raise Unreachable("the host stopped sending", "the stream ended within a frame")
                remaining -= len(piece)
                yield piece

    def _fill(self) -> bool:
        self.before_receive()
        block = self._pipe.receive()
        self._buffer += block
        return bool(block)

    def _take(self, count: int) -> bytes:
        content = bytes(self._buffer[:count])
        del self._buffer[:count]
        return content


class ProcessPipe:
    """A command on this machine. `receive` raises Unreachable after `timeout` seconds without output."""

    def __init__(
        self,
        words: Sequence[str],
        env: Mapping[str, str],
        timeout: float | None = None,
        errors: IO[bytes] | None = None,
    ) -> None:
        self._timeout = timeout
        self._errors: list[bytes] = []
        self._process = subprocess.Popen(
            list(words),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors or subprocess.PIPE,
            env=dict(env),
            start_new_session=True,  # Ctrl-C at the client must not interrupt a start or a stop half way
        )
        self._reader = threading.Thread(target=self._read_errors, daemon=True)
        self._reader.start()

    def wait(self, seconds: float) -> bool:
        assert self._process.stdout
        return bool(select.select([self._process.stdout], [], [], seconds)[0])

    def write(self, data: bytes) -> None:
        assert self._process.stdin
        try:
            self._process.stdin.write(data)
            self._process.stdin.flush()
        except OSError as error:
            raise Unreachable("the connection broke", str(error)) from None

    def end_input(self) -> None:
        assert self._process.stdin
        with contextlib.suppress(OSError):
            self._process.stdin.close()

    def receive(self) -> bytes:
        assert self._process.stdout
        if self._timeout is not None and not self.wait(self._timeout):
            self.close()
            raise Unreachable("the host stopped answering", f"nothing came for {self._timeout:.0f} s")
        return os.read(self._process.stdout.fileno(), _BLOCK)

    def finish(self) -> Done:
        code = self._process.wait()
        self._reader.join()
        self.close()
        return Done.of(code, self._errors)

    def close(self) -> None:
        self.end_input()
        if self._process.poll() is None:
            try:
                self._process.wait(0.5)  # EOF ends a helper, which may complete its work
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        self._reader.join(1.0)
        if self._process.stdout:
            self._process.stdout.close()

    def _read_errors(self) -> None:
        """Reads and closes stderr; `close` would block while an ssh master keeps the other end open."""
        if self._process.stderr:
            with contextlib.suppress(ValueError, OSError), self._process.stderr as errors:
                self._errors.extend(errors)
