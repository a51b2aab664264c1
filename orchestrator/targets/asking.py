"""What every host does the same: questions to the helper, followed files, commands; over any kind of pipe."""

from __future__ import annotations

import json
import threading
from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from orchestrator.context import Context
from orchestrator.errors import GpujobError, NotFound, Unreachable
from orchestrator.process import Done
from orchestrator.targets.base import Host, Refused
from orchestrator.targets.pipes import Pipe, Reader

_PAUSES = (0.2, 1.0, 3.0, 5.0)  # seconds before each new connection
_NEXT = {
    "no-tmux": "install tmux: sudo apt-get install tmux",
    "no-room": "free some there, such as by gpujob stop RUN --clean of a run that is home",
}


class AskingHost(Host):
    """A host whose helper answers over pipes. A broken pipe is made anew: every question may be repeated."""

    def __init__(self, ctx: Context) -> None:
        self._ctx = ctx
        self._helper: tuple[Pipe, Reader] | None = None
        self._lock = threading.Lock()
        self._questions = 0
        self.lease: float | None = None

    @abstractmethod
    def open(self, verb: str, *words: str) -> tuple[Pipe, Reader]:
        """Starts the bundle on the host: `helper`, `run` or `follow`; raises Unreachable."""

    @abstractmethod
    def drop(self) -> None:
        """Forgets a connection that broke; the next `open` makes a new one."""

    def close(self) -> None:
        if self._helper:
            self._helper[0].close()
            self._helper = None

    def ask(self, op: str, **fields: Any) -> dict[str, Any]:
        question = {"op": op, **fields, **({"lease": self.lease} if self.lease else {})}
        with self._lock:
            reply = self._again(lambda: self._exchange(question))
        if "refused" in reply:
            raise _refusal(reply["refused"])
        answer: dict[str, Any] = reply["answer"]
        return answer

    def follow(self, run_id: str, name: str, offset: int) -> Iterator[bytes]:
        """Goes on after a cut at the very byte where it was."""
        pauses = iter(_PAUSES)
        while True:
            pipe = None
            try:
                pipe, reader = self.open("follow", run_id, name, str(offset))
                for block in frames(reader):
                    offset += len(block)
                    pauses = iter(_PAUSES)
                    yield block
                return
            except Unreachable:
                pause = next(pauses, None)
                if pause is None:
                    raise
                self.drop()
                self._ctx.sleep(pause)
            finally:
                if pipe:
                    pipe.close()

    def run(
        self,
        words: Sequence[str],
        stdin: bytes,
        env: Mapping[str, str],
        on_line: Callable[[str], None],
        cwd: str | None = None,
    ) -> Done:
        """Not repeated after a cut: only the caller knows whether it may be."""
        pipe, reader = self.open("run")
        try:
            request = {"words": list(words), "env": dict(env), "cwd": cwd, "bytes": len(stdin)}
            pipe.write(json.dumps(request).encode() + b"\n" + stdin)
            rest = b""
            for block in frames(reader):
                *lines, rest = (rest + block).split(b"\n")
                for line in lines:
                    on_line(line.decode("utf-8", errors="replace"))
            if rest:
                on_line(rest.decode("utf-8", errors="replace"))
            ended = json.loads(reader.line())
            return Done(ended["code"], ended["err"])
        finally:
            pipe.close()

    def _again(self, once: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        for pause in _PAUSES:
            try:
                return once()
            except Unreachable:
                self.close()
                self.drop()
                self._ctx.sleep(pause)
        return once()

    def _exchange(self, question: dict[str, Any]) -> dict[str, Any]:
        self._helper = self._helper or self.open("helper")
        pipe, reader = self._helper
        self._questions += 1
        pipe.write(json.dumps({"id": self._questions, **question}).encode() + b"\n")
        while True:
            line = reader.line()
            if not line.endswith(b"\n"):
                raise Unreachable(f"the helper on {self.label} ended", "it gave no answer", "gpujob doctor")
            reply: dict[str, Any] = json.loads(line)
            if reply.get("id") == self._questions and "heartbeat" not in reply:
                return reply

    @property
    @abstractmethod
    def label(self) -> str:
        """What a user types after --on."""


def frames(reader: Reader) -> Iterator[bytes]:
    """Payloads of onhost/frames.py, each in pieces as they come, so that a cut loses none of them.

    Empty ones are heartbeats. A stream that breaks off is Unreachable.
    """
    while True:
        head = reader.line()
        if not head.endswith(b"\n"):
            raise Unreachable("the host stopped sending", "the stream broke off before its end")
        left = int(head)
        if left < 0:
            return
        if left == 0:
            yield b""
        while left:
            piece = reader.some(left)
            if not piece:
                raise Unreachable("the host stopped sending", "the stream broke off within a frame")
            left -= len(piece)
            yield piece


def _refusal(refused: dict[str, Any]) -> GpujobError:
    if refused["kind"] == "no-run":
        return NotFound(refused["message"], "", "gpujob status")
    return Refused(
        refused["kind"], refused["message"], _NEXT.get(refused["kind"], ""), refused.get("details")
    )
