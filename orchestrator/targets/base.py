"""The interfaces that a target implements (docs/add-a-target.md); tests/host/test_contract.py tests them."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from orchestrator.core.logquery import EVERYTHING, LogQuery
from orchestrator.errors import GpujobError

if TYPE_CHECKING:  # for annotations only: importing them would slow `status` down
    from orchestrator.core.hostfacts import HostFacts
    from orchestrator.process import Done
    from orchestrator.source import Source


class Refused(GpujobError):
    """The helper refused a request. `kind`: a stable word for the reason; `details`: data about it."""

    def __init__(
        self, kind: str, message: str, next_step: str = "", details: Mapping[str, Any] | None = None
    ) -> None:
        super().__init__(message, "", next_step)
        self.kind = kind
        self.details = details or {}


class BadAnswer(GpujobError):
    """The host gave an answer that no helper of this version gives."""

    def __init__(self, op: str, why: str) -> None:
        super().__init__(f"the host's answer to {op!r} cannot be used", why, "gpujob doctor")


class Answer(dict[str, Any]):
    """The fields of an answer of the helper; one that is missing is an error of the host, not a KeyError."""

    def __init__(self, op: str, fields: Mapping[str, Any]) -> None:
        super().__init__(fields)
        self._op = op

    def __missing__(self, key: str) -> Any:
        raise BadAnswer(self._op, f"it has no {key!r}")


class Host(Protocol):
    """A connected machine with the helper. Every method may raise Unreachable.

    Subclass it: the methods with a body are right for a machine that costs nothing and is never shut down.
    """

    lease: float | None
    """Seconds for which each request in progress renews the lease of the host; None: not renewed."""

    @property
    def label(self) -> str:
        """The value of --on that selects this host."""

    @property
    def is_local(self) -> bool:
        """Whether the host is the client's machine: data is used in place and nothing is sent."""

    def ask(self, op: str, **fields: Any) -> Answer:
        """Sends one request to the helper (orchestrator/onhost/operations.py); returns its answer.

        targets/helper.py has a function with typed values for each operation. Raises Refused.
        """

    def follow(self, run_id: str, name: str, query: LogQuery = EVERYTHING) -> Iterator[bytes]:
        """Yields the chosen part of `log` or `events.jsonl`, filtered on the host; empty: a heartbeat."""

    def send_tree(self, source: Source) -> None:
        """Sends `source` to `code/<hash>` on the host, which appears there only once it is complete."""

    def send_data(self, name: str, fingerprint: str, source: Path, moved: Callable[[int], None]) -> None:
        """Sends a folder or a file to `data/<name>/<fingerprint>`, which appears only once it is complete.

        `moved` is called with the bytes sent since its last call.
        """

    def send_files(self, source: Path, names: list[str], to: str, moved: Callable[[int], None]) -> None:
        """Sends the files `names` of the folder `source` into the folder `to` of the host."""
        raise GpujobError(f"{self.label} takes no files")

    def receive(self, folder: str, names: list[str], to: Path, on_bytes: Callable[[int], None]) -> None:
        """Downloads the files `names` of the host's `folder` into `to`, continuing partial ones.

        `on_bytes` is called with the bytes received since its last call.
        """

    def run(
        self,
        words: Sequence[str],
        stdin: bytes,
        env: Mapping[str, str],
        on_line: Callable[[str], None],
        cwd: str | None = None,
    ) -> Done:
        """Runs a command on the host, in `cwd` if given; calls `on_line` for each line of its stdout."""

    def pythons(self) -> list[str]:
        """Returns the interpreters that may have torch, the most likely first."""

    def tree_folder(self, tree: str) -> str:
        """Returns the path of `code/<tree>` on the host."""

    def attach(self, run_id: str) -> tuple[list[str], dict[str, str]]:
        """Returns words and environment of the command that attaches this terminal.

        NotFound: no tmux session.
        """

    def detach_keys(self) -> str:
        """Returns the keys, in tmux's words, that detach this terminal from the session of a run."""
        return "C-b d"

    def shell(self, run_id: str | None) -> tuple[list[str], dict[str, str]]:
        """Returns words and environment of a login shell in the folder of a run, or in the home folder."""

    def execute(self, run_id: str, words: Sequence[str], tty: bool) -> tuple[list[str], dict[str, str]]:
        """Returns words and environment of a command that runs `words` in a run's folder and environment.

        Its stdin, stdout and exit code are those of `words`; `tty`: with a terminal.
        """
        raise GpujobError(f"{self.label} runs no commands")

    def channel(self, port: int) -> tuple[list[str], dict[str, str]]:
        """Returns words and environment of a command whose stdin and stdout are a connection to a port.

        The port is one of the host's own address 127.0.0.1.
        """
        raise GpujobError(f"{self.label} forwards no ports")

    def is_connected(self) -> bool:
        """Returns whether what `channel` returns can work now; `connect_again` makes it so."""
        return True

    def connect_again(self) -> None:
        """Connects for `channel` after the connection broke."""
        return

    def describe_connection(self) -> str:
        """Returns what carries requests, and why. Raises GpujobError if files cannot be sent that way."""
        return ""

    def hours_for(self, budget_usd: float) -> float | None:
        """Returns how many hours of this host a budget pays for; None if its price is not known."""
        return None

    def with_gpus(self, read: Callable[[], HostFacts]) -> HostFacts:
        """Returns the facts that `read` reads, once they show the GPUs that the host is known to have.

        GpujobError if they do not appear.
        """
        return read()

    def assign_run(self, run_id: str) -> None:
        """Records that the host was launched for this run, so that it may be terminated with it."""
        return

    def keep_awake(self) -> AbstractContextManager[None]:
        """Prevents the host from shutting itself down as unused while the context is entered."""
        return contextlib.nullcontext()

    def extend_lease(self, seconds: float) -> bool:
        """Keeps the host up for at least `seconds`; returns False if it does not shut itself down."""
        return False

    def may_end_with(self, run_id: str) -> bool:
        """Returns whether the host was launched for this run and has no other run."""
        return False

    def terminate(self) -> str:
        """Terminates the host and deletes its disks; returns a sentence for the user.

        Check `may_end_with` first.
        """
        raise GpujobError(f"{self.label} cannot be terminated by gpujob")


class Target(Protocol):
    """A machine on which runs are kept, before gpujob connects to it.

    Subclass it: the values here are right for any host over SSH.
    """

    launches: bool = False
    """Whether a deploy launches the host first, at a price that the user confirms."""
    needs_rsync: bool = True
    """Whether files are transferred by rsync, which the client must have."""
    survives_logout: bool = False
    """Whether runs continue after gpujob disconnects, whatever the host does when a user logs out."""
    is_local: bool = False
    """Whether the target is the client's machine."""
    is_instance: bool = False
    """Whether the target is a machine that gpujob launched, and can start or replace."""
    has_ended: bool = False
    """Whether the host is known to be terminated; a volume with its runs may still exist."""

    @property
    def label(self) -> str:
        """The value of --on that selects this target."""

    def connect(self) -> AbstractContextManager[Host]:
        """Connects to the host for the length of one command."""

    def wake(self, hours: float | None, budget_usd: float | None, wait_hours: float = 0.0) -> None:
        """Starts the host if it was shut down, for a run that may take `hours` or cost `budget_usd` more.

        The user confirms the price. Afterwards `has_ended` says whether it exists.
        """
        return

    def connect_started(self) -> AbstractContextManager[Host]:
        """Connects to the host, starting it first if it was shut down, at a price that the user confirms."""
        return self.connect()
