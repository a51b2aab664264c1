"""The space of a sweep: ranges, choices, and what is refused."""

from __future__ import annotations

import pytest

from orchestrator.core import space
from orchestrator.core.space import Range, Value
from orchestrator.errors import UsageError


@pytest.mark.parametrize(
    ("text", "dimension"),
    [
        ("1e-4..1e-2:log", Range(1e-4, 1e-2, log=True)),
        ("0.0..0.6", Range(0.0, 0.6)),
        (".1...5", Range(0.1, 0.5)),
        ("-1..1.5", Range(-1, 1.5)),
        ("1..8", Range(1, 8, integer=True)),
        ("1..1024:log", Range(1, 1024, log=True, integer=True)),
        ("relu,gelu", ("relu", "gelu")),
        ("16, 32, 64", (16, 32, 64)),
        ("true,false", (True, False)),
    ],
)
def test_a_range_or_a_list_is_understood(text: str, dimension: space.Dimension) -> None:
    assert space.parse({}, [f"config.x={text}"], {}) == {"config.x": dimension}


def test_whole_bounds_of_a_number_with_a_point_are_no_whole_numbers() -> None:
    assert space.parse({"config.x": "0..1"}, [], {"x": 0.5}) == {"config.x": Range(0, 1)}
    assert space.parse({"config.x": "0..1"}, [], {"x": 1}) == {"config.x": Range(0, 1, integer=True)}


def test_an_option_replaces_the_range_of_the_job() -> None:
    written: dict[str, str | list[Value]] = {"config.x": [1, 2], "config.y": ["[64]", "[64, 32]"]}
    found = space.parse(written, ["config.x=3..4"], {})
    assert found == {"config.x": Range(3, 4, integer=True), "config.y": ("[64]", "[64, 32]")}


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("config.x", "KEY=LOW..HIGH"),
        ("=1..2", "KEY=LOW..HIGH"),
        ("config.x=2..1", "below the second"),
        ("config.x=1..1", "below the second"),
        ("config.x=0..1:log", "begins above 0"),
        ("config.x=1..2:cubic", "is no range"),
        ("config.x=a..b", "is no range"),
        ("config.x=1..inf", "is no range"),
        ("config.x=nan..1", "is no range"),
        ("config.x=5", "two different values"),
        ("config.x=5,5", "two different values"),
    ],
)
def test_a_space_that_cannot_be_searched_is_refused(option: str, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        space.parse({}, [option], {})
    assert message in f"{caught.value.what} {caught.value.why}"


def test_a_sweep_that_varies_nothing_is_refused() -> None:
    with pytest.raises(UsageError, match="varies nothing"):
        space.parse({}, [], {})


@pytest.mark.parametrize(
    ("value", "within"), [(1, True), (4, True), (2.5, False), (0, False), (True, False), ("2", False)]
)
def test_a_value_is_within_a_range_of_whole_numbers(value: object, within: bool) -> None:
    assert (value in Range(1, 4, integer=True)) is within
