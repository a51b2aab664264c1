"""The progress lines of a transfer and of a check."""

from __future__ import annotations

import io

import pytest

from orchestrator.view.plans import Progress
from orchestrator.view.transfer import bar
from tests.support import new_client


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("stderr", "shown"), [(Terminal(), "1.0 MiB of 4.0 MiB, 512.0 KiB/s, 6 s to go"), (io.StringIO(), "")]
)
def test_bytes_rate_and_remaining_time_are_shown_on_a_terminal_only(stderr: io.StringIO, shown: str) -> None:
    clock = iter([0.0, 2.0, 2.01, 8.0])
    with new_client() as client, bar(client.context(stderr=stderr, now=lambda: next(clock)), 4 << 20) as move:
        move(1 << 20)
        move(1 << 20)  # a hundredth of a second later: not drawn again
        move(2 << 20)
    assert shown in stderr.getvalue()
    assert stderr.getvalue().count(" to go") == (2 if shown else 0)


@pytest.mark.parametrize(("quiet", "shown"), [(False, "  reading 5/9"), (True, "")])
def test_the_progress_of_a_check_is_hidden_by_quiet(quiet: bool, shown: str) -> None:
    stderr = Terminal()
    with new_client() as client, Progress(client.context(stderr=stderr, quiet=quiet)) as progress:
        progress.line('{"event": "progress", "phase": "reading", "step": 5, "of": 9}')
    assert shown in stderr.getvalue()
    assert bool(stderr.getvalue()) == bool(shown)
