import contextlib
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.core import yamltext


@pytest.mark.parametrize(
    ("text", "value"), [("3e-4", 3e-4), ("1e5", 1e5), ("1.5", 1.5), ("12", 12), (".5", 0.5)]
)
def test_numbers_as_people_write_them_are_numbers(text: str, value: float) -> None:
    """PyYAML alone reads 3e-4 as text: a learning rate that is a string."""
    assert yamltext.parse(f"lr: {text}").value == {"lr": value}


def test_every_key_has_its_line_number() -> None:
    document = yamltext.parse("a: 1\nb:\n  c: 2\n  d:\n    - x\n")
    assert document.lines[("b", "c")] == 3
    assert document.lines[("b", "d", "0")] == 5


def test_a_duplicate_key_is_refused_with_its_line() -> None:
    with pytest.raises(yamltext.YamlError, match="twice") as error:
        yamltext.parse("a: 1\na: 2\n")
    assert error.value.line == 2


def test_invalid_yaml_is_refused_with_its_line() -> None:
    with pytest.raises(yamltext.YamlError) as error:
        yamltext.parse("a: 1\nb: [1, 2\nc: 3\n")
    assert error.value.line in (2, 3)


def test_no_python_object_is_ever_built() -> None:
    with pytest.raises(yamltext.YamlError):
        yamltext.parse("a: !!python/object/apply:os.system [id]")


@pytest.mark.parametrize("text", ["12:30:00", "1:30", "-1:30.5", "190:20:30", "010", "08", "007", "0_1"])
def test_times_and_leading_zeros_are_text_with_a_note(text: str) -> None:
    document = yamltext.parse(f"a: 1\nb: [{text}]\n")
    assert document.value == {"a": 1, "b": [text]}
    (note,) = document.notes
    assert (note.path, note.line) == (("b", "0"), 2)
    assert note.text.startswith(f"{text} is read as text")
    assert yamltext.scalar(text) == text
    quoted = yamltext.parse(f"b: '{text}'")
    assert (quoted.value, quoted.notes) == ({"b": text}, ())


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1_000", 1000),
        ("0x1F", 31),
        ("0b11", 3),
        ("0", 0),
        ("-7", -7),
        ("0.5", 0.5),
        ("00.5", 0.5),
        ("0e3", 0.0),
    ],
)
def test_other_numbers_stay_numbers_without_a_note(text: str, value: float) -> None:
    document = yamltext.parse(f"a: {text}\n")
    assert (document.value, document.notes) == ({"a": value}, ())


@pytest.mark.parametrize("text", ["2026-11-26", "12:60", "a:1", "1:30pm", "10.0.0.1", "true"])
def test_dates_and_other_text_need_no_note(text: str) -> None:
    assert yamltext.parse(f"a: {text}\n").notes == ()


@pytest.mark.parametrize(("text", "meaning"), [("no", "false"), ("On", "true"), ("OFF", "false")])
def test_words_that_yaml_takes_for_booleans_get_a_note(text: str, meaning: str) -> None:
    (note,) = yamltext.parse(f"a: {text}\n").notes
    assert note.text.startswith(f"{text} is read as {meaning}")


def aliases(levels: int, width: int) -> str:
    """A list of lists whose size grows exponentially with the levels."""
    lines = ["a0: &a0 [x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * width)}]" for n in range(1, levels)]
    return "\n".join(lines)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (aliases(30, 9), "more than 20,000 values"),
        (aliases(60, 2), "more than 20,000 values"),
        (lambda: "".join(f"key{n}: 1\n" for n in range(700_000)), "more than 20,000 values"),
        (lambda: "a: [" + "x, " * 700_000 + "]", "more than 20,000 values"),
        (lambda: "a: " + "[" * 100_000, "nesting"),
        (lambda: "a: " + "{b: " * 100_000, "more than 64 levels"),
        (lambda: "- " * 100_000, "more than 64 levels"),
        ("a: &a [*a]", "refers to itself"),
        ("? [a, b]\n: 1", "a key that is a list"),
        ("a: \udce9", "not UTF-8"),
        (lambda: "a: " + "9" * 100_000, "is no int"),
        ("a: !!int x", "is no int"),
        ("a: !!float x", "is no float"),
    ],
)
def test_what_no_person_writes_is_refused_in_bounded_time(text: str | Callable[[], str], words: str) -> None:
    """A few lines could ask for gigabytes, or for hours. Long texts are made here, not at each collection."""
    with pytest.raises(yamltext.YamlError, match=words):
        yamltext.parse(text() if callable(text) else text)


def test_an_anchor_may_be_used_as_often_as_a_person_uses_it() -> None:
    text = "base: &base {lr: 0.1}\nruns: [" + "*base, " * 500 + "]"
    assert len(yamltext.parse(text).value["runs"]) == 500


@given(st.text() | st.text(alphabet="ab:-[]{}&*?!<>|'\"#, \n\t0123.", max_size=60))
def test_any_text_is_a_document_or_an_error_of_yaml(text: str) -> None:
    with contextlib.suppress(yamltext.YamlError):
        yamltext.parse(text)
