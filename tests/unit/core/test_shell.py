import subprocess

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.core import shell

words = st.lists(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"])), min_size=1)


@settings(max_examples=60, deadline=None)
@given(words)
def test_a_real_shell_splits_the_line_into_exactly_these_words(given_words: list[str]) -> None:
    line = "printf '%s\\0' " + shell.join(given_words)
    output = subprocess.run(["sh", "-c", line], capture_output=True, check=True).stdout
    assert output == b"".join(word.encode() + b"\0" for word in given_words)


@pytest.mark.parametrize("evil", ["$(touch x)", "`id`", "a;b", "a'b", 'a"b', "a\nb", "é", "", "-n", "~", "*"])
def test_arguments_with_shell_syntax_are_not_expanded(evil: str) -> None:
    output = subprocess.run(
        ["sh", "-c", "printf '%s' " + shell.join([evil])], capture_output=True, check=True
    ).stdout
    assert output.decode() == evil


def test_a_nul_byte_is_refused_since_no_argument_can_contain_it() -> None:
    with pytest.raises(ValueError, match="NUL"):
        shell.join(["a\0b"])


def test_control_characters_are_made_visible_for_a_person() -> None:
    assert "\x1b" not in shell.show(["\x1b[31mred"])
