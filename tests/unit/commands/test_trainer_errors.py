"""What a user reads of a trainer whose code raises: the error, its place, and where the traceback is."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from orchestrator.commands import trainer_errors
from tests.support import Client, new_client

TRACEBACK = """warning: something
Traceback (most recent call last):
  File "<frozen runpy>", line 198, in _run_module_as_main
  File "/h/.gpujob/code/1f/trainers/__main__.py", line 279, in main
    return commands[arguments.command](arguments)
  File "/h/.gpujob/code/1f/trainers/linear/trainer.py", line 50, in load
    rows = folders["tables"]
  File "/usr/lib/python3.11/collections/__init__.py", line 9, in __getitem__
KeyError: 'tables'
"""


@pytest.fixture
def client() -> Iterator[Client]:
    with new_client() as new:
        yield new


@pytest.mark.parametrize(
    ("printed", "reason"),
    [
        (TRACEBACK, "KeyError: 'tables' (trainers/linear/trainer.py:50)"),
        (TRACEBACK[200:], "KeyError: 'tables' (trainers/linear/trainer.py:50)"),
        ("one\nKilled\n\n", "Killed"),
        ("", "it printed nothing"),
    ],
)
def test_a_traceback_is_told_by_its_error_and_the_line_of_the_trainer(printed: str, reason: str) -> None:
    assert trainer_errors.reason(printed) == reason


def test_a_traceback_is_kept_in_the_log_that_is_named(client: Client) -> None:
    ctx = client.context()
    assert trainer_errors.next_step(ctx, "Killed") == "gpujob doctor"
    assert trainer_errors.next_step(ctx, TRACEBACK) == f"the traceback is in {ctx.log_file}"
    assert "KeyError: 'tables'" in ctx.log_file.read_text()
