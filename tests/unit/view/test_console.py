import io
import sys
from math import inf, nan

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.core.text import counted, duration, message, size
from orchestrator.view.console import colours, columns, harmless, sparkline
from orchestrator.view.log import Writer


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_colours_follow_the_conventions() -> None:
    assert colours({}, Terminal())
    assert not colours({}, io.StringIO())
    assert not colours({"NO_COLOR": "1"}, Terminal())
    assert not colours({"TERM": "dumb"}, Terminal())
    assert colours({"FORCE_COLOR": "1"}, io.StringIO())


@pytest.mark.parametrize(
    "evil",
    [
        "\x1b]0;title\x07",
        "\x1b[2J",
        "\x1b[10;10H",
        "\x1bP1$r\x1b\\",
        "\x07",
        "\x9b2J",
        "\x1bc",
        "\x1b[?1049h",
    ],
)
def test_control_sequences_of_a_host_are_removed(evil: str) -> None:
    assert harmless(f"a{evil}b") == "ab"


def test_colours_and_carriage_returns_of_progress_bars_are_kept() -> None:
    assert harmless("\x1b[31mred\x1b[0m\r50%\tx\n") == "\x1b[31mred\x1b[0m\r50%\tx\n"


@pytest.mark.parametrize(
    "letter", "\u202e\u2066\u200f\u061c\ufeff\u2028\U000e0041\U000e0101\u3164\u00ad\u180e"
)
def test_characters_that_hide_or_reorder_text_are_removed(letter: str) -> None:
    assert harmless(f"a{letter}b") == "ab"


def test_letters_of_every_script_are_kept() -> None:
    text = "naïve Ω имя 名前 שם اسم 👩\u200d🔬 می\u200cروم"
    assert harmless(text) == text


def test_a_line_of_our_own_cannot_be_overwritten_or_stay_coloured() -> None:
    assert message("done\r\x1b[31mfailed") == "done\x1b[31mfailed\x1b[0m"


@pytest.mark.parametrize("piece", ["\x1b]", "\x9d", "\x1b["])
def test_a_mebibyte_of_sequences_that_never_end_takes_linear_time(piece: str) -> None:
    """In quadratic time, it takes a minute."""
    size = 1 << 20
    out = Terminal()
    writer = Writer(out)
    content = (piece * (size // len(piece))).encode()
    for start in range(0, len(content), 1 << 15):
        writer.write(content[start : start + (1 << 15)])
    writer.close()
    assert "\x1b" not in out.getvalue()


texts = ["a", "é", "\r", "\n", "\\", "\u202e", "\x1b[31m"]
controls = ["\x1b", "\x9d", "\x9c", "\x1b]", "\x1b[", "\x1b[2J", "\x1b]0;t\x07", "\x1bPx\x1b\\", "\x1bc"]


@given(st.lists(st.sampled_from(texts + controls)).map("".join), st.data())
def test_a_log_read_in_blocks_is_shown_like_a_log_read_at_once(text: str, data: st.DataObject) -> None:
    raw = text.encode()
    cuts = sorted(data.draw(st.lists(st.integers(0, len(raw)), max_size=3)))
    out = Terminal()
    writer = Writer(out)
    for start, end in zip([0, *cuts], [*cuts, len(raw)], strict=True):
        writer.write(raw[start:end])
    writer.close()
    assert out.getvalue() == harmless(text)


def test_a_character_split_between_blocks_is_decoded() -> None:
    out = Terminal()
    writer = Writer(out)
    for byte in "é\x1b[31mü".encode():
        writer.write(bytes([byte]))
    writer.close()
    assert out.getvalue() == "é\x1b[31mü"


def test_durations_sizes_and_counts_read_well() -> None:
    assert [duration(s) for s in (5, 200, 18180, 187200)] == ["5 s", "3 min 20 s", "5 h 03 min", "2 d 04 h"]
    assert [size(n) for n in (512, 3565158, 5 << 40)] == ["512 B", "3.4 MiB", "5.0 TiB"]
    assert [counted(n, "file") for n in (0, 1, 3000)] == ["0 files", "1 file", "3,000 files"]


def test_a_sparkline_spans_minimum_to_maximum_and_marks_empty_input() -> None:
    assert sparkline([0, 1, 2]) == "▁▄█"
    assert sparkline([]) == "no data"


def test_a_sparkline_marks_what_is_not_finite() -> None:
    assert sparkline([0, nan, 1, 2, inf, -inf]) == "▁×▄█××"
    assert sparkline([nan]) == "×"


def test_a_sparkline_takes_any_floats() -> None:
    assert sparkline([-sys.float_info.max, sys.float_info.max]) == "▁█"


def test_columns_are_aligned_and_the_last_is_not_padded() -> None:
    assert columns([["a", "b"], ["ccc", "d"]]) == ["  a    b", "  ccc  d"]
