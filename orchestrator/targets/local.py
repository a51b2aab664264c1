"""The target `local`: the client's machine. The helper is a child process; libtmux lists the sessions."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator import files
from orchestrator.context import Context
from orchestrator.core import shell, tmux
from orchestrator.errors import NotFound, UsageError
from orchestrator.onhost import elsewhere, interpreters
from orchestrator.targets import helper, helper_host
from orchestrator.targets.base import Target
from orchestrator.targets.helper_host import HelperHost
from orchestrator.targets.pipes import Pipe, ProcessPipe, Reader

if TYPE_CHECKING:  # for an annotation only: `status` does not need it
    from orchestrator.source import Source

_BLOCK = 1 << 20


class LocalTarget(Target):
    """The target `local`, on Linux only, since processes are identified through /proc."""

    label = "local"
    needs_rsync = False
    survives_logout = True
    is_local = True

    def __init__(self, ctx: Context, root: str) -> None:
        self._ctx = ctx
        self._root = str(ctx.path(root))

    @contextlib.contextmanager
    def connect(self) -> Iterator[LocalHost]:
        if self._ctx.platform != "linux":
            raise UsageError("--on local works on Linux only", f"this is {self._ctx.platform}")
        host = LocalHost(self._ctx, self._root)
        try:
            yield host
        finally:
            host.close()


class LocalHost(HelperHost):
    """The client's machine as a host: the helper is a child process, files are copied."""

    label = "local"
    is_local = True

    def __init__(self, ctx: Context, root: str) -> None:
        super().__init__(ctx)
        self._layout = elsewhere.layout(root)
        self._bundle = helper_host.install(_ensured(Path(self._layout.onhost)))

    def open(self, mode: str, *words: str) -> tuple[Pipe, Reader]:
        line = [self._ctx.python, *interpreters.OPTIONS, str(self._bundle), mode, self._layout.root, *words]
        with contextlib.ExitStack() as stack:
            errors = None  # where no log can be written, they are kept in memory
            with contextlib.suppress(OSError):
                errors = stack.enter_context(files.open_to_append(self._ctx.state_dir / "helper.log"))
            pipe = ProcessPipe(line, self._ctx.env, errors=errors)
        return pipe, Reader(pipe)

    def drop(self) -> None:
        """Does nothing: there is no connection to this machine."""

    def send_tree(self, source: Source) -> None:
        from orchestrator.source import snapshot  # noqa: PLC0415 - 10 ms that only a deploy needs

        folder = Path(self.tree_folder(source.tree.hash))
        if not folder.is_dir():
            snapshot(source, _ensured(folder.parent) / folder.name)

    def send_data(self, name: str, fingerprint: str, source: Path, moved: Callable[[int], None]) -> None:
        """Does nothing: data on this machine is used in place."""

    def send_files(self, source: Path, names: list[str], to: str, moved: Callable[[int], None]) -> None:
        for name in names:
            target = Path(to) / name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source / name, target)
            moved(target.stat().st_size)

    def receive(self, folder: str, names: list[str], to: Path, on_bytes: Callable[[int], None]) -> None:
        for name in names:
            part = to / name
            offset = part.stat().st_size if part.exists() else 0
            with (Path(folder) / name).open("rb") as stream, part.open("ab") as target:
                stream.seek(offset)
                for block in iter(lambda: stream.read(_BLOCK), b""):
                    target.write(block)
                    on_bytes(len(block))

    def pythons(self) -> list[str]:
        return pythons(self._ctx)

    def tree_folder(self, tree: str) -> str:
        return self._layout.tree(tree)

    def attach(self, run_id: str) -> tuple[list[str], dict[str, str]]:
        name = tmux.session_name(run_id)
        if name not in self.sessions():
            raise NotFound(f"run {run_id} has no tmux session", "it has ended, or was never started")
        env = {key: value for key, value in self._ctx.env.items() if key not in ("TMUX", "TMUX_PANE")}
        return tmux.attach(tmux.server(self._layout.tmux_socket), name, self.detach_keys()), env

    def shell(self, run_id: str | None) -> tuple[list[str], dict[str, str]]:
        folder = self._layout.run(run_id).folder if run_id else self._ctx.env.get("HOME", "/")
        return shell.login(folder), dict(self._ctx.env)

    def execute(self, run_id: str, words: Sequence[str], tty: bool) -> tuple[list[str], dict[str, str]]:
        helper = [self._ctx.python, *interpreters.OPTIONS, str(self._bundle)]
        return [*helper, "exec", self._layout.root, run_id, helper_host.encode(words)], dict(self._ctx.env)

    def sessions(self) -> list[str]:
        """Returns the sessions on gpujob's tmux socket; asks the helper if tmux is too old for libtmux."""
        import libtmux  # noqa: PLC0415 - 90 ms that only attaching needs

        try:
            server = libtmux.Server(socket_path=self._layout.tmux_socket)
            return [session.session_name or "" for session in server.sessions]
        except libtmux.exc.LibTmuxException:  # before tmux 3.2a
            return [run.session for run in helper.snapshot(self, lines=0).runs if run.session]


def pythons(ctx: Context) -> list[str]:
    """Returns interpreters of this machine that may have torch: gpujob's, the active venv's, that on PATH."""
    active = ctx.env.get("VIRTUAL_ENV")
    on_path = shutil.which("python3", path=ctx.env.get("PATH"))
    return list(dict.fromkeys(p for p in (ctx.python, active and f"{active}/bin/python", on_path) if p))


def _ensured(folder: Path) -> Path:
    files.ensure_private(folder)
    return folder
