"""A command that runs somewhere, as two streams: bytes in, bytes out, and how it ended."""

from __future__ import annotations

import contextlib
import os
import select
import subprocess
import threading
from collections.abc import Mapping, Sequence
from typing import IO, Protocol

from orchestrator.errors import Unreachable
from orchestrator.process import Done

_BLOCK = 1 << 18


class Pipe(Protocol):
    """One command. Reading may raise Unreachable: nothing came for too long, or the link broke."""

    def write(self, data: bytes) -> None:
        """All of `data` to the command's stdin."""

    def end_input(self) -> None:
        """EOF on the command's stdin."""

    def receive(self) -> bytes:
        """Some bytes of its stdout; empty at its end."""

    def finish(self) -> Done:
        """Waits for its end. Call it after `receive` gave nothing."""

    def close(self) -> None:
        """Lets it go, whatever it does."""


class Reader:
    """Lines and counts out of a pipe's bytes."""

    def __init__(self, pipe: Pipe) -> None:
        self._pipe = pipe
        self._held = bytearray()

    def line(self) -> bytes:
        """Up to and with the next newline; less only at the end."""
        start = 0
        while (at := self._held.find(b"\n", start)) < 0:
            start = len(self._held)
            if not self._more():
                return self._take(len(self._held))
        return self._take(at + 1)

    def some(self, most: int) -> bytes:
        """What there is, up to `most` bytes; waits for the first; empty only at the end."""
        if not self._held:
            self._more()
        return self._take(min(most, len(self._held)))

    def _more(self) -> bool:
        got = self._pipe.receive()
        self._held += got
        return bool(got)

    def _take(self, count: int) -> bytes:
        taken = bytes(self._held[:count])
        del self._held[:count]
        return taken


class ProcessPipe:
    """A command of this machine; `patience`: seconds without a byte until the link counts as dead."""

    def __init__(
        self,
        words: Sequence[str],
        env: Mapping[str, str],
        patience: float | None = None,
        errors: IO[bytes] | None = None,
    ) -> None:
        self._patience = patience
        self._errors: list[bytes] = []
        self._process = subprocess.Popen(
            list(words),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors or subprocess.PIPE,
            env=dict(env),
            start_new_session=True,  # Ctrl-C at the client must not cut a start or a stop in half
        )
        self._drain = threading.Thread(target=self._keep_errors, daemon=True)
        self._drain.start()

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
        out = self._process.stdout.fileno()
        if self._patience is not None and not select.select([out], [], [], self._patience)[0]:
            self.close()
            raise Unreachable("the host stopped answering", f"nothing came for {self._patience:.0f} s")
        return os.read(out, _BLOCK)

    def finish(self) -> Done:
        code = self._process.wait()
        self._drain.join()
        self.close()
        return Done(code, b"".join(self._errors)[-8192:].decode("utf-8", errors="replace"))

    def close(self) -> None:
        self.end_input()
        if self._process.poll() is None:
            try:
                self._process.wait(0.5)  # EOF ends a helper: it may finish what it does
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        self._drain.join(1.0)
        if self._process.stdout:
            self._process.stdout.close()

    def _keep_errors(self) -> None:
        """Closes stderr itself: while a master holds its other end, `close` would wait for that."""
        if self._process.stderr:
            with contextlib.suppress(ValueError, OSError), self._process.stderr as errors:
                self._errors.extend(errors)
