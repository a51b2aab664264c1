"""Reads CSV and NPZ files into rows and assigns splits. Reading CSV needs the standard library only.

A label and its blendshapes stay in one Row from here to the batch, so that they cannot be mismatched.
"""

import hashlib
import math
from array import array
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from trainers.blendshapes import names
from trainers.blendshapes.columns import Lines, header, number, suggest, usual
from trainers.blendshapes.config import Config
from trainers.blendshapes.names import EXTRA
from trainers.data import emotions, splits, tables, walk
from trainers.data.refusal import Refusal, Unusable, read_or_stop
from trainers.engine import health


@dataclass(frozen=True)
class Row:
    """One face. `id` is `<file>:<line>`; `values` are its scores in the order of names.SETS[config.columns].

    `person` is the column `group`, `source` the column `file`; both, and `split`, are empty where not given.
    """

    id: str
    path: Path
    line: int
    values: tuple[float, ...]
    label: str
    person: str = ""
    split: str = ""
    source: str = ""
    written: str = ""
    split_cell: str = ""
    """Label and split as the file has them."""

    @property
    def content(self) -> str:
        """A hash of the values as float32; equal faces have equal hashes, in CSV and NPZ files."""
        return hashlib.blake2b(array("f", self.values).tobytes(), digest_size=12).hexdigest()

    @property
    def digest(self) -> str:
        """A hash of the values as they are written; the fingerprint of the data is made of these."""
        return hashlib.blake2b(repr(self.values).encode(), digest_size=12).hexdigest()

    @property
    def group(self) -> str:
        """The key of rows that must share a split: the person, else the picture, else the values."""
        if self.person:
            return f"group {health.group_key(self.person)}"
        return f"picture {self.picture}" if self.source else f"face {self.content}"

    @property
    def picture(self) -> str:
        """The column `file`, however the path is written."""
        return walk.nfc(self.source.replace("\\", "/").removeprefix("./")).casefold()


@dataclass(frozen=True)
class Listing:
    """All rows of all files, and the number of rows read (`count`).

    `reordered` names the files whose columns are not in MediaPipe's order. `nameless` holds the values of the
    column `file` if they are the same for all rows of a split and so do not identify pictures.
    """

    count: int
    rows: tuple[Row, ...]
    refused: tuple[Refusal, ...]
    reordered: tuple[str, ...]
    nameless: tuple[str, ...] = ()
    split_names: frozenset[str] = frozenset()
    """Names of files with their folders, and values of the column `split`: what may name splits."""


def read(
    path: Path, config: Config, labelled: bool = True, name: str = ""
) -> tuple[bool, list[Row | Refusal]]:
    """Return whether the columns are in MediaPipe's order, and each row (id `<name>:<line>`) or its refusal.

    Raises Unusable if the whole file cannot be used.
    """
    walk.require_file(path)
    required = names.SETS[config.columns]
    if path.suffix.lower() == ".npz":
        from trainers.blendshapes import npz  # noqa: PLC0415 - imports numpy

        reader = npz.read
    else:
        reader = _read_csv
    with read_or_stop(path):
        found, lines = reader(path)
    columns, lines = usual(found, lines)
    ordered = header(columns, required, labelled)
    if not lines and labelled:
        raise Unusable("has no rows", "it holds the names of columns only", code="schema.layout")
    name = name or path.name
    frame = _Frame(path, name, columns, required, splits.of_path(name), labelled, config.label_numbers)
    return ordered, [_row(frame, line, cells) for line, cells in lines]


def _read_csv(path: Path) -> tuple[list[str], Lines]:
    try:
        table = tables.read(path)
    except tables.BadTable as fault:
        raise Unusable("is no readable CSV", str(fault), code="schema.layout") from fault
    return list(table.columns), list(table.lines)


@dataclass(frozen=True)
class _Frame:
    """What all rows of a file share: its columns, the columns that the model reads, and the split."""

    path: Path
    name: str
    columns: Sequence[str]
    required: Sequence[str]
    split: str
    labelled: bool
    label_numbers: str


def _row(frame: _Frame, line: int, cells: Sequence[str]) -> Row | Refusal:
    def refuse(code: str, reason: str, detail: str = "") -> Refusal:
        return Refusal(str(frame.path), code, reason, detail, line=line)

    if len(cells) != len(frame.columns):
        detail = f"{len(cells)} of {len(frame.columns)}"
        return refuse("schema.layout", "has not one value a column", detail)
    values_of = dict(zip(frame.columns, cells, strict=True))
    values: list[float] = []
    for name in frame.required:
        value = number(values_of[name])
        if value is None:
            return refuse("schema.layout", "holds what is no number", f"{name} is {values_of[name]!r}")
        if not math.isfinite(value):
            return refuse("feature.unit", "holds NaN or infinity", name)
        if not 0.0 <= value <= 1.0:
            return refuse("feature.unit", "holds a value outside 0 to 1", f"{name} is {value:.9g}")
        values.append(value)
    written, person, split, source = (str(values_of.get(name, "")).strip() for name in EXTRA)
    label = _label(written, frame.label_numbers)
    if frame.labelled and not label:
        return refuse("labels.parse", "has a label that is no emotion", _no_emotion(written))
    if split and not splits.named(split):
        return refuse("labels.parse", "has an unknown split", split)
    given = splits.named(split) or frame.split
    id = f"{frame.name}:{line}"
    return Row(id, frame.path, line, tuple(values), label, person, given, source, written, split)


def _label(written: str, label_numbers: str) -> str:
    """The emotion that a label means, or an empty string."""
    whole = written[:-2] if written.endswith(".0") else written
    known = names.OTHER if written.lower() == names.OTHER else emotions.meaning(written)
    return known or names.NUMBERS[label_numbers].get(whole, "")


def _no_emotion(label: str) -> str:
    if label.removesuffix(".0").isdigit():
        fer = ", ".join(f"{i} {name}" for i, name in enumerate(names.FER2013))
        known = ", ".join(name for name in names.NUMBERS if name != "none")
        return (
            f"{label!r} is a number; FER2013's are {fer}: write words, or set label_numbers: one of {known}"
        )
    return f"{label!r}{suggest(label.lower(), names.LABELS)}"


def scan(folders: Mapping[str, Path], config: Config) -> Listing:
    """Read every row of every CSV and NPZ file below the folders, as a Row or a Refusal."""
    rows: list[Row] = []
    found, refused = walk.data_files(folders, (*tables.SUFFIXES, ".npz"))
    reordered, count = [], sum(refusal.broken for refusal in refused)
    for path, name in ((file.path, file.name) for file in found):
        try:
            ordered, entries = read(path, config, name=name)
        except Unusable as fault:
            refused.append(Refusal.of(path, fault))
            count += 1
            continue
        count += len(entries)
        reordered += [] if ordered else [path.name]
        for entry in entries:
            kept = _classed(entry, config)
            (rows if isinstance(kept, Row) else refused).append(kept)  # type: ignore[arg-type]
    nameless = _nameless(rows)
    rows = [replace(row, source="") if row.source in nameless else row for row in rows]
    split_names = frozenset({row.id.rpartition(":")[0] for row in rows} | {row.split_cell for row in rows})
    return Listing(count, tuple(rows), tuple(refused), tuple(reordered), nameless, split_names)


def _nameless(rows: Sequence[Row]) -> tuple[str, ...]:
    """Return the values of `file` if no split has more than one: rows of one picture cannot be split."""
    alone = [row for row in rows if row.source and not row.person]
    names = {split: {row.source for row in alone if row.split == split} for split in ("", *splits.SPLITS)}
    if len(alone) < 2 or any(len(sources) > 1 for sources in names.values()):
        return ()
    return tuple(sorted(set().union(*names.values())))


def _classed(entry: Row | Refusal, config: Config) -> Row | Refusal:
    """Return the row with its class, or a refusal if the option `others` excludes its label."""
    if isinstance(entry, Refusal) or entry.label in config.classes:
        return entry
    if config.others == names.OTHER:
        return replace(entry, label=names.OTHER)
    reason = f"left out by the option others: {config.others}"
    return Refusal(str(entry.path), "labels.parse", reason, entry.label, False, entry.line)
