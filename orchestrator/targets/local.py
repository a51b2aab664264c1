"""This machine as a target: the helper is a child process, the sessions are seen through libtmux."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from orchestrator import process, source
from orchestrator.context import Context
from orchestrator.core import tmux
from orchestrator.core.layout import Layout
from orchestrator.errors import GpujobError, NotFound, Unreachable, UsageError
from orchestrator.targets import bundle, frames
from orchestrator.targets.base import Refused

_BLOCK = 1 << 20


class LocalTarget:
    """`local`; Linux only, since processes are told apart by /proc."""

    label = "local"

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


class LocalHost:
    label = "local"

    def __init__(self, ctx: Context, root: str) -> None:
        self._ctx = ctx
        self._layout = Layout(root, os.getuid())
        self._bundle = bundle.lay_out(_made(Path(self._layout.onhost)))
        self._helper: subprocess.Popen[bytes] | None = None
        self._lock = threading.Lock()
        self._questions = 0

    def close(self) -> None:
        if self._helper:
            for stream in (self._helper.stdin, self._helper.stdout):
                if stream:
                    stream.close()
            self._helper.wait()

    def ask(self, op: str, **fields: Any) -> dict[str, Any]:
        with self._lock:
            self._questions += 1
            question = {"id": self._questions, "op": op, **fields}
            reply = self._exchange(json.dumps(question).encode() + b"\n")
        if "refused" in reply:
            raise _refusal(reply["refused"])
        answer: dict[str, Any] = reply["answer"]
        return answer

    def follow(self, run_id: str, name: str, offset: int) -> Iterator[bytes]:
        words = self._words("follow", run_id, name, str(offset))
        with subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE) as follower:
            assert follower.stdout
            try:
                yield from frames.read(follower.stdout)
            finally:
                follower.kill()

    def send_tree(self, tree: source.Source) -> None:
        place = Path(self.place(tree.tree.hash))
        if not place.is_dir():
            source.lay_out(tree, _made(place.parent) / place.name)

    def receive(self, path: str, to: Path, on_bytes: Callable[[int], None]) -> None:
        have = to.stat().st_size if to.exists() else 0
        with Path(path).open("rb") as stream, to.open("ab") as target:
            stream.seek(have)
            for block in iter(lambda: stream.read(_BLOCK), b""):
                target.write(block)
                on_bytes(len(block))

    def run(
        self,
        words: Sequence[str],
        stdin: bytes,
        env: Mapping[str, str],
        on_line: Callable[[str], None],
    ) -> process.Done:
        return process.run(words, stdin=stdin, env={**self._ctx.env, **env}, on_line=on_line)

    def pythons(self) -> list[str]:
        return pythons(self._ctx)

    def place(self, tree: str) -> str:
        return self._layout.tree(tree)

    def attach(self, run_id: str) -> tuple[list[str], dict[str, str]]:
        name = tmux.session_name(run_id)
        if name not in self.sessions():
            raise NotFound(f"run {run_id} has no tmux session", "it has ended, or was never started")
        env = {key: value for key, value in self._ctx.env.items() if key not in ("TMUX", "TMUX_PANE")}
        return tmux.attach(tmux.server(self._layout.tmux_socket), name), env

    def sessions(self) -> list[str]:
        """Names of the sessions on our socket."""
        import libtmux  # noqa: PLC0415 - 90 ms that only attaching needs

        return [s.session_name or "" for s in libtmux.Server(socket_path=self._layout.tmux_socket).sessions]

    def _words(self, verb: str, *rest: str) -> list[str]:
        return [self._ctx.python, "-I", str(self._bundle), verb, self._layout.root, *rest]

    def _exchange(self, line: bytes) -> dict[str, Any]:
        helper = self._helper or self._started()
        assert helper.stdin
        assert helper.stdout
        try:
            helper.stdin.write(line)
            helper.stdin.flush()
            answer = helper.stdout.readline()
        except OSError as error:
            raise Unreachable("the helper on this machine ended", str(error)) from None
        if not answer.endswith(b"\n"):
            raise Unreachable("the helper on this machine ended", "it gave no answer", "gpujob doctor")
        reply: dict[str, Any] = json.loads(answer)
        return reply

    def _started(self) -> subprocess.Popen[bytes]:
        log = _made(self._ctx.state_dir) / "helper.log"
        with log.open("ab") as errors:
            self._helper = subprocess.Popen(
                self._words("helper"),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                env=dict(self._ctx.env),
                start_new_session=True,  # Ctrl-C at the client must not cut a start or a stop in half
            )
        return self._helper


def pythons(ctx: Context) -> list[str]:
    """Interpreters of this machine that may have torch: gpujob's own, the active venv's, that on PATH."""
    active = ctx.env.get("VIRTUAL_ENV")
    on_path = shutil.which("python3", path=ctx.env.get("PATH"))
    return list(dict.fromkeys(p for p in (ctx.python, active and f"{active}/bin/python", on_path) if p))


def _refusal(refused: dict[str, str]) -> GpujobError:
    if refused["kind"] == "absent":
        return NotFound(refused["message"], "", "gpujob status")
    next_step = "install tmux: sudo apt-get install tmux" if refused["kind"] == "no-tmux" else ""
    return Refused(refused["kind"], refused["message"], next_step)


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    return folder
