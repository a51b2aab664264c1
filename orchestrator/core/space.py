"""What a sweep varies: keys of the job file, each with a range or a list of values. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

import msgspec
from msgspec.structs import replace

from orchestrator.errors import UsageError

Value = bool | int | float | str
EXAMPLE = "gpujob sweep JOB --space config.learning_rate=1e-4..1e-2:log"


class Sweep(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Of a job file. `space`: key to `lo..hi`, `lo..hi:log`, or a list of values, of which a text in brackets
    is a list: "[64, 32]". `metric`: `split.name`."""

    space: dict[str, str | list[Value]] = msgspec.field(default_factory=dict)
    metric: str = "val.loss"
    goal: str = "min"


class Range(msgspec.Struct, frozen=True):
    """Numbers from `low` to `high`, both included; whole numbers if `integer`."""

    low: float
    high: float
    log: bool = False
    integer: bool = False

    def __contains__(self, value: object) -> bool:
        if isinstance(value, bool) or not isinstance(value, int | float):
            return False
        return self.low <= value <= self.high and (not self.integer or value == int(value))


Dimension = Range | tuple[Value, ...]


def parse(
    written: Mapping[str, str | list[Value]], options: Iterable[str], config: Mapping[str, object]
) -> dict[str, Dimension]:
    """The space of a job file with `--space KEY=...` options on top. UsageError names what is wrong.

    `0..1` is of whole numbers, unless the job's `config` has a number with a point for that key.
    """
    space = {key: _dimension(key, value) for key, value in written.items()}
    for option in options:
        key, equals, text = option.partition("=")
        if not (key and equals and text):
            raise UsageError(f"--space {option}: write it as KEY=LOW..HIGH or KEY=A,B,C", "", EXAMPLE)
        space[key] = _dimension(key, text)
    if not space:
        why = "neither the job file (sweep.space) nor --space names a key to vary"
        raise UsageError("the sweep varies nothing", why, EXAMPLE)
    return {key: _as_configured(one, default_of(key, config)) for key, one in space.items()}


def default_of(key: str, config: Mapping[str, object]) -> object:
    """The job's own value of a key such as `config.learning_rate`; None where it has none."""
    return config.get(key.removeprefix("config.")) if key.startswith("config.") else None


def _as_configured(one: Dimension, default: object) -> Dimension:
    return replace(one, integer=False) if isinstance(one, Range) and isinstance(default, float) else one


def _dimension(key: str, value: str | list[Value]) -> Dimension:
    if isinstance(value, list):
        return _choices(key, tuple(value))
    if ".." in value:
        return _range(key, value)
    return _choices(key, tuple(_scalar(word.strip()) for word in value.split(",")))


def _choices(key: str, values: tuple[Value, ...]) -> Dimension:
    if len(values) < 2 or len(set(map(repr, values))) < len(values):
        raise UsageError(f"space of {key}: give at least two different values", "", EXAMPLE)
    return values


def _range(key: str, text: str) -> Range:
    bounds, _, kind = text.partition(":")
    low, high = (_number(word) for word in bounds.partition("..")[::2])
    if low is None or high is None or kind not in ("", "log"):
        raise UsageError(f"space of {key}: {text!r} is no range", "write LOW..HIGH or LOW..HIGH:log", EXAMPLE)
    integer = isinstance(low, int) and isinstance(high, int)
    log = kind == "log"
    if not low < high:
        raise UsageError(f"space of {key}: {text!r}: the first number must be below the second", "", EXAMPLE)
    if log and low <= 0:
        raise UsageError(f"space of {key}: {text!r}: a logarithmic range begins above 0", "", EXAMPLE)
    return Range(low, high, log, integer)


def _number(text: str) -> int | float | None:
    value = _scalar(text.strip())
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return value


def _scalar(word: str) -> Value:
    """As YAML reads it: true and false, numbers, else text."""
    if word in ("true", "false"):
        return word == "true"
    for kind in (int, float):
        try:
            return kind(word)
        except ValueError:
            continue
    return word
