"""What a target must offer; tests/host/test_contract.py checks every target. See docs/add-a-target.md."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from orchestrator.errors import GpujobError

if TYPE_CHECKING:  # words alone: `status` pays for neither
    from orchestrator.process import Done
    from orchestrator.source import Source


class Refused(GpujobError):
    """The helper on the host said no; `kind` is its stable word for why, `details` what it names."""

    def __init__(
        self, kind: str, message: str, next_step: str = "", details: Mapping[str, Any] | None = None
    ) -> None:
        super().__init__(message, "", next_step)
        self.kind = kind
        self.details = details or {}


class Host(Protocol):
    """A machine that answers requests. Every method may raise Unreachable.

    Subclass it: the methods with a body are those of a machine that costs nothing and is never shut down.
    """

    lease: float | None
    """Seconds by which the host extends its own lease while it works on a request; None: not at all."""

    @property
    def label(self) -> str:
        """What a user types after --on."""

    @property
    def is_local(self) -> bool:
        """Whether it is this machine, where data is used in place and nothing is sent."""

    def ask(self, op: str, **fields: Any) -> dict[str, Any]:
        """One question to the helper (orchestrator/onhost/helper.py), one round trip. Raises Refused."""

    def follow(self, run_id: str, name: str, offset: int) -> Iterator[bytes]:
        """Bytes of `log` or `events.jsonl` from `offset` to the end of the run; empty ones are heartbeats."""

    def send_tree(self, source: Source) -> None:
        """Brings `source` to `code/<hash>`, whole or not at all."""

    def send_data(self, name: str, fingerprint: str, source: Path, moved: Callable[[int], None]) -> None:
        """Brings a data folder, or one file, to `data/<name>/<fingerprint>`, whole or not at all."""

    def receive(self, folder: str, names: list[str], to: Path, on_bytes: Callable[[int], None]) -> None:
        """Files of a host's folder, by name, into `to`; a part that stands there is continued."""

    def run(
        self,
        words: Sequence[str],
        stdin: bytes,
        env: Mapping[str, str],
        on_line: Callable[[str], None],
        cwd: str | None = None,
    ) -> Done:
        """A command on the host, in `cwd` where one is given; its stdout comes line by line."""

    def pythons(self) -> list[str]:
        """Interpreters worth asking whether they have torch, the likeliest first."""

    def tree_folder(self, tree: str) -> str:
        """The path of `code/<tree>` on the host."""

    def attach(self, run_id: str) -> tuple[list[str], dict[str, str]]:
        """Words and environment of the command that attaches this terminal. NotFound: no session."""

    def shell(self, run_id: str | None) -> tuple[list[str], dict[str, str]]:
        """Words and environment of a login shell in the folder of a run, or at home."""

    def hours_for(self, budget_usd: float) -> float | None:
        """How many hours of this host a budget pays for; None where it has no known price."""
        return None

    def assign_run(self, run_id: str) -> None:
        """Records that the host was launched for this run; it may end with it."""
        return

    def keep_awake(self) -> AbstractContextManager[None]:
        """While it is entered, the host does not shut itself down for lack of use."""
        return contextlib.nullcontext()

    def extend_lease(self, seconds: float) -> bool:
        """Keeps the host up for so long, at least; False where it does not shut itself down."""
        return False

    def may_end_with(self, run_id: str) -> bool:
        """Whether the host was launched for this run and holds no other."""
        return False

    def terminate(self) -> str:
        """Ends the host and deletes its disks, where `may_end_with` allows it; a sentence for the user."""
        raise GpujobError(f"{self.label} cannot be terminated by gpujob")


class Target(Protocol):
    """Where runs live, before a connection. Subclass it: the values here are those of any host over SSH."""

    launches: bool = False
    """A deploy has to launch the host first, at a price that the user agrees to."""
    needs_rsync: bool = True
    """Files are transferred by rsync, which this machine must have."""
    survives_logout: bool = False
    """Runs go on after gpujob disconnects, whatever the host does when a user logs out."""
    is_local: bool = False
    """It is this machine."""
    has_ended: bool = False
    """The host is gone for good, as far as is known; a volume with its runs may be left."""

    @property
    def label(self) -> str:
        """What a user types after --on."""

    def connect(self) -> AbstractContextManager[Host]:
        """A host to talk to, for the length of one command."""

    def connect_started(self) -> AbstractContextManager[Host]:
        """The same; a host that was shut down is started first, at a price that the user agrees to."""
        return self.connect()
