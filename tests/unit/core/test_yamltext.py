import pytest

from orchestrator.core import decode


@pytest.mark.parametrize(
    ("text", "value"), [("3e-4", 3e-4), ("1e5", 1e5), ("1.5", 1.5), ("12", 12), (".5", 0.5)]
)
def test_numbers_as_people_write_them_are_numbers(text: str, value: float) -> None:
    """PyYAML alone reads 3e-4 as text: a learning rate that is a string."""
    assert decode.parse(f"lr: {text}").value == {"lr": value}


def test_every_key_has_its_line_number() -> None:
    document = decode.parse("a: 1\nb:\n  c: 2\n  d:\n    - x\n")
    assert document.lines[("b", "c")] == 3
    assert document.lines[("b", "d", "0")] == 5


def test_a_duplicate_key_is_refused_with_its_line() -> None:
    with pytest.raises(decode.YamlError, match="twice") as error:
        decode.parse("a: 1\na: 2\n")
    assert error.value.line == 2


def test_invalid_yaml_is_refused_with_its_line() -> None:
    with pytest.raises(decode.YamlError) as error:
        decode.parse("a: 1\nb: [1, 2\nc: 3\n")
    assert error.value.line in (2, 3)


def test_no_python_object_is_ever_built() -> None:
    with pytest.raises(decode.YamlError):
        decode.parse("a: !!python/object/apply:os.system [id]")
