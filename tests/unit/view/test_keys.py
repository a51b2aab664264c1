"""Keys between two refreshes of a screen."""

from __future__ import annotations

import os

import pytest

from orchestrator.commands import overview
from orchestrator.view.keys import Keys
from tests.support import new_client


class Typed(Keys):
    """Keys that were typed before they are read."""

    def __init__(self, content: bytes) -> None:
        reading, writing = os.pipe()
        os.write(writing, content)
        os.close(writing)
        with new_client() as client:
            super().__init__(client.context(sleep=lambda _: None), reading)


@pytest.fixture(autouse=True)
def without_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(overview, "_SECOND_DIGIT", 0.01)


@pytest.mark.parametrize(
    ("content", "keys"),
    [
        (b"\x1b[A\r", ["\x1b[A", "\r"]),
        (b"\x1bOBq", ["\x1bOB", "q"]),
        (b"12", ["1", "2"]),
        ("é字".encode(), ["é", "字"]),
        (b"\x1b[1;5Cj", ["\x1b[1;5C", "j"]),
        (b"\xff\x1b", ["\ufffd", "\x1b"]),
    ],
)
def test_keys_that_arrive_together_are_read_one_by_one(content: bytes, keys: list[str]) -> None:
    typed = Typed(content)
    assert [typed.wait(1.0) for _ in keys] == keys
    assert typed.wait(0.01) == ""


@pytest.mark.parametrize(
    ("content", "count", "number"),
    [
        (b"12", 20, "12"),
        (b"12", 9, "1"),
        (b"1", 20, "1"),
        (b"3", 20, "3"),
        (b"1\r", 20, "1"),
        (b"j", 20, "j"),
    ],
)
def test_a_run_with_two_digits_is_opened_by_its_number(content: bytes, count: int, number: str) -> None:
    typed = Typed(content)
    assert overview._whole_number(typed, typed.wait(1.0), count) == number
