"""What a command uses of its surroundings: streams, environment, folders, clock. Tests pass their own."""

from __future__ import annotations

import contextlib
import io
import json
import math
import os
import pwd
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TextIO, TypeVar

from msgspec import Struct, field, to_builtins

from orchestrator.core.text import flow, message
from orchestrator.errors import UsageError, WantsYes

JSON_VERSION = 2
"""Of what --json prints. A new version may remove or rename keys; keys are added without one."""
T = TypeVar("T")
E = TypeVar("E", bound=Exception)
_LOCK = threading.RLock()


def _token() -> str:
    return os.urandom(16).hex()  # as secrets.token_hex, whose module is slow to import


def _user_name() -> str:
    """A container started with `--user UID` has no entry for it in /etc/passwd."""
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return f"uid{os.getuid()}"


class Context(Struct):
    """`token` gives 32 fresh hex digits; `state_dir` may be deleted at any time.

    `deliver`: gets the answer of a command instead of stdout (gpujob.Client).
    `step`: what the command is doing, for the words that Ctrl-C ends with. `made`: what `once` keeps.
    """

    env: Mapping[str, str]
    cwd: Path
    stdin: TextIO
    stdout: TextIO
    stderr: TextIO
    state_dir: Path
    config_file: Path
    platform: str = sys.platform
    python: str = sys.executable
    json: bool = False
    debug: bool = False
    yes: bool = False
    quiet: bool = False
    verbose: bool = False
    now: Callable[[], float] = time.time
    sleep: Callable[[float], None] = time.sleep
    token: Callable[[], str] = _token
    deliver: Callable[[Struct | Mapping[str, Any]], None] | None = None
    step: str = ""
    made: dict[str, Any] = field(default_factory=dict)

    @property
    def who(self) -> str:
        """The user and the machine, without its domain, which may change with the network."""
        user = self.env.get("USER") or self.env.get("LOGNAME") or _user_name()
        return f"{user}@{os.uname().nodename.partition('.')[0]}"

    @property
    def home(self) -> Path:
        if home := self.env.get("HOME"):
            return Path(home)
        try:
            return Path(pwd.getpwuid(os.getuid()).pw_dir)
        except KeyError:
            raise UsageError("HOME is not set, and this user has no home", "", "export HOME=…") from None

    def retry(
        self,
        action: Callable[[], T],
        pauses: Sequence[float],
        kind: type[E],
        can_retry: Callable[[E], bool] = lambda error: True,
    ) -> T:
        """Repeats `action` after each of the pauses (seconds) while it raises a `kind` that allows it."""
        for pause in pauses:
            try:
                return action()
            except kind as error:
                if not can_retry(error):
                    raise
            self.sleep(pause)
        return action()

    def columns(self, stream: TextIO) -> int | None:
        """The width of a terminal, at least 20; None for what is no terminal, where no line is broken."""
        if not stream.isatty():
            return None
        with contextlib.suppress(OSError, ValueError, io.UnsupportedOperation):
            return max(20, os.get_terminal_size(stream.fileno()).columns or 80)
        return max(20, int(self.env.get("COLUMNS", "")) if self.env.get("COLUMNS", "").isdigit() else 80)

    def once(self, key: str, make: Callable[[], T]) -> T:
        """What `make` made for this key in this command; it is called once, also by several threads."""
        with _LOCK:
            if key not in self.made:
                self.made[key] = make()
            value: T = self.made[key]
            return value

    def out(self, text: str) -> None:
        """Data, on stdout."""
        self._write(self.stdout, message(text) + "\n")

    def answer(self, content: Struct | Mapping[str, Any]) -> None:
        """One JSON object, the only output on stdout with --json. NaN and infinity are null."""
        if self.deliver:
            self.deliver(content)
            return
        if isinstance(content, Struct):
            content = to_builtins(content)
        line = json.dumps({"schema_version": JSON_VERSION, **_finite(content)}, allow_nan=False)  # ASCII only
        self._write(self.stdout, line + "\n")

    def talk(self, text: str) -> None:
        """Progress and hints, on stderr; nothing with --quiet."""
        if not self.quiet:
            self.warn(text)

    def warn(self, text: str) -> None:
        """A warning or an error, on stderr, also with --quiet."""
        self._write(self.stderr, self._flowed(text) + "\n")

    def redraw(self, text: str) -> None:
        """Replaces the current line of stderr, which is a terminal, by `text`; it stays open."""
        self._write(self.stderr, "\r\x1b[K" + message(text))

    def _write(self, stream: TextIO, text: str) -> None:
        stream.write(text)
        stream.flush()

    def _flowed(self, text: str) -> str:
        """Filtered text for stderr, each line broken where the terminal ends."""
        room = self.columns(self.stderr)
        return "\n".join(part for line in message(text).split("\n") for part in flow(line, room))

    def ring(self) -> None:
        """The terminal's bell: something that was waited for has happened."""
        if not (self.json or self.quiet) and self.stderr.isatty():
            self._write(self.stderr, "\a")

    def detail(self, text: str) -> None:
        """What only --verbose prints, on stderr."""
        if self.verbose:
            self.warn(text)

    @contextlib.contextmanager
    def timed(self, step: str) -> Iterator[None]:
        """A step that Ctrl-C names where it is cut. With --verbose, prints how long it took."""
        outer, self.step, started = self.step, step, self.now()
        yield
        self.step = outer
        self.detail(f"  {step}: {self.now() - started:.2f} s")

    @property
    def shows_progress(self) -> bool:
        """Whether a line on stderr may be redrawn in place."""
        return not (self.json or self.quiet) and self.stderr.isatty()

    @property
    def log_file(self) -> Path:
        """Where tracebacks are kept."""
        return self.state_dir / "gpujob.log"

    def path(self, text: str) -> Path:
        """A path as typed, with ~ and relative paths resolved."""
        return self.cwd / Path(self.expand(text))

    def short(self, path: Path) -> str:
        """A path as a person would type it in the current folder."""
        return str(path.relative_to(self.cwd) if path.is_relative_to(self.cwd) else path)

    def expand(self, text: str) -> str:
        if text == "~" or text.startswith("~/"):
            return self.env.get("HOME", "") + text[1:]
        return text

    @property
    def can_ask(self) -> bool:
        return not self.json and self.stdin.isatty() and self.stderr.isatty()

    def ask(self, question: str, default: str) -> str:
        """The answer to a question on the terminal; `default` for an empty one. UsageError at its end."""
        self._write(self.stderr, f"{self._flowed(question)} [{default or 'none'}] ")
        answer = self._answer("nothing was written")
        if not answer:
            raise UsageError("nothing was written", "the questions were not answered", "gpujob init SCRIPT")
        return answer.strip() or default

    def confirm(self, what: str) -> None:
        """Asks, default no; raises unless the user agrees, or if there is no terminal to ask on."""
        if self.yes:
            self.talk(what)  # a price is shown before it is paid, also to a script
            return
        if not self.can_ask:
            raise WantsYes(what, "confirmation needed, but stdin is not a terminal", "add --yes to confirm")
        self._write(self.stderr, f"{self._flowed(what)}\nContinue? [y/N] ")
        answer = self._answer("nothing was agreed to")
        if answer.strip().lower() not in ("y", "yes"):
            raise UsageError("nothing was changed", "the answer was no")

    def _answer(self, outcome: str) -> str:
        """The line that is typed; empty at the end of the input, where the next message begins a line."""
        outer, self.step = self.step, f"the question, so {outcome}"
        answer = self.stdin.readline()
        self.step = outer
        if not answer:
            self._write(self.stderr, "\n")
        return answer


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(item) for item in value]
    return value


def _terminal_encoding() -> str | None:
    """The encoding of the locale, which Python's UTF-8 mode ignores; None: UTF-8, or that of the C locale."""
    import codecs  # noqa: PLC0415
    import locale  # noqa: PLC0415

    with contextlib.suppress(LookupError):
        name = codecs.lookup(locale.nl_langinfo(locale.CODESET)).name
        return None if name in ("ascii", "utf-8") else name
    return None


def from_process() -> Context:
    """The context of this process."""
    encoding = _terminal_encoding() if sys.flags.utf8_mode else None
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # A terminal without UTF-8 gets a question mark, no traceback.
            stream.reconfigure(encoding=encoding, errors="replace")
    return of_user(Path.cwd(), sys.stdin, sys.stdout, sys.stderr)


def of_user(folder: Path, stdin: TextIO, stdout: TextIO, stderr: TextIO) -> Context:
    """A context in `folder` with this user's environment, settings and records."""
    from platformdirs import user_config_path, user_state_path  # noqa: PLC0415 - late: --version needs none

    return Context(
        env=os.environ,
        cwd=folder,
        stdin=stdin,
        stdout=stdout,
        stderr=stderr,
        state_dir=user_state_path("gpujob"),
        config_file=user_config_path("gpujob") / "settings.yaml",
    )
