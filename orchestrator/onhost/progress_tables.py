"""Tables in a log: a heading such as `epoch  train_loss  accuracy`, then rows; and rows `| name | 0.5 |`."""

from __future__ import annotations

import re

from orchestrator.onhost.progress_values import (
    NUMBER,
    Line,
    Values,
    is_measured,
    is_metric,
    is_plain_metric,
    is_rate,
    split_of,
    to_float,
    unit_of,
    words,
)

_MOST_CELLS = 40
_HINT = re.compile(r"[|│┃┆]|epoch|iter|step|round|class", re.IGNORECASE)
_BOX = re.compile(r"[|│┃┆]")
_RULE = re.compile(r"[-=─━═+|│┃┏┓┗┛┡┩├┤┼└┘┌┐╇╡╞╪ ]+")
_CELL = re.compile(
    rf"(?P<value>{NUMBER})(?:/(?P<of>\d+))?(?:[%A-Za-z]{{1,4}})?|\d+:\d\d(?::\d\d)?", re.IGNORECASE
)
_TOTAL = ("all", "mean", "average", "avg", "overall", "total")
_SPACE = 3  # lines that may lie between a heading and its first row


class Table:
    """The table that the log is in, if it is in one. The rows of one count epochs or steps upwards."""

    def __init__(self) -> None:
        self._names: list[str] = []
        self._last: float | None = None
        self._space = 0

    def copy(self) -> Table:
        other = Table()
        other._names, other._last, other._space = self._names, self._last, self._space
        return other

    def read(self, text: str) -> Line | None:
        """What a line says as a row; a line that is a heading begins a table, and says nothing."""
        if not self._names and not _HINT.search(text):
            return None
        row = cells(text)
        if len(row) == 2 and _BOX.search(text):
            return _named(*row)
        if self.begins(row):
            return None
        line = self._row(row)
        if line is None and not _RULE.fullmatch(text):
            self._space += 1
        return line

    def begins(self, row: list[str]) -> bool:
        """Whether these cells are a heading, which the next rows are then of."""
        if not 2 <= len(row) <= _MOST_CELLS or any(_CELL.fullmatch(cell) for cell in row):
            return False
        if not (unit_of(row[0]) or row[0].lower() == "class") or not any(map(is_metric, row[1:])):
            return False
        self._names, self._last, self._space = row, None, 0
        return True

    def row(self, text: str) -> Line | None:
        """What a text says, if it is a row of this table."""
        return self._row(cells(text))

    def _row(self, row: list[str]) -> Line | None:
        if not self._names or len(row) != len(self._names):
            return None
        matches = [_CELL.fullmatch(cell) for cell in row]
        first, kind = matches[0], unit_of(self._names[0])
        if not all(matches[1:]) or bool(first and first["value"]) != bool(kind):
            return None
        if not first:
            return self._total(row[0], matches)
        at = to_float(first["value"])
        if (self._space > _SPACE and at != (self._last or 0) + 1) or at < (self._last or 0):
            return None
        self._last = at
        of = int(first["of"]) if first["of"] else None
        position = {"epoch": at, "epochs": of} if kind == "epoch" else {"step": int(at), "of": of}
        return Line("table", "", values=self._values(matches, "train"))._replace(**position)

    def _total(self, name: str, matches: list[re.Match[str] | None]) -> Line | None:
        """The row of all classes of a validation."""
        return Line("table", "", values=self._values(matches, "val")) if name.lower() in _TOTAL else None

    def _values(self, matches: list[re.Match[str] | None], split: str) -> Values:
        columns = zip(self._names[1:], matches[1:])
        pairs = [(name, match["value"]) for name, match in columns if match and is_measured(name)]
        return Values(split).add((name, to_float(value)) for name, value in pairs if value)


def cells(text: str) -> list[str]:
    """The cells of a line: between bars, tabs, commas, wide spaces or, where each is one word, spaces."""
    text = text.strip()
    for pattern in (_BOX, r"\t+\s*", r"\s{2,}", r"\s*,\s*", r"\s+"):
        parts = [cell.strip() for cell in re.split(pattern, text)]
        if len(parts) > 1:
            return [cell for cell in parts if cell] if pattern is _BOX else parts
    return [text]


def _named(name: str, value: str) -> Line | None:
    """A row of a table of names and values, as Lightning and Stable-Baselines3 print it."""
    match = re.fullmatch(NUMBER, value, re.IGNORECASE)
    if not match or not words(name):
        return None
    number = to_float(value)
    if "step" in words(name)[-1] and unit_of(name) and number.is_integer() and 0 <= number < 2**53:
        return Line("table", "", step=int(number))
    values = Values()
    if is_rate(name) or is_plain_metric(name) or "rew" in words(name):
        split, rest = split_of(name)
        if rest == ["loss"] or is_rate(name):
            return Line("table", "", values=values.add([(name, number)]))
        values.metrics = {split or "train": {"_".join(rest): number}}
    return Line("table", "", values=values) if values else None
