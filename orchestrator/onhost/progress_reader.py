"""The lines of a log, in order → events of progress and metrics, as a training of ours writes them."""

from __future__ import annotations

import re
from typing import Any, Dict, NamedTuple

from orchestrator.onhost import progress_lines, progress_tables
from orchestrator.onhost.progress_values import SPLITS, Line, word_set, words

Event = Dict[str, Any]
_LONGEST_TEXT = 240  # characters of a line that `status --json` shows
_BARS = ("tqdm", "rich", "keras")
_EVALUATION = word_set(
    "val valid validate validating validation eval evaluate evaluating evaluation test testing predict "
    "predicting inference sanity"
)
_PREPARATION = word_set(
    "map mapping filter downloading download loading fetching reading extracting caching tokenizing "
    "tokenize preprocessing preparing generating resolving files shards upload uploading saving scanning "
    "indexing building computing converting encoding creating collecting writing parsing sorting compiling "
    "calibrating inspecting verifying copying decompressing unzipping"
)
_SPLIT = re.compile(  # `Test Error:`, which says what the lines after it are about
    r"\W*(?:running\s+)?([a-z]+)(?:\s+(?:errors?|results?|metrics|set|scores?|performance))?\s*:?\W*",
    re.IGNORECASE,
)
_FILE = re.compile(r'\s*File "[^"]*", line \d')
_AFTER_BAR = re.compile(r"(%\|[^\r\n]*?(?:/s|s/it|[\w.]=[^\]\s]+|\?)\])(?=[^\s\x1b])")


class Position(NamedTuple):
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
        self._position = Position()
        self._outer: Line | None = None
        self._header: Line | None = None
        self._is_new_epoch = self._goes_on = self._is_over = False
        self._step: int | None = None
        self._of_ended: int | None = None  # of Keras' bar of this epoch, once it has ended
        self._ended: set[tuple[str, int | None]] = set()
        self._repeated: set[tuple[str, int | None]] = set()
        self._counts_from_0 = False
        self._metrics: dict[str, dict[str, float]] = {}
        self._table = progress_tables.Table()
        self._split = ""
        self._is_code = False

    @property
    def has_position(self) -> bool:
        """Whether it is known how far the training is, in all of it."""
        return self._position.of is not None and not self._position.of_epoch

    def feed(self, raw: str) -> list[Event]:
        """Events of one line, or of the part of one that a carriage return ends."""
        events: list[Event] = []
        if len(raw) > progress_lines.LONGEST:
            return events
        for part in _AFTER_BAR.sub("\\1\n", raw).split("\n"):
            is_code, self._is_code = self._is_code, bool(_FILE.match(part))
            if is_code or self._is_code:  # of a traceback
                continue
            line = progress_lines.parse(part, self._split) or self._other(part)
            if line:
                events += self._bar(self._of_table(line)) if line.format in _BARS else self._line(line)
        return events

    def forget(self) -> LogReader:
        """Keeps what holds for the whole log, such as the heading of its table, and no value."""
        kept = LogReader()
        kept._counts_from_0, kept._goes_on = self._counts_from_0, self._goes_on
        kept._table = self._table.copy()
        return kept

    def _of_table(self, line: Line) -> Line:
        """A bar behind a row of a table, or behind the heading of one, as Ultralytics prints them."""
        cells = progress_tables.cells(line.name)
        if len(cells) > 2 and self._table.begins(cells):
            return line._replace(name="val" if cells[0].lower() == "class" else "")
        row = self._table.row(line.name) if len(cells) > 2 else None
        if row is None:
            return line
        return line._replace(name="", epoch=row.epoch, epochs=row.epochs, values=row.values)

    def _other(self, raw: str) -> Line | None:
        """Reads a row of a table. None for a heading, whose split is kept for the next lines."""
        text = progress_lines.plain(raw)
        if heading := _SPLIT.fullmatch(text):
            self._split = SPLITS.get(heading[1].lower(), self._split)
            return None
        line = self._table.read(text) if text else None
        return line and line._replace(text=text)

    def _bar(self, line: Line) -> list[Event]:
        phase = _phase(line.name)
        if self._is_after_epoch(line):
            return self._evaluated(line)
        if line.depth and self._outer:
            line = _within(line, self._outer) if phase == "train" else line._replace(step=None)
        elif not line.depth and phase == "train":
            self._outer = line
        if phase != "train":
            return [] if self._position.of or line.step is None else [self._other_phase(line, phase)]
        if line.step is not None:
            self._move(line)
        return self._events(line)

    def _is_after_epoch(self, line: Line) -> bool:
        """Keras: whether a bar is that of an evaluation or a prediction, behind the one of an epoch."""
        if line.format != "keras" or not self._header:
            return False
        if self._of_ended and (line.of != self._of_ended or line.step != self._of_ended):
            return True
        self._of_ended = line.of if line.step == line.of else None
        return False

    def _evaluated(self, line: Line) -> list[Event]:
        values = dict(line.values.metrics.get("train", {}))
        if line.values.loss is not None:
            values["loss"] = line.values.loss
        if line.step != line.of or not values:
            return []
        return [self._event(line, "metrics", "metrics of test", split="test", values=values)]

    def _other_phase(self, line: Line, phase: str) -> Event:
        return self._event(line, "progress", "progress", phase=phase, step=line.step, of=line.of)

    def _move(self, line: Line) -> None:
        key = (line.name, line.of)
        is_last = line.of is not None and line.step == line.of
        is_repeated = key in self._repeated or (key in self._ended and not is_last)
        (self._repeated if is_repeated else self._ended if is_last else set()).add(key)
        if not line.depth:
            line = self._of_header(line)
        self._is_over = is_last
        self._counts_from_0 = self._counts_from_0 or line.epoch == 0
        before = self._position.epoch if self._position.of == line.of else None
        epoch = before if line.epoch is None else line.epoch
        position = Position(line.step, line.of, epoch, line.epochs, line.left)
        is_inner = line.depth > 0
        if line.epoch is not None and line.epochs and line.of and not is_inner:
            position = self._in_epochs(position)
        elif (self._outer is None) if is_inner else (line.epoch is not None or is_repeated):
            position = position._replace(of_epoch=True, left=None)
        self._position = position
        self._take("progress", line)

    def _of_header(self, line: Line) -> Line:
        """Steps after the heading of an epoch are of that epoch, unless they go on from the epoch before."""
        if self._header is None or line.epoch is not None or line.step is None or not line.of:
            return line
        if self._is_new_epoch and self._step is not None:
            self._goes_on = line.step > self._step
        self._is_new_epoch, self._step = False, line.step
        if self._goes_on:
            return line
        return line._replace(epoch=self._header.epoch, epochs=self._header.epochs)

    def _in_epochs(self, position: Position) -> Position:
        """The step of an epoch as one of all epochs, if it is known how many there are."""
        if not position.epochs or position.epoch is None or position.of is None or position.step is None:
            return position._replace(of_epoch=True, left=None)
        done = max(0, int(position.epoch) - (0 if self._counts_from_0 else 1))
        of = max(position.epochs, done + 1) * position.of
        return position._replace(step=done * position.of + position.step, of=of, left=None)

    def _line(self, line: Line) -> list[Event]:
        """A line of values; its own step is kept beside a bar that says of how many and goes on."""
        if line.format == "epoch":  # the next lines are of that epoch
            self._header, self._is_new_epoch, self._of_ended = line, True, None
        if line.split or line.step is not None or line.epoch is not None:
            self._split = line.split
        if line.split and not line.values:
            return []
        line = self._of_header(line)
        self._counts_from_0 = self._counts_from_0 or line.epoch == 0
        if line.step is not None and (line.of or not self._position.of or self._is_over):
            self._is_over = False
            position = Position(line.step, line.of, line.epoch, line.epochs, line.left)
            self._position = self._in_epochs(position) if line.epoch is not None and line.of else position
            self._take("progress", line)
        elif line.epoch is not None and line.step is None and not self._position.of:
            is_last = bool(line.epochs and line.values)  # a line after the epoch, not before it
            step, of = (int(line.epoch), line.epochs) if is_last else (None, None)
            self._position = Position(step, of, line.epoch, line.epochs)
            self._take("progress", line)
        elif line.epoch is not None and line.step is None:
            self._position = self._position._replace(epoch=line.epoch)
        return self._events(line)

    def _events(self, line: Line) -> list[Event]:
        values, position = line.values, self._position
        for what in ("loss", "lr", "grad_norm"):
            if getattr(values, what) is not None:
                self._take(what, line)
        numbers = {"loss": values.loss, "lr": values.lr, "grad_norm": values.grad_norm}
        fields = {**position._asdict(), **numbers}
        fields["epoch"] = line.epoch if position.epoch is None else position.epoch
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
