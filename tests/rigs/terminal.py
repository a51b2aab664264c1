"""Terminals: a pseudo-terminal that keeps what programs write to it, and one of tmux with keys and a size."""

from __future__ import annotations

import contextlib
import os
import pty
import shlex
import subprocess
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from tests.rigs.patience import wait_until


@contextlib.contextmanager
def recorded() -> Iterator[tuple[int, list[bytes]]]:
    """Yield the terminal's descriptor and what it received, which is complete after the block."""
    ours, theirs = pty.openpty()
    received: list[bytes] = []

    def read() -> None:
        try:
            while block := os.read(ours, 1 << 16):
                received.append(block)
        except OSError:  # how a terminal ends
            return

    reader = threading.Thread(target=read)
    reader.start()
    try:
        yield theirs, received
    finally:
        os.close(theirs)
        reader.join()
        os.close(ours)


class Screen:
    """A terminal of tmux. The command runs in a shell, which then shows exit code and terminal mode."""

    def __init__(self, socket: Path, words: Sequence[str], env: Mapping[str, str], cwd: Path) -> None:
        self._tmux = ["tmux", "-f", "/dev/null", "-S", str(socket)]
        self._env = {**env, "TERM": "xterm-256color", "TMUX": ""}
        after = "echo exit=$?; stty -a | grep -oE -- '-?(icanon|echo) ' | xargs; sleep 3600"
        shell = ["sh", "-c", f"trap : INT; {shlex.join(words)}; {after}"]
        self._run("new-session", "-d", "-x", "100", "-y", "30", "-s", "screen", *shell, cwd=cwd)
        self._run("set", "-g", "status", "off")

    def _run(self, *words: str, cwd: Path | None = None) -> str:
        done = subprocess.run(
            [*self._tmux, *words], env=self._env, cwd=cwd, check=True, capture_output=True, text=True
        )
        return done.stdout

    @property
    def text(self) -> str:
        return self._run("capture-pane", "-p", "-t", "screen")

    def press(self, *keys: str) -> None:
        """Keys as tmux names them: `1`, `Enter`, `C-c`."""
        self._run("send-keys", "-t", "screen", *keys)

    def resize(self, width: int, height: int) -> None:
        self._run("resize-window", "-t", "screen", "-x", str(width), "-y", str(height))

    def shows(self, *parts: str) -> str:
        """Wait until all parts are on the screen; its text."""

        def found() -> str:
            text = self.text
            return text if all(part in text for part in parts) else ""

        try:
            return wait_until(found, f"{parts} on the screen")
        except AssertionError as error:
            raise AssertionError(f"{error}; it shows:\n{self.text}") from None

    def close(self) -> None:
        subprocess.run([*self._tmux, "kill-server"], env=self._env, capture_output=True, check=False)


@contextlib.contextmanager
def screen(socket: Path, words: Sequence[str], env: Mapping[str, str], cwd: Path) -> Iterator[Screen]:
    opened = Screen(socket, words, env, cwd)
    try:
        yield opened
    finally:
        opened.close()
