"""The curves of a run, however long it is: each metric as a few thousand values, in bounded memory. Pure."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator

import msgspec

from orchestrator.core import events as ev
from orchestrator.core.events import Event

MOST_VALUES = 4096  # of one series; a terminal has fewer columns
MOST_SERIES = 200


class Series(msgspec.Struct):
    """One metric. `values`: means of equally many values each, or what among them is not finite.

    `low` and `high` are of all finite values; `odd` counts the others.
    """

    values: list[float] = msgspec.field(default_factory=list)
    last: float = math.nan
    low: float = math.inf
    high: float = -math.inf
    odd: int = 0
    _per_value: int = 1
    _pending: list[float] = msgspec.field(default_factory=list)

    def add(self, value: float) -> None:
        self.last = value
        if math.isfinite(value):
            self.low, self.high = min(self.low, value), max(self.high, value)
        else:
            self.odd += 1
        self._pending.append(value)
        if len(self._pending) == self._per_value:
            self.values.append(_mean(self._pending))
            self._pending.clear()
        if len(self.values) == MOST_VALUES:
            pairs = zip(self.values[::2], self.values[1::2], strict=True)
            self.values = [_mean(pair) for pair in pairs]
            self._per_value *= 2


def _mean(values: Iterable[float]) -> float:
    numbers = list(values)
    odd = next((value for value in numbers if not math.isfinite(value)), None)
    return odd if odd is not None else sum(value / len(numbers) for value in numbers)


_LOSS, _RATE, _NORM = ("train", "loss"), ("learning", "rate"), ("gradient", "norm")
_LAST = (_RATE, _NORM)


class History:
    """Loss and metrics of training and validation, the learning rate, the norm of the gradient."""

    def __init__(self, events: Iterable[Event] = ()) -> None:
        self._series: dict[tuple[str, str], Series] = {}
        self.first_step: int | None = None
        self.last_step: int | None = None
        self.add(events)

    def add(self, events: Iterable[Event]) -> None:
        for event in events:
            if isinstance(event, ev.Progress) and event.phase == "train" and event.step is not None:
                self.first_step = event.step if self.first_step is None else self.first_step
                self.last_step = event.step
            for key, value in _values(event):
                if key in self._series or len(self._series) < MOST_SERIES:
                    self._series.setdefault(key, Series()).add(value)

    def curves(self) -> list[tuple[str, Series]]:
        """Each series with its name: `train loss` first, the metrics as they came, then the learning rate.

        Of a test only what was measured again and again: one value is no curve.
        """
        kept = [item for item in self._series.items() if item[0][0] != "test" or len(item[1].values) > 1]
        ordered = sorted(kept, key=lambda item: _order(item[0]))
        return [(" ".join(key), series) for key, series in ordered]


_LOWER_IS_BETTER = "nll ppl perplexity wer cer ter mae mse rmse mape rmsle bpb bpc fid cost error err"


def best(name: str, series: Series) -> float | None:
    """The best value of a curve; None where there is none, and for a learning rate or a gradient."""
    if series.low > series.high or name in (" ".join(_RATE), " ".join(_NORM)):
        return None
    return series.low if is_lower_better(name) else series.high


def is_lower_better(name: str) -> bool:
    """Whether a metric is a loss or an error: `val.loss`, `valLoss`, `word_error`, `wer`; not `answers`."""
    name = name.lower()
    return "loss" in name or any(word in _LOWER_IS_BETTER.split() for word in re.split(r"[\W_]+", name))


def _order(key: tuple[str, str]) -> int:
    return 0 if key == _LOSS else 3 if key in _LAST else 2 if key[0] == "train" else 1


def _values(event: Event) -> Iterator[tuple[tuple[str, str], float]]:
    if isinstance(event, ev.Progress):
        for key, value in ((_LOSS, event.loss), (_RATE, event.lr), (_NORM, event.grad_norm)):
            if value is not None:
                yield key, value
    if isinstance(event, ev.Metrics):
        for name, value in event.values.items():
            if value is not None:
                yield (event.split, name), value
