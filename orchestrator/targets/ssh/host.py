"""`ssh://…` and names of ~/.ssh/config as targets: one control connection a command, rsync for bulk."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Protocol

from orchestrator.context import Context
from orchestrator.core import shell, tmux
from orchestrator.core.layout import Layout
from orchestrator.errors import GpujobError, NotFound, Unreachable
from orchestrator.source import Source
from orchestrator.targets.asking import AskingHost
from orchestrator.targets.base import Target
from orchestrator.targets.pipes import Pipe, Reader
from orchestrator.targets.ssh import address, openssh_link, remote
from orchestrator.targets.ssh.bulk import Rsync

_SENDINGS = 3  # of the helper, to a home that a volume may be mounted over just then
_NOISE = 1 << 16  # bytes that start-up files may print before our marker
_PYTHONS = (
    *("python3", "/opt/pytorch/bin/python3", "/opt/conda/bin/python3", "/opt/conda/envs/pytorch/bin/python3"),
    *("/usr/local/bin/python3", "/usr/bin/python3"),
)


class Link(Protocol):
    """A connection on which commands are opened."""

    def open(self, command: str) -> Pipe:
        """Starts a command line of our own making. Unreachable, AccessError."""

    def drop(self) -> None:
        """Forgets a connection that broke."""

    def close(self) -> None: ...


class SshTarget(Target):
    def __init__(self, ctx: Context, word: str) -> None:
        self._ctx = ctx
        self._typed = address.parse(word)

    @property
    def label(self) -> str:
        return self._typed.label

    @contextlib.contextmanager
    def connect(self) -> Iterator[SshHost]:
        resolved = address.resolve(self._ctx, self._typed)
        host = SshHost(self._ctx, resolved, link(self._ctx, resolved))
        try:
            yield host
        finally:
            host.close()


def link(ctx: Context, resolved: address.Resolved) -> Link:
    """fabric, or the OpenSSH binary where the configuration asks for what paramiko cannot do."""
    if resolved.asks_for or address.wants_passphrase(resolved):
        return openssh_link.OpenSSHLink(ctx, resolved)
    from orchestrator.targets.ssh.paramiko_link import ParamikoLink  # noqa: PLC0415 - 170 ms, here only

    return ParamikoLink(ctx, resolved)


class SshHost(AskingHost):
    is_local = False

    def __init__(self, ctx: Context, resolved: address.Resolved, link: Link) -> None:
        super().__init__(ctx)
        self._resolved = resolved
        self._link = link
        self._rsync = Rsync(ctx, resolved)
        self._root = ""

    @property
    def label(self) -> str:
        return self._resolved.typed.label

    def open(self, verb: str, *words: str) -> tuple[Pipe, Reader]:
        for _ in range(_SENDINGS):
            said, pipe, reader = self._begin(remote.command(verb, *words))
            if said == "ready":
                return pipe, reader
            pipe.close()
            if said != "missing":
                raise GpujobError(
                    f"{self.label} has no python3", "the helper needs 3.8 or newer", "install it there"
                )
            self._send_bundle()
        raise Unreachable(f"{self.label} does not keep the helper", "it is gone as soon as it was sent")

    def drop(self) -> None:
        self._link.drop()

    def close(self) -> None:
        super().close()
        self._link.close()

    def send_tree(self, source: Source) -> None:
        """Against the nearest tree that is there; its hash is checked on the host before it gets its name."""
        begun = self.ask("begin_tree", tree=source.tree.hash)
        if begun["present"]:
            return
        options = ["-rlp", "--checksum", "--chmod=F-w", "--delete"]
        if begun["nearest"]:
            options.append(f"--link-dest={begun['nearest']}")
        names = [entry.path for entry in source.tree.entries]
        self._rsync.upload(options, names, source.folder, begun["partial"], lambda count: None)
        self.ask("finish_tree", tree=source.tree.hash)

    def send_data(self, name: str, fingerprint: str, source: Path, moved: Callable[[int], None]) -> None:
        """Sent only when it is not there yet as it is now; against the last that was."""
        begun = self.ask("begin_data", name=name, fingerprint=fingerprint)
        if not begun["present"]:
            options = ["-a", "--copy-links", "--delete", "--modify-window=-1", "--no-owner", "--no-group"]
            if begun["nearest"]:  # appending would take a file of the same name there for a part of ours
                options += ["--partial", f"--link-dest={begun['nearest']}"]
            else:
                options.append("--append-verify")
            folder, names = (source.parent, [source.name]) if source.is_file() else (source, None)
            options += ["--no-relative"] if names else []  # else the folder there gets the modes of this one
            self._rsync.upload(options, names, folder, begun["partial"], moved)
            self.ask("finish_data", name=name, fingerprint=fingerprint)

    def receive(self, folder: str, names: list[str], to: Path, on_bytes: Callable[[int], None]) -> None:
        self._rsync.download(names, folder, to, on_bytes)

    def pythons(self) -> list[str]:
        return list(_PYTHONS)

    def place(self, tree: str) -> str:
        if not self._root:
            self.ask("status", runs=[], lines=0)
        return f"{self._root}/code/{tree}"

    def attach(self, run_id: str) -> tuple[list[str], dict[str, str]]:
        answer = self.ask("status", runs=[run_id], lines=0)
        if not answer["runs"] or not answer["runs"][0]["session"]:
            raise NotFound(f"run {run_id} has no tmux session", "it has ended, or was never started")
        words = tmux.attach(tmux.server(answer["tmux_socket"]), tmux.session_name(run_id))
        known = 'infocmp "$TERM" >/dev/null 2>&1 || export TERM=xterm-256color; '
        line = shell.join(["sh", "-c", f"{known}exec {shell.join(words)}"])
        ssh = openssh_link.ssh_words(self._ctx, self._resolved)
        return [*ssh, "-t", *self._resolved.typed.words(), line], dict(self._ctx.env)

    def shell(self, run_id: str | None) -> tuple[list[str], dict[str, str]]:
        ssh = [*openssh_link.ssh_words(self._ctx, self._resolved), "-t", *self._resolved.typed.words()]
        if run_id is None:
            return ssh, dict(self._ctx.env)
        folder = Layout(self.ask("status", runs=[], lines=0)["root"]).run(run_id).folder
        return [*ssh, shell.join(shell.login(folder))], dict(self._ctx.env)

    def _begin(self, command: str) -> tuple[str, Pipe, Reader]:
        """Opens a command and reads past what start-up files print, to our marker."""
        pipe = self._link.open(command)
        reader = Reader(pipe)
        noise = 0
        while noise < _NOISE:
            line = reader.line()
            if not line.endswith(b"\n"):
                raise self._refused(pipe)
            if remote.MARK in line:
                before, _, said = line.partition(remote.MARK)
                word, _, self._root = said.decode().rstrip("\n").partition(" ")
                self._rsync.noisy |= bool(noise or before)
                return word, pipe, reader
            noise += len(line)
        pipe.close()
        raise Unreachable(f"{self.label} prints without end", "its start-up files write to stdout")

    def _refused(self, pipe: Pipe) -> GpujobError:
        done = pipe.finish()
        if isinstance(self._link, openssh_link.OpenSSHLink) and done.code == 255:
            return openssh_link.explain(self._ctx, self._resolved, done.err)
        last = (done.err.strip().splitlines() or [f"it ended with code {done.code}"])[-1]
        return Unreachable(f"{self.label} did not start the helper", last, f"gpujob doctor --on {self.label}")

    def _send_bundle(self) -> None:
        pipe = self._link.open(remote.receive_bundle())
        try:
            pipe.write(remote.bundle_archive())
            pipe.end_input()
            reader = Reader(pipe)
            while (line := reader.line()).endswith(b"\n"):
                if remote.MARK in line:
                    return
            raise self._refused(pipe)
        finally:
            pipe.close()
