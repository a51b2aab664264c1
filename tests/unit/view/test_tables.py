"""Tables and lines on terminals of every width: no word and no number is cut."""

from __future__ import annotations

import io
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.context import Context
from orchestrator.core.text import cells, flow
from orchestrator.view import console
from tests.support import new_client


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def context(width: int | None, **env: str) -> Context:
    with new_client() as client:
        stream = Terminal() if width else io.StringIO()
        return client.context(env={"COLUMNS": str(width), **env}, stdout=stream, stderr=stream)


ROWS = [
    [
        "train-20261126T032043-e895",
        "running",
        "step 123456/654321 (19 %, epoch 12.5)",
        "3 h 20 min, 9 h left",
    ],
    ["eval-20261126T032043-e895", "failed", "exit code 137", "12 d 04 h ago"],
]


@pytest.mark.parametrize("width", [40, 60, 80, 160])
def test_a_table_fits_the_terminal_and_keeps_every_word(width: int) -> None:
    lines = console.table_lines(context(width), ROWS)
    assert max(map(len, lines)) <= width
    words = sorted(" ".join(lines).split())
    assert words == sorted(word for row in ROWS for cell in row for word in cell.split())


def test_a_number_and_its_unit_stay_on_one_line() -> None:
    rows = [["train-a-20261126T072219-4dba", "running", "step 6/20 (31 %)", "1 min 04 s, 2 min 21 s left"]]
    first, second = console.table_lines(context(78), rows)
    assert first.endswith("running  step 6/20 (31 %)  1 min 04 s,")
    assert second.split() == ["2", "min", "21", "s", "left"]


def test_a_row_in_a_pipe_is_one_line_however_long() -> None:
    assert len(console.table_lines(context(None), [[*row, "x" * 400] for row in ROWS])) == 2


def test_colours_do_not_count_as_width() -> None:
    for width in (60, 160):
        plain = console.table_lines(context(width, NO_COLOR="1"), ROWS, {"failed": "red"})
        coloured = console.table_lines(context(width, FORCE_COLOR="1"), ROWS, {"failed": "red"})
        assert any("\x1b[31mfailed" in line for line in coloured)
        assert [re.sub(r"\x1b\[[0-9;]*m", "", line).rstrip() for line in coloured] == plain


def test_rows_of_different_lengths_are_shown() -> None:
    assert console.table_lines(context(80), [["a", "b"], ["c"]]) == ["  a  b", "  c"]


words = st.lists(st.text("ab字é\u0301", min_size=1, max_size=9), min_size=1, max_size=30)


@given(words, st.integers(20, 90))
def test_a_line_breaks_between_words_and_keeps_them_all(parts: list[str], width: int) -> None:
    lines = flow("  " + " ".join(parts), width)
    assert " ".join(lines).split() == parts
    assert all(cells(line) <= width for line in lines)


def test_a_command_to_copy_stays_on_one_line() -> None:
    line = "  next: gpujob deploy train.yaml --data clips=/a/long/path --on ssh://me@gpubox"
    assert flow(line, 40) == [line]


def test_a_prompt_on_a_narrow_terminal_keeps_its_prices_whole() -> None:
    ctx = context(60)
    price = "  at most $1.228 an hour ($1.212 + disk $0.011 + address $0.005; prices of 2026-07-20)"
    ctx.warn(price)
    shown = ctx.stderr.getvalue()  # type: ignore[attr-defined]
    assert shown.splitlines() == [
        "  at most $1.228 an hour ($1.212 + disk $0.011 + address",
        "      $0.005; prices of 2026-07-20)",
    ]
