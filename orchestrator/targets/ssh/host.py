"""Targets `ssh://…` and hosts of ~/.ssh/config: one control connection per command, rsync for files."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from orchestrator.context import Context
from orchestrator.core import shell, tmux
from orchestrator.core.layout import Layout
from orchestrator.errors import GpujobError, NotFound, Unreachable
from orchestrator.onhost.interpreters import MARK, NEWER, PYTHONS
from orchestrator.source import Source
from orchestrator.targets import helper, helper_files, helper_host
from orchestrator.targets.base import Target
from orchestrator.targets.helper_host import HelperHost
from orchestrator.targets.pipes import Pipe, Reader
from orchestrator.targets.ssh import address, bootstrap, senders
from orchestrator.targets.ssh.bootstrap import SHELL, PythonFailure, Startup
from orchestrator.targets.ssh.link import Link
from orchestrator.targets.ssh.openssh import OpenSSH
from orchestrator.targets.ssh.rsync import Rsync, without_litter

_ATTEMPTS = (
    4  # the helper may be missing, also twice if a volume is mounted over the home, and Python not run
)
_STARTUP_OUTPUT = 1 << 16  # bytes that start-up files may print before our mark
_PATIENCE = 60.0  # seconds for start-up files; more if ssh_config has a longer ConnectTimeout
_NOTE_AFTER = 5.0  # seconds of them after which the user is told
_END_SECONDS = 5.0  # seconds in which start-up files that read stdin come to its end


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
        address.require_plausible(self._ctx, resolved)
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
        self._is_slow = False
        self._python_error: PythonFailure | None = None
        ssh = ["ssh", *address.config_words(ctx), *resolved.typed.words()]
        self._startup = Startup(resolved.typed.label, ssh)

    @property
    def label(self) -> str:
        return self._resolved.typed.label

    def open(self, mode: str, *words: str) -> tuple[Pipe, Reader]:
        for _ in range(_ATTEMPTS):
            try:
                answer, pipe, reader = self._begin(bootstrap.command(mode, *words, try_pythons=self._tries))
            except PythonFailure as error:
                if self._tries:
                    raise
                self._python_error = error
                continue
            word, _, detail = answer.partition(" ")
            if word == "ready":
                self._root = detail
                return pipe, reader
            pipe.close()
            if word != "missing":
                raise self._python_error or self._no_python(detail)
            self._send_bundle()
        raise Unreachable(
            f"{self.label} does not keep the helper", "its folder was deleted right after it was sent"
        )

    @property
    def _tries(self) -> bool:
        """Whether each Python of the host is tried before it is used: the first one did not run."""
        return self._python_error is not None

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
        with senders.own(self._ctx, self.label, source.tree.hash) as sender:
            self._send_tree(source, sender)

    def _send_tree(self, source: Source, sender: str) -> None:
        upload = helper_files.begin_tree(self, source.tree.hash, sender)
        if upload.present:
            return
        options = ["-rlp", "--checksum", "--chmod=F-w", "--delete"]
        if upload.nearest:
            options.append(f"--link-dest={upload.nearest}")
        names = [entry.path for entry in source.tree.entries]
        self._rsync.upload(options, names, source.folder, upload.partial, lambda count: None)
        self.ask("finish_tree", tree=source.tree.hash, sender=sender)

    def send_data(self, name: str, fingerprint: str, source: Path, moved: Callable[[int], None]) -> None:
        """Sends data unless the host has this version; hard-links files that its last version has.

        If the host's file system keeps times less precisely than the client, rsync compares contents instead.
        """
        with senders.own(self._ctx, self.label, fingerprint) as sender:
            self._send_data(name, fingerprint, source, sender, moved)

    def _send_data(
        self, name: str, fingerprint: str, source: Path, sender: str, moved: Callable[[int], None]
    ) -> None:
        upload = helper_files.begin_data(self, name, fingerprint, sender)
        if upload.present:
            return
        precision = max(1, upload.precision)
        expected = senders.expected(name, fingerprint, source, precision)
        options = ["-a", "--copy-links", "--delete", "--no-owner", "--no-group"]
        options.append("--modify-window=-1" if expected == fingerprint else "--checksum")
        if upload.nearest:  # no --append-verify: a hard-linked old version is no partial file
            options += ["--partial", f"--link-dest={upload.nearest}"]
        else:
            options.append("--append-verify")
        folder, names = (source.parent, [source.name]) if source.is_file() else (source, None)
        # Without --no-relative, rsync changes the mode of the host's folder.
        options += ["--no-relative"] if names else without_litter()
        self._rsync.upload(options, names, folder, upload.partial, moved)
        senders.expected(name, fingerprint, source, precision)
        about = {"name": name, "fingerprint": fingerprint, "sender": sender}
        self.ask("finish_data", precision=precision, expected=expected, **about)

    def send_files(self, source: Path, names: list[str], to: str, moved: Callable[[int], None]) -> None:
        self._rsync.upload(["-L", "-t", "-p", "--partial"], names, source, to, moved)

    def receive(self, folder: str, names: list[str], to: Path, on_bytes: Callable[[int], None]) -> None:
        self._rsync.download(names, folder, to, on_bytes)

    def pythons(self) -> list[str]:
        return list(PYTHONS)

    def tree_folder(self, tree: str) -> str:
        if not self._root:
            self.ask("status", runs=[], lines=0)
        return f"{self._root}/code/{tree}"

    def attach(self, run_id: str) -> tuple[list[str], dict[str, str]]:
        there = helper.look(self, run_id, lines=0)
        if not any(run.session for run in there.runs):
            raise NotFound(f"run {run_id} has no tmux session", "it has ended, or was never started")
        server, name = tmux.server(there.machine.tmux_socket), tmux.session_name(run_id)
        words = tmux.attach(server, name, self.detach_keys())
        terminal = 'infocmp "$TERM" >/dev/null 2>&1 || export TERM=xterm-256color; '
        line = shell.join(["/bin/sh", "-c", f"{terminal}exec {shell.join(words)}"])
        return [*self._openssh.words(), "-t", *self._resolved.typed.words(), line], dict(self._ctx.env)

    def shell(self, run_id: str | None) -> tuple[list[str], dict[str, str]]:
        ssh = [*self._openssh.shell_words(), "-t", *self._resolved.typed.words()]
        if run_id is None:
            return ssh, dict(self._ctx.env)
        folder = Layout(helper.root(self)).run(run_id).folder
        return [*ssh, shell.join(shell.login(folder))], dict(self._ctx.env)

    def execute(self, run_id: str, words: Sequence[str], tty: bool) -> tuple[list[str], dict[str, str]]:
        self.ask("status", runs=[], lines=0)  # so that the helper is there
        ssh = [*self._openssh.shell_words(), "-t" if tty else "-T", *self._resolved.typed.words()]
        return [*ssh, bootstrap.execute(run_id, helper_host.encode(words), self._tries)], dict(self._ctx.env)

    def channel(self, port: int) -> tuple[list[str], dict[str, str]]:
        words = [*self._openssh.words(), "-W", f"localhost:{port}", *self._resolved.typed.words()]
        return words, dict(self._ctx.env)

    def is_connected(self) -> bool:
        return self._openssh.is_open()

    def connect_again(self) -> None:
        self._openssh.drop()
        self._openssh.ensure_master()

    def _begin(self, command: str) -> tuple[str, Pipe, Reader]:
        """Opens a command and skips the output of start-up files; returns what follows the mark."""
        pipe, reader = self._opened(command)
        skipped, last, has_ended = 0, b"", False
        while skipped < _STARTUP_OUTPUT:
            line = reader.line()
            if not line.endswith(b"\n"):
                raise self._failure(pipe, has_ended, line or last)
            before, mark, rest = line.partition(MARK)
            answer = rest.decode("utf-8", "surrogateescape").rstrip("\n")
            self._rsync.filters_startup |= bool(before) and not has_ended
            has_ended |= answer == SHELL
            if mark and answer != SHELL:
                reader.before_receive = lambda: None
                return answer, pipe, reader
            skipped, last = skipped + len(line), line.strip() or last
        pipe.close()
        raise self._startup.prints_too_much()

    def _opened(self, command: str) -> tuple[Pipe, Reader]:
        """Starts a command; its reader is patient with the start-up files of the host's shell."""
        pipe = self._link.open(command)
        return pipe, Reader(pipe, lambda: self._await_startup(pipe))

    def _await_startup(self, pipe: Pipe) -> None:
        """Waits for output. Raises Unreachable if the host is gone, StartFailure if it only is late."""
        if pipe.wait(_NOTE_AFTER):
            return
        if not self._link.answers():
            pipe.close()
            raise Unreachable(f"{self.label} stopped answering", f"nothing came for {_NOTE_AFTER:.0f} s")
        patience = max(_PATIENCE, self._resolved.connect_timeout or 0)
        if not self._is_slow:
            self._ctx.talk(self._startup.note(_NOTE_AFTER, patience))
        self._is_slow, self._rsync.timeout = True, patience + 30
        if pipe.wait(patience - _NOTE_AFTER):
            return
        pipe.end_input()
        reads_input = pipe.wait(_END_SECONDS)
        pipe.close()
        raise self._startup.reads_input() if reads_input else self._startup.is_slow(patience)

    def _no_python(self, old: str) -> GpujobError:
        """Returns the error for a host without a usable Python; `found`: VERSION PATH of an old one."""
        if not old:
            return GpujobError(
                f"{self.label} has no python3", "the helper needs 3.8 or newer", "install it there"
            )
        version, _, path = old.partition(" ")
        return GpujobError(
            f"{self.label} needs Python 3.8 or newer; found {version} at {path}",
            f"none of {', '.join(NEWER)} is newer",
            "install a newer one there, such as: sudo apt-get install -y python3.11",
        )

    def _failure(self, pipe: Pipe, has_ended: bool, last: bytes = b"") -> GpujobError:
        """Returns the error for a command without an answer. `has_ended`: the start-up files have.

        `last`: the last line that they printed.
        """
        done = pipe.finish()
        if self._link.reason_for_openssh and done.code == 255:
            return self._openssh.explain(done.err)
        if not has_ended and 0 <= done.code < 255:
            printed = last.decode("utf-8", "replace").strip()
            return self._startup.ended(done.last_error or printed or done.reason)
        if has_ended and done.code in bootstrap.NOT_RUN:
            return self._startup.no_python(done)
        what = f"{self.label} did not start the helper"
        return Unreachable(what, done.reason, address.doctor(self.label))

    def _send_bundle(self) -> None:
        pipe, reader = self._opened(bootstrap.receive_bundle())
        try:
            pipe.write(bootstrap.bundle_archive())
            pipe.end_input()
            while (line := reader.line()).endswith(b"\n"):
                if MARK in line:
                    return
            raise self._startup.not_unpacked(pipe.finish()) or self._failure(pipe, has_ended=False)
        finally:
            pipe.close()
