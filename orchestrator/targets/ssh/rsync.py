"""Transfers files with rsync over OpenSSH, with the same keys and known_hosts; resumes partial files."""

from __future__ import annotations

import errno
import os
import re
import shutil
from collections.abc import Callable
from functools import cache
from pathlib import Path

from orchestrator import process
from orchestrator.context import Context
from orchestrator.core import shell
from orchestrator.errors import GpujobError, Unreachable
from orchestrator.onhost import folders
from orchestrator.process import Done
from orchestrator.targets.ssh import startup_filter
from orchestrator.targets.ssh.address import Resolved, doctor
from orchestrator.targets.ssh.bootstrap import FOR_TERMINALS
from orchestrator.targets.ssh.openssh import OpenSSH

NAME = "rsync here"
OLDEST = (3, 1)  # the first version with --info=progress2 and --outbuf
_VERSION = re.compile(r"rsync version v?(\d+)\.(\d+)")
_CONNECTION_LOST = (10, 12, 20, 30, 35, 255)  # rsync's exit codes after which another attempt may succeed
_FULL = {"No space left on device": errno.ENOSPC, "Disk quota exceeded": errno.EDQUOT}
_SILENT = 30  # that of a connection without a byte: start-up files may have read what rsync sent first
_PAUSES = (0.5, 2.0, 5.0, 10.0)  # seconds before each new attempt
# "Permission denied (13)" has the errno of a file: it does not refuse the login.
_NO_ACCESS = re.compile(r"verification failed|Permission denied \((?!\d)")
# Not retried, whatever the exit code.
_PERMANENT = re.compile("|".join(("command not found", _NO_ACCESS.pattern, *_FULL)))
_UNCLEAN = ("protocol incompatibility", "is your shell clean")
_PROGRESS = re.compile(r"\s*([\d,]+)\s+\d+%")


class Rsync:
    """Runs rsync to and from one host; the transfers of one command share a master connection."""

    def __init__(self, ctx: Context, resolved: Resolved, openssh: OpenSSH) -> None:
        self._ctx = ctx
        self._resolved = resolved
        self._openssh = openssh
        self.filters_startup = False  # whether start-up files of the host print text, or may read stdin
        self.timeout = 30.0  # seconds without a byte

    def upload(
        self, options: list[str], names: list[str] | None, source: Path, to: str, moved: Callable[[int], None]
    ) -> None:
        """Sends the content of `source` to the host's folder `to`; if `names` is not None, these files only.

        `moved` is called with the bytes sent since its last call.
        """
        self._transfer([*options], names, f"{source}/", f"{self._destination}:{to}/", moved)

    def download(self, names: list[str], folder: str, to: Path, moved: Callable[[int], None]) -> None:
        """Receives the files `names` of the host's `folder` into `to`; a partial file is continued.

        OSError where the disk of `to` is full.

        `moved` is called with the bytes received since its last call.
        """
        options = ["--partial", "--append-verify", "--no-relative"]
        self._transfer(options, names, f"{self._destination}:{folder}/", f"{to}/", moved)

    @property
    def _destination(self) -> str:
        """The host for rsync; an IPv6 address is in brackets, since a colon separates host and path."""
        last = self._resolved.typed.words()[-1]
        user, at, host = last.rpartition("@")
        return f"{user}{at}[{host}]" if ":" in host else last

    def _transfer(
        self, options: list[str], names: list[str] | None, source: str, to: str, moved: Callable[[int], None]
    ) -> None:
        def attempt() -> None:
            self._openssh.ensure_master()
            done = self._once(options, names, source, to, moved)
            if not self.filters_startup and done.code and any(text in done.err for text in _UNCLEAN):
                self.filters_startup = True
                done = self._once(options, names, source, to, moved)
            if done.code in _CONNECTION_LOST and not _PERMANENT.search(done.err):
                label = self._resolved.typed.label
                self.filters_startup |= done.code == _SILENT
                self._openssh.drop()
                raise Unreachable(f"the transfer with {label} was interrupted", _reason(done.err))
            if done.code:
                raise self._failure(done, to)

        require(self._ctx)
        self._ctx.retry(attempt, _PAUSES, Unreachable)

    def _once(
        self, options: list[str], names: list[str] | None, source: str, to: str, moved: Callable[[int], None]
    ) -> Done:
        ssh = [*self._openssh.words(), *self._resolved.typed.words()[:-1]]
        selection = ["--files-from=-", "--from0"] if names is not None else []
        progress = [
            "--info=progress2",
            "--no-inc-recursive",
            "--outbuf=L",
            f"--timeout={self.timeout:.0f}",
            "-s",
        ]
        if self.filters_startup:
            ssh = [self._ctx.python, "-I", startup_filter.__file__, *ssh]
            options = [*options, f"--rsync-path={startup_filter.RSYNC}"]
        words = ["rsync", *options, *selection, *progress, "-e", shell.join(ssh), source, to]
        # Without the ./ a name that begins with # or ; would be a comment.
        stdin = b"\0".join(b"./" + name.encode("utf-8", "surrogateescape") for name in names or [])
        return process.run(words, stdin=stdin, env=self._ctx.env, on_line=_Progress(moved).line)

    def _failure(self, done: Done, to: str) -> GpujobError | OSError:
        label = self._resolved.typed.label
        if "command not found" in done.err or "not found" in done.err:
            return GpujobError(
                f"rsync is not installed on {label}", "", "there: sudo apt-get install -y rsync"
            )
        if _NO_ACCESS.search(done.err):
            return self._openssh.explain(done.err)
        full = next((number for words, number in _FULL.items() if words in done.err), None)
        if full and not to.startswith(f"{self._destination}:"):
            return OSError(full, os.strerror(full), to)
        if full:
            why = next(line for line in done.err.splitlines() if any(words in line for words in _FULL))
            return GpujobError(f"the disk of {label} is full", why, doctor(label))
        if any(text in done.err for text in _UNCLEAN):
            why = "its start-up files (~/.bashrc) print text in sessions that are not interactive"
            return GpujobError(f"rsync with {label} does not work", why, FOR_TERMINALS)
        return GpujobError(f"rsync with {label} failed (code {done.code})", _reason(done.err))


class _Progress:
    """Calls `moved` with the bytes moved since rsync's previous total; totals are separated by `\\r`."""

    def __init__(self, moved: Callable[[int], None]) -> None:
        self._moved = moved
        self._before = 0

    def line(self, text: str) -> None:
        for part in text.split("\r"):
            if match := _PROGRESS.match(part):
                total = int(match[1].replace(",", ""))
                self._moved(total - self._before)
                self._before = total


def _reason(text: str) -> str:
    """Returns the last line that states a reason; rsync's very last line only names a place in its source."""
    lines = [line for line in text.splitlines() if line.strip()]
    reasons = [line for line in lines if not line.startswith("rsync error: ")]
    return (reasons or lines or ["it gave no reason"])[-1]


def without_litter() -> list[str]:
    """Returns the options with which rsync leaves out what folders.is_litter does, in any case."""
    names = ("".join(f"[{c}{c.upper()}]" if c.isalpha() else c for c in name) for name in folders.LITTER)
    return [f"--exclude={name}" for name in ("._*", *names)]


def require(ctx: Context) -> None:
    """Raises GpujobError if this machine has no rsync, or one that is too old (as on macOS)."""
    if error := _problem(ctx):
        raise error


def row(ctx: Context) -> tuple[str, str, str, str]:
    """Returns the row of `doctor` about rsync: name, status, message, how to fix it."""
    if error := _problem(ctx):
        return (NAME, "missing", error.why or "not installed", error.next_step)
    return (NAME, "ok", _version(_path(ctx) or ""), "")


def _problem(ctx: Context) -> GpujobError | None:
    path, is_mac = _path(ctx), ctx.platform == "darwin"
    install = (
        "brew install rsync" if is_mac else "sudo apt-get install -y rsync (or this system's own package)"
    )
    if path is None:
        return GpujobError("rsync is not installed on this machine", "", install)
    if is_usable(_version(path)):
        return None
    why = f"{path} is {_version(path)}; GNU rsync {OLDEST[0]}.{OLDEST[1]} or newer is needed"
    return GpujobError("the rsync of this machine cannot be used", why, install)


def is_usable(version: str) -> bool:
    """Returns whether `version`, the output of `rsync --version`, is of a version that is new enough."""
    match = _VERSION.match(version)
    return match is not None and (int(match[1]), int(match[2])) >= OLDEST


def _path(ctx: Context) -> str | None:
    return shutil.which("rsync", path=ctx.env.get("PATH"))


@cache
def _version(path: str) -> str:
    """Returns the first line of `rsync --version` (two lines for openrsync), read once per command."""
    try:
        done = process.capture([path, "--version"])
    except OSError as error:
        return f"not a program ({error.strerror})"
    lines = (done.out.decode(errors="replace") + done.err).splitlines() or ["silent"]
    lines = lines[:2] if lines[0].startswith("openrsync") else lines[:1]
    return ", ".join(" ".join(line.split()) for line in lines)
