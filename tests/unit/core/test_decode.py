"""JSON of any shape: a bad value costs that value and nothing else."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from orchestrator.core import decode, hostfacts
from orchestrator.core.decode import Count, Seconds


class Inner(msgspec.Struct, frozen=True):
    name: str
    size: Count = 0


class Outer(msgspec.Struct, frozen=True):
    created: Seconds | None = None
    inner: Inner | None = None
    many: tuple[Inner, ...] = ()
    pids: list[Count] = []


NESTED: Any = []
for _ in range(2000):
    NESTED = [NESTED]


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ({"created": 5, "unknown": 1}, Outer(created=5)),
        ({"created": float("nan"), "pids": [1]}, Outer(pids=[1])),
        ({"created": float("inf"), "pids": [1, "x", 2]}, Outer(pids=[1, 2])),
        ({"created": 10**400, "pids": [10**5000, 3]}, Outer(pids=[3])),
        ({"inner": {"size": 1}, "created": 1.5}, Outer(created=1.5)),
        ({"inner": {"name": "a", "size": "big"}}, Outer(inner=Inner("a"))),
        (
            {"many": [{"name": "a"}, {"size": 1}, 7, {"name": "b", "size": []}]},
            Outer(many=(Inner("a"), Inner("b"))),
        ),
        ({"many": NESTED, "pids": [1]}, Outer(pids=[1])),
        ({"many": {"name": "a"}, "pids": [1]}, Outer(pids=[1])),
        ([], None),
        (None, None),
        (NESTED, None),
    ],
)
def test_a_bad_value_costs_that_value_alone(value: Any, expected: Outer | None) -> None:
    assert decode.struct(value, Outer) == expected


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@example({"pythons": 5, "gpus": {}, "data_folders": []})
@given(st.dictionaries(st.sampled_from(hostfacts.HostFacts.__struct_encode_fields__), JSON))
def test_any_answer_gives_host_facts(answer: dict[str, Any]) -> None:
    facts = hostfacts.parse({**answer, "tmux": "tmux 3.4"})
    assert facts.tmux == "tmux 3.4"


def test_gpus_that_could_not_be_queried_are_unknown_not_absent() -> None:
    assert hostfacts.parse({"gpus": None}).gpus is None
    assert hostfacts.parse({"gpus": []}).gpus == ()
