"""The lines of a log, in order → events of progress and metrics, as a training of ours writes them."""

from __future__ import annotations

import re
from typing import Any, Dict, NamedTuple

from orchestrator.onhost import progress_lines
from orchestrator.onhost.progress_lines import Line
from orchestrator.onhost.progress_values import word_set, words

Event = Dict[str, Any]
_LONGEST_TEXT = 240  # characters of a line that `status --json` shows
_BARS = ("tqdm", "rich", "keras")
_EVALUATION = word_set(
    "val valid validation eval evaluating evaluation test testing predict predicting sanity"
)
_PREPARATION = word_set(
    "map mapping filter downloading download loading fetching reading extracting caching tokenizing "
    "tokenize preprocessing preparing generating resolving files shards upload uploading saving"
)
_AFTER_BAR = re.compile(r"(%\|[^\r\n]*?(?:/s|s/it|[\w.]=[^\]\s]+|\?)\])(?=[^\s\x1b])")


class Place(NamedTuple):
    """How far the training is. `of_epoch`: step and `of` are of one epoch. `left`: seconds, as a bar says."""

    step: int | None = None
    of: int | None = None
    epoch: float | None = None
    epochs: int | None = None
    left: float | None = None
    of_epoch: bool = False


class Taken(NamedTuple):
    """A line of the log, and what it was taken for: `progress`, `loss`, `metrics of val`, …"""

    what: str
    format: str
    line: str


class LogReader:
    """Reads one log from any point on. `taken`: the latest line of each kind."""

    def __init__(self) -> None:
        self.taken: dict[str, Taken] = {}
        self._place = Place()
        self._outer: Line | None = None
        self._header: Line | None = None
        self._ended: set[tuple[str, int | None]] = set()
        self._repeated: set[tuple[str, int | None]] = set()
        self._counts_from_0 = False
        self._metrics: dict[str, dict[str, float]] = {}

    @property
    def has_place(self) -> bool:
        """Whether it is known how far the training is, in all of it."""
        return self._place.of is not None and not self._place.of_epoch

    def feed(self, raw: str) -> list[Event]:
        """Events of one line, or of the part of one that a carriage return ends."""
        events: list[Event] = []
        if len(raw) > progress_lines.LONGEST:
            return events
        for part in _AFTER_BAR.sub("\\1\n", raw).split("\n"):
            line = progress_lines.parse(part)
            if line:
                events += self._bar(line) if line.format in _BARS else self._line(line)
        return events

    def _bar(self, line: Line) -> list[Event]:
        phase = _phase(line.name)
        if line.depth and self._outer:
            line = _within(line, self._outer) if phase == "train" else line._replace(step=None)
        elif not line.depth and phase == "train":
            self._outer = line
        if phase != "train":
            return [] if self._place.of or line.step is None else [self._other_phase(line, phase)]
        if line.step is not None:
            self._move(line)
        return self._events(line)

    def _other_phase(self, line: Line, phase: str) -> Event:
        return self._event(line, "progress", "progress", phase=phase, step=line.step, of=line.of)

    def _move(self, line: Line) -> None:
        key = (line.name, line.of)
        is_last = line.of is not None and line.step == line.of
        is_repeated = key in self._repeated or (key in self._ended and not is_last)
        (self._repeated if is_repeated else self._ended if is_last else set()).add(key)
        if line.format == "keras" and self._header and line.epoch is None:
            line = line._replace(epoch=self._header.epoch, epochs=self._header.epochs)
        self._counts_from_0 = self._counts_from_0 or line.epoch == 0
        before = self._place.epoch if self._place.of == line.of else None
        epoch = before if line.epoch is None else line.epoch
        place = Place(line.step, line.of, epoch, line.epochs, line.left)
        is_inner = line.depth > 0
        if line.epoch is not None and line.epochs and line.of and not is_inner:
            done = int(line.epoch) - (0 if self._counts_from_0 else 1)
            step = done * line.of + (line.step or 0)
            place = place._replace(step=step, of=line.epochs * line.of, left=None)
        elif (self._outer is None) if is_inner else (line.epoch is not None or is_repeated):
            place = place._replace(of_epoch=True, left=None)
        self._place = place
        self._take("progress", line)

    def _line(self, line: Line) -> list[Event]:
        """A line of values; its own step is kept beside a bar that says of how many."""
        if line.format == "epoch":  # the next lines are of that epoch
            self._header = line
        if line.step is not None and (line.of or not self._place.of):
            place = Place(line.step, line.of, line.epoch, line.epochs)
            if line.epoch is not None and line.of:
                place = _in_epochs(place)
            self._place = place
            self._take("progress", line)
        elif line.epoch is not None and line.step is None and not self._place.of:
            is_last = bool(line.epochs and line.values)  # a line after the epoch, not before it
            step, of = (int(line.epoch), line.epochs) if is_last else (None, None)
            self._place = Place(step, of, line.epoch, line.epochs)
            self._take("progress", line)
        elif line.epoch is not None and line.step is None:
            self._place = self._place._replace(epoch=line.epoch)
        return self._events(line)

    def _events(self, line: Line) -> list[Event]:
        values, place = line.values, self._place
        for what in ("loss", "lr", "grad_norm"):
            if getattr(values, what) is not None:
                self._take(what, line)
        numbers = {"loss": values.loss, "lr": values.lr, "grad_norm": values.grad_norm}
        fields = {**place._asdict(), **numbers}
        fields["epoch"] = line.epoch if place.epoch is None else place.epoch
        progress: Event = {"event": "progress", "phase": "train", "format": line.format}
        events = [{**progress, **{name: value for name, value in fields.items() if value is not None}}]
        for split, metrics in values.metrics.items():
            event = self._event(line, "metrics", "metrics of " + split, split=split, values=metrics)
            if self._metrics.get(split) != metrics:  # a bar repeats them
                self._metrics[split] = metrics
                events.append(event)
        return events

    def _event(self, line: Line, event: str, what: str, **fields: Any) -> Event:
        self._take(what, line)
        return {"event": event, "format": line.format, **fields}

    def _take(self, what: str, line: Line) -> None:
        self.taken[what] = Taken(what, line.format, line.text[:_LONGEST_TEXT])


def _phase(name: str) -> str:
    named = set(words(name))
    if named & _EVALUATION and "train" not in named:
        return "evaluate"
    return "prepare" if named & _PREPARATION else "train"


def _within(line: Line, outer: Line) -> Line:
    """A bar below one that counts epochs: the progress of all of them. Below another: no progress."""
    if "epoch" not in outer.name.lower() or not (outer.of and line.of) or outer.step is None:
        return line._replace(step=None)
    if line.step is None or outer.step >= outer.of:
        return line._replace(step=None)
    return line._replace(
        step=outer.step * line.of + line.step,
        of=outer.of * line.of,
        epoch=outer.step + 1,
        epochs=outer.of,
        left=None,
    )


def _in_epochs(place: Place) -> Place:
    if not place.epochs or place.epoch is None or place.of is None or place.step is None:
        return place._replace(of_epoch=True)
    step = max(0, int(place.epoch) - 1) * place.of + place.step
    return place._replace(step=step, of=place.epochs * place.of)
