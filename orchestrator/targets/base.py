"""What a place to run on must offer; tests/host/test_contract.py holds every target to it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from orchestrator.errors import GpujobError

if TYPE_CHECKING:  # words alone: `status` pays for neither
    from orchestrator.process import Done
    from orchestrator.source import Source


class Refused(GpujobError):
    """The helper on the host said no; `kind` is its stable word for why, `about` what it names."""

    def __init__(
        self, kind: str, message: str, next_step: str = "", about: Mapping[str, Any] | None = None
    ) -> None:
        super().__init__(message, "", next_step)
        self.kind = kind
        self.about = about or {}


class Host(Protocol):
    """A machine that can be asked. Every method may raise Unreachable.

    `lease`: how many seconds ahead of now the host keeps the lease of its box while it answers a question;
    None: it does not.
    """

    lease: float | None

    @property
    def label(self) -> str:
        """What a user types after --on."""

    @property
    def is_here(self) -> bool:
        """Whether it is this very machine: data stands where it stands, and nothing is sent."""

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

    def place(self, tree: str) -> str:
        """The path of `code/<tree>` on the host."""

    def attach(self, run_id: str) -> tuple[list[str], dict[str, str]]:
        """Words and environment of the command that attaches this terminal. NotFound: no session."""

    def shell(self, run_id: str | None) -> tuple[list[str], dict[str, str]]:
        """Words and environment of a login shell in the folder of a run, or at home."""


class Target(Protocol):
    """Where runs live, before anything was connected."""

    @property
    def label(self) -> str:
        """What a user types after --on."""

    def connect(self) -> AbstractContextManager[Host]:
        """A host to talk to, for the length of one command."""
