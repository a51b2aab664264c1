"""Targets `ssh://…` and hosts of ~/.ssh/config: one control connection per command, rsync for files."""

from __future__ import annotations

import contextlib
import io
import re
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path

from orchestrator.context import Context
from orchestrator.core import shell, tmux
from orchestrator.core.layout import Layout
from orchestrator.errors import GpujobError, NotFound, Unreachable
from orchestrator.source import Source
from orchestrator.targets import helper_host
from orchestrator.targets.base import Target
from orchestrator.targets.helper_host import HelperHost
from orchestrator.targets.pipes import Pipe, Reader
from orchestrator.targets.ssh import address
from orchestrator.targets.ssh.link import Link
from orchestrator.targets.ssh.openssh import OpenSSH
from orchestrator.targets.ssh.rsync import Rsync

_BUNDLE_ATTEMPTS = 3  # more than one, since a volume may be mounted over the home folder meanwhile
_STARTUP_OUTPUT = 1 << 16  # bytes that start-up files may print before our mark
_PYTHONS = (
    *("python3", "/opt/pytorch/bin/python3", "/opt/conda/bin/python3", "/opt/conda/envs/pytorch/bin/python3"),
    *("/usr/local/bin/python3", "/usr/bin/python3"),
)


class SshTarget(Target):
    """A machine that the user can log in to, by an ssh:// address or a host of ~/.ssh/config."""

    def __init__(self, ctx: Context, word: str) -> None:
        self._ctx = ctx
        self._typed = address.parse(word)

    @property
    def label(self) -> str:
        return self._typed.label

    @contextlib.contextmanager
    def connect(self) -> Iterator[SshHost]:
        resolved = address.resolve(self._ctx, self._typed)
        host = SshHost(self._ctx, resolved)
        try:
            yield host
        finally:
            host.close()


class SshHost(HelperHost):
    """A host over SSH. The helper is sent to it when it is missing there."""

    is_local = False

    def __init__(self, ctx: Context, resolved: address.Resolved) -> None:
        super().__init__(ctx)
        self._resolved = resolved
        self._openssh = OpenSSH(ctx, resolved)
        self._link = Link(ctx, resolved, self._openssh)
        self._rsync = Rsync(ctx, resolved, self._openssh)
        self._root = ""

    @property
    def label(self) -> str:
        return self._resolved.typed.label

    def open(self, mode: str, *words: str) -> tuple[Pipe, Reader]:
        for _ in range(_BUNDLE_ATTEMPTS):
            answer, pipe, reader = self._begin(command(mode, *words))
            if answer == "ready":
                return pipe, reader
            pipe.close()
            if answer != "missing":
                raise GpujobError(
                    f"{self.label} has no python3", "the helper needs 3.8 or newer", "install it there"
                )
            self._send_bundle()
        raise Unreachable(
            f"{self.label} does not keep the helper", "its folder is gone right after it was sent"
        )

    def drop(self) -> None:
        self._link.drop()

    def close(self) -> None:
        super().close()
        self._link.close()

    def describe_connection(self) -> str:
        """Logs in as rsync does, too: it uses OpenSSH, whatever carries the requests."""
        self.ask("status", runs=[], lines=0)
        self._openssh.check()
        reason = self._link.reason_for_openssh
        return f"OpenSSH ({reason})" if reason else "fabric; OpenSSH for files and terminals"

    def send_tree(self, source: Source) -> None:
        """Sends a tree unless the host has it; files that the newest tree there has too are hard-linked.

        The host checks the hash before the tree gets its name.
        """
        upload = self.ask("begin_tree", tree=source.tree.hash)
        if upload["present"]:
            return
        options = ["-rlp", "--checksum", "--chmod=F-w", "--delete"]
        if upload["nearest"]:
            options.append(f"--link-dest={upload['nearest']}")
        names = [entry.path for entry in source.tree.entries]
        self._rsync.upload(options, names, source.folder, upload["partial"], lambda count: None)
        self.ask("finish_tree", tree=source.tree.hash)

    def send_data(self, name: str, fingerprint: str, source: Path, moved: Callable[[int], None]) -> None:
        """Sends data unless the host has this version; hard-links files that its last version has."""
        upload = self.ask("begin_data", name=name, fingerprint=fingerprint)
        if not upload["present"]:
            options = ["-a", "--copy-links", "--delete", "--modify-window=-1", "--no-owner", "--no-group"]
            if upload["nearest"]:  # no --append-verify: a hard-linked old version is no partial file
                options += ["--partial", f"--link-dest={upload['nearest']}"]
            else:
                options.append("--append-verify")
            folder, names = (source.parent, [source.name]) if source.is_file() else (source, None)
            options += ["--no-relative"] if names else []  # else rsync changes the mode of the host's folder
            self._rsync.upload(options, names, folder, upload["partial"], moved)
            self.ask("finish_data", name=name, fingerprint=fingerprint)

    def receive(self, folder: str, names: list[str], to: Path, on_bytes: Callable[[int], None]) -> None:
        self._rsync.download(names, folder, to, on_bytes)

    def pythons(self) -> list[str]:
        return list(_PYTHONS)

    def tree_folder(self, tree: str) -> str:
        if not self._root:
            self.ask("status", runs=[], lines=0)
        return f"{self._root}/code/{tree}"

    def attach(self, run_id: str) -> tuple[list[str], dict[str, str]]:
        answer = self.ask("status", runs=[run_id], lines=0)
        if not answer["runs"] or not answer["runs"][0]["session"]:
            raise NotFound(f"run {run_id} has no tmux session", "it has ended, or was never started")
        words = tmux.attach(tmux.server(answer["tmux_socket"]), tmux.session_name(run_id))
        terminal = 'infocmp "$TERM" >/dev/null 2>&1 || export TERM=xterm-256color; '
        line = shell.join(["sh", "-c", f"{terminal}exec {shell.join(words)}"])
        return [*self._openssh.words(), "-t", *self._resolved.typed.words(), line], dict(self._ctx.env)

    def shell(self, run_id: str | None) -> tuple[list[str], dict[str, str]]:
        ssh = [*self._openssh.shell_words(), "-t", *self._resolved.typed.words()]
        if run_id is None:
            return ssh, dict(self._ctx.env)
        folder = Layout(self.ask("status", runs=[], lines=0)["root"]).run(run_id).folder
        return [*ssh, shell.join(shell.login(folder))], dict(self._ctx.env)

    def _begin(self, command: str) -> tuple[str, Pipe, Reader]:
        """Opens a command and skips the output of start-up files; returns the word after the mark."""
        pipe = self._link.open(command)
        reader = Reader(pipe)
        skipped = 0
        while skipped < _STARTUP_OUTPUT:
            line = reader.line()
            if not line.endswith(b"\n"):
                raise self._failure(pipe)
            if MARK in line:
                before, _, answer = line.partition(MARK)
                word, _, self._root = answer.decode().rstrip("\n").partition(" ")
                self._rsync.prints_at_startup |= bool(skipped or before)
                return word, pipe, reader
            skipped += len(line)
        pipe.close()
        raise Unreachable(f"{self.label} prints too much text at login", "its start-up files write to stdout")

    def _failure(self, pipe: Pipe) -> GpujobError:
        done = pipe.finish()
        if self._link.reason_for_openssh and done.code == 255:
            return self._openssh.explain(done.err)
        what = f"{self.label} did not start the helper"
        return Unreachable(what, done.reason, f"gpujob doctor --on {self.label}")

    def _send_bundle(self) -> None:
        pipe = self._link.open(receive_bundle())
        try:
            pipe.write(bundle_archive())
            pipe.end_input()
            reader = Reader(pipe)
            while (line := reader.line()).endswith(b"\n"):
                if MARK in line:
                    return
            raise self._failure(pipe)
        finally:
            pipe.close()


MARK = b"\x1egpujob "
_WORD = re.compile(r"[A-Za-z0-9._-]+\Z")
_ROOT = 'r="${GPUJOB_ROOT:-$HOME/.gpujob}"; '
_PRINT = 'printf "\\036gpujob %s %s\\n" '


def command(mode: str, *words: str) -> str:
    """Returns the line that starts the helper.

    It first prints `ready ROOT`, `missing ROOT` (the helper is not there) or `python ROOT` (no Python).
    """
    for word in (mode, *words):
        if not _WORD.match(word):
            raise ValueError(f"not a plain word: {word!r}")
    rest = " ".join(words)
    return (
        f'exec sh -c \'{_ROOT}p="$r/onhost/{helper_host.digest()}"; '
        f'command -v python3 >/dev/null || {{ {_PRINT} python "$r"; exit 91; }}; '
        f'[ -d "$p" ] || {{ {_PRINT} missing "$r"; exit 90; }}; '
        f'{_PRINT} ready "$r"; exec python3 -I "$p" {mode} "$r" {rest}\''
    )


def receive_bundle() -> str:
    """Returns the line that unpacks a gzipped tar on stdin into the helper's folder and prints `ready ROOT`.

    The folder appears only once it is complete. A partial folder is removed when the transfer is interrupted,
    or by the next transfer if the machine died.
    """
    name = helper_host.digest()
    return (
        f'exec sh -c \'{_ROOT}d="$r/onhost/.{name}.$$"; '
        f'for o in "$r"/onhost/.[0-9a-f]*.[0-9]*; do kill -0 "${{o##*.}}" 2>/dev/null || rm -rf "$o"; done; '
        f'mkdir -p "$d" && chmod 700 "$r" && tar -xzf - -C "$d" && '
        f'{{ mv -T "$d" "$r/onhost/{name}" 2>/dev/null || rm -rf "$d"; }} && {_PRINT} ready "$r" || '
        f'{{ rm -rf "$d"; exit 92; }}\''
    )


def bundle_archive() -> bytes:
    """Returns the files of the helper as a gzipped tar."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as archive:
        for name, content in helper_host.files().items():
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(content), 0o644
            archive.addfile(entry, io.BytesIO(content))
    return out.getvalue()
