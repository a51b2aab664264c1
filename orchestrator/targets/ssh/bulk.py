"""Files in bulk: rsync over OpenSSH, with the same keys and the same known_hosts; resumable."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

from orchestrator import process
from orchestrator.context import Context
from orchestrator.core import shell
from orchestrator.errors import GpujobError, Unreachable
from orchestrator.targets.ssh import localrsync, openssh_link, quiet
from orchestrator.targets.ssh.address import Resolved

_TRANSPORT = (10, 12, 20, 30, 35, 255)  # rsync's codes for a line that broke: worth another try
_PAUSES = (0.5, 2.0, 5.0, 10.0)
_NO_ACCESS = re.compile(r"verification failed|Permission denied \((?!\d)")  # a number is a file's errno
_FOR_GOOD = re.compile(rf"command not found|{_NO_ACCESS.pattern}")  # whatever the code
_DISTURBED = ("protocol incompatibility", "is your shell clean")
_MOVED = re.compile(r"\s*([\d,]+)\s+\d+%")


class Rsync:
    """rsync to and from one host; connections of one command share a master."""

    def __init__(self, ctx: Context, resolved: Resolved) -> None:
        self._ctx = ctx
        self._resolved = resolved
        self.noisy = False  # whether start-up files of the host print text

    def upload(
        self, options: list[str], names: list[str] | None, source: Path, to: str, moved: Callable[[int], None]
    ) -> None:
        """`source/` into the host's folder `to`; `names`: these files alone (any bytes but NUL)."""
        self._again([*options], names, f"{source}/", f"{self._there}:{to}/", moved)

    def download(self, names: list[str], folder: str, to: Path, moved: Callable[[int], None]) -> None:
        """Files of the host's `folder`, by name, into `to`; a part that stands there is continued."""
        options = ["--partial", "--append-verify", "--no-relative"]
        self._again(options, names, f"{self._there}:{folder}/", f"{to}/", moved)

    @property
    def _there(self) -> str:
        """The destination as rsync wants it: an IPv6 address would hold colons of its own."""
        last = self._resolved.typed.words()[-1]
        user, at, host = last.rpartition("@")
        return f"{user}{at}[{host}]" if ":" in host else last

    def _again(
        self, options: list[str], names: list[str] | None, source: str, to: str, moved: Callable[[int], None]
    ) -> None:
        localrsync.require(self._ctx)
        for pause in (*_PAUSES, None):
            done = self._once(options, names, source, to, moved)
            if done.code == 0:
                return
            if not self.noisy and any(words in done.err for words in _DISTURBED):
                self.noisy = True
                continue
            if done.code not in _TRANSPORT or _FOR_GOOD.search(done.err):
                raise self._failed(done)
            if pause is None:
                raise Unreachable(
                    f"the transfer with {self._resolved.typed.label} broke off", _last(done.err)
                )
            self._ctx.sleep(pause)

    def _once(
        self, options: list[str], names: list[str] | None, source: str, to: str, moved: Callable[[int], None]
    ) -> process.Done:
        there = self._resolved.typed.words()[:-1]
        over = openssh_link.ssh_words(self._ctx, self._resolved) + openssh_link.control() + there
        given = ["--files-from=-", "--from0"] if names is not None else []
        progress = ["--info=progress2", "--no-inc-recursive", "--outbuf=L", "--timeout=30", "-s"]
        if self.noisy:
            over = [self._ctx.python, "-I", quiet.__file__, *over]
            options = [*options, f"--rsync-path={quiet.SAY}; exec rsync"]
        words = ["rsync", *options, *given, *progress, "-e", shell.join(over), source, to]
        # Without the ./ a name that begins with # or ; would be a comment.
        stdin = b"\0".join(b"./" + name.encode("utf-8", "surrogateescape") for name in names or [])
        count = _Counter(moved)
        return process.run(words, stdin=stdin, env=self._ctx.env, on_line=count.line)

    def _failed(self, done: process.Done) -> GpujobError:
        label = self._resolved.typed.label
        if "command not found" in done.err or "not found" in done.err:
            return GpujobError(
                f"rsync is not installed on {label}", "", "there: sudo apt-get install -y rsync"
            )
        if _NO_ACCESS.search(done.err):
            return openssh_link.explain(self._ctx, self._resolved, done.err)
        if "No space left on device" in done.err or "Disk quota exceeded" in done.err:
            why = next(line for line in done.err.splitlines() if "No space" in line or "quota" in line)
            return GpujobError(f"a disk is full: {self._resolved.typed.label}, or here", why)
        if any(words in done.err for words in _DISTURBED):
            why = "its start-up files (~/.bashrc) print text, also where nobody reads it"
            return GpujobError(
                f"rsync with {label} is disturbed", why, "let them print in interactive shells only"
            )
        return GpujobError(f"rsync with {label} failed (code {done.code})", _last(done.err))


class _Counter:
    """rsync's `\\r`-separated totals → how many bytes came since the last."""

    def __init__(self, moved: Callable[[int], None]) -> None:
        self._moved = moved
        self._before = 0

    def line(self, text: str) -> None:
        for part in text.split("\r"):
            found = _MOVED.match(part)
            if found:
                total = int(found.group(1).replace(",", ""))
                self._moved(total - self._before)
                self._before = total


def _last(text: str) -> str:
    """The last reason; rsync closes with a line that only says where in its source it gave up."""
    lines = [line for line in text.splitlines() if line.strip()]
    reasons = [line for line in lines if not line.startswith("rsync error: ")]
    return (reasons or lines or ["it gave no reason"])[-1]
