"""All events of a run → its curves over steps, results and findings, thinned to what a screen shows. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from typing import Any

import msgspec

from orchestrator.core import decode, events, jsontext
from orchestrator.core.decode import Count, Seconds

MOST_CURVES = 60
_SHOWN = ("loss", "lr", "grad_norm", "rate")


class Row(msgspec.Struct, frozen=True):
    """One event, of any kind, with the fields that are used here."""

    event: str = ""
    t: Seconds = 0.0
    phase: str = "train"
    step: float | None = None
    epoch: float | None = None
    of: float | None = None
    of_epoch: bool = False
    loss: float | None = None
    lr: float | None = None
    grad_norm: float | None = None
    rate: float | None = None
    split: str = ""
    values: dict[str, float | None] = {}
    classes: tuple[str, ...] = ()
    confusion: tuple[tuple[float, ...], ...] = ()
    per_class: dict[str, dict[str, float | None]] = {}
    wrong: tuple[dict[str, Any], ...] = ()
    resumed_from: Count | None = None
    rule: str = ""
    severity: str = "warning"
    message: str = ""
    seen: str = ""
    status: str = ""


_DECODER = msgspec.json.Decoder(Row)


def rows(text: str) -> Iterator[Row]:
    """The events in lines of JSON; other lines are skipped."""
    for line in text.splitlines():
        try:
            yield _DECODER.decode(line)
        except (msgspec.DecodeError, RecursionError, ValueError):
            try:
                row = decode.struct(jsontext.parse(line), Row, strict=False)
            except jsontext.BadJson:
                continue
            if row:
                yield row


class Curve(msgspec.Struct):
    """Points (x, y) in order of x; `odd`: how many values are not finite."""

    name: str
    split: str
    points: list[tuple[float, float]] = msgspec.field(default_factory=list)
    odd: int = 0

    def add(self, x: float, y: float) -> None:
        if not math.isfinite(y) or not math.isfinite(x):
            self.odd += 1
        else:
            self.points.append((x, y))

    def continue_at(self, step: float) -> None:
        """An attempt continues from a checkpoint: what came after it is replaced."""
        while self.points and self.points[-1][0] > step:
            self.points.pop()

    @property
    def last(self) -> float | None:
        return self.points[-1][1] if self.points else None

    @property
    def low(self) -> float | None:
        return min((y for _, y in self.points), default=None)

    @property
    def high(self) -> float | None:
        return max((y for _, y in self.points), default=None)

    def thinned(self, columns: int) -> list[tuple[float, float]]:
        """At most two points for each column of a picture: its least and its greatest value, in order."""
        if len(self.points) <= 2 * columns:
            return self.points
        first, last = self.points[0][0], self.points[-1][0]
        width = (last - first) / columns or 1.0
        kept: list[tuple[float, float]] = []
        column: list[tuple[float, float]] = []
        edge = first + width
        for point in self.points:
            if point[0] >= edge and column:
                kept += _extremes(column)
                column = []
                edge = first + width * (math.floor((point[0] - first) / width) + 1)
            column.append(point)
        return kept + _extremes(column)


def _extremes(column: list[tuple[float, float]]) -> list[tuple[float, float]]:
    low = min(column, key=lambda point: point[1])
    high = max(column, key=lambda point: point[1])
    return [low] if low == high else sorted((low, high))


class Axis:
    """Where events are on the axis of steps, in the order in which they were written.

    An event without a step is where the progress before it was. Steps of an epoch are counted on over the
    epochs. As long as there is no step, epochs count.
    """

    def __init__(self) -> None:
        self._epochs = self._last = 0.0
        self._at: float | None = None
        self._epoch: float | None = None
        self.is_by_epoch = False

    def step_of(self, row: Row) -> float | None:
        """None where nothing before and nothing in the event has a step."""
        if row.step is None:
            self._epoch = self._epoch if row.epoch is None else row.epoch
            self.is_by_epoch = self.is_by_epoch or (self._at is None and self._epoch is not None)
            return self._epoch if self._at is None else self._at
        if not row.of_epoch:
            self._at = row.step
            return row.step
        if row.step < self._last:
            self._epochs += row.of or self._last
        self._last = row.step
        self._at = self._epochs + row.step
        return self._at


class Story(msgspec.Struct):
    """What the events of a run say. `results`: by split, the latest row with a confusion matrix or
    with more. `notes`: health findings and warnings, each once."""

    curves: dict[tuple[str, str], Curve] = msgspec.field(default_factory=dict)
    results: dict[str, Row] = msgspec.field(default_factory=dict)
    notes: list[events.Health] = msgspec.field(default_factory=list)
    restarts: int = 0
    points: int = 0
    end: str = ""
    is_by_epoch: bool = False

    def curve(self, name: str, split: str = "train") -> Curve | None:
        return self.curves.get((name, split))


def read(text: str) -> Story:
    """Reads all events of a run, in the order in which they were written."""
    return fold(rows(text))


def fold(entries: Iterable[Row]) -> Story:
    story, axis = Story(), Axis()
    for row in entries:
        if row.event == "start":
            story.restarts += any(curve.points for curve in story.curves.values())
            for curve in story.curves.values():
                curve.continue_at(float(row.resumed_from or 0))
        elif row.event in ("progress", "metrics"):
            _add_points(story, row, axis.step_of(row))
        elif row.event == "results":
            story.results[row.split] = row
        elif row.event in ("health", "warning"):
            message = row.message or row.seen
            note = events.Health(t=row.t, rule=row.rule, severity=row.severity, message=message)
            if all((note.rule, note.message) != (other.rule, other.message) for other in story.notes):
                story.notes.append(note)
        elif row.event == "end":
            story.end = row.message
    story.is_by_epoch = axis.is_by_epoch
    return story


def numbers(row: Row) -> Iterator[tuple[str, str, float]]:
    """The (split, name, value) of an event: the progress of a training, or metrics."""
    if row.event == "progress" and row.phase == "train":
        for name in _SHOWN:
            if (value := getattr(row, name)) is not None:
                yield "train", name, value
    elif row.event == "metrics":
        for name, value in row.values.items():
            if value is not None:
                yield row.split or "val", name, value


def _add_points(story: Story, row: Row, step: float | None) -> None:
    if row.event == "metrics" and row.confusion:
        before = story.results.get(row.split or "val")
        if before is None or before.event != "results":
            story.results[row.split or "val"] = row
    for split, name, value in numbers(row):
        key = (name, split)
        if key not in story.curves and len(story.curves) >= MOST_CURVES:
            continue
        curve = story.curves.setdefault(key, Curve(name, split))
        curve.add(len(curve.points) if step is None else step, value)
        story.points += 1
