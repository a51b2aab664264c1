"""Reads CSV and NPZ files into rows and assigns splits. Reading CSV needs the standard library only.

A label and its blendshapes stay in one Row from here to the batch, so that they cannot be mismatched.
"""

import csv
import difflib
import hashlib
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from trainers.blendshapes import names
from trainers.blendshapes.config import Config
from trainers.blendshapes.names import EXTRA, LABEL
from trainers.data import splits, walk
from trainers.data.refusal import Refusal, Unusable


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

    @property
    def content(self) -> str:
        """A hash of the values; equal faces have equal hashes."""
        return hashlib.blake2b(repr(self.values).encode(), digest_size=12).hexdigest()

    @property
    def group(self) -> str:
        """The key of rows that must share a split: the person, else the picture, else the values."""
        if self.person:
            return f"group {self.person}"
        return f"picture {self.source}" if self.source else f"face {self.content}"


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


def suggest(word: str, known: Sequence[str]) -> str:
    """Return `; did you mean …?` with the closest known word, or an empty string."""
    near = difflib.get_close_matches(word, known, n=1)
    return f"; did you mean {near[0]}?" if near else ""


def header(columns: Sequence[str], required: Sequence[str], labelled: bool) -> bool:
    """Return whether the blendshape columns are in MediaPipe's order.

    Raises Unusable if there is no header, or if columns are missing, unknown or repeated.
    """
    if len(columns) == 1 and any(sign in columns[0] for sign in ";\t|"):
        raise Unusable("is not separated by commas", columns[0][:60], code="schema.layout")
    if columns and _number(columns[0]) is not None and not set(columns) & set(names.ALL):
        detail = "the first line must name the columns, such as browDownLeft"
        raise Unusable("has no header", detail, code="schema.layout")
    twice = [name for name, count in Counter(columns).items() if count > 1]
    if twice:
        raise Unusable("names a column twice", ", ".join(twice[:5]), code="schema.layout")
    strange = [name for name in columns if name not in names.ALL and name not in EXTRA]
    if strange:
        known = (*names.ALL, *EXTRA)
        detail = ", ".join(f"{name!r}{suggest(name, known)}" for name in strange[:5])
        raise Unusable("has columns that are no blendshape", detail, code="schema.layout")
    missing = [name for name in (*required, *([LABEL] if labelled else [])) if name not in columns]
    if missing:
        more = f" and {len(missing) - 5} more" if len(missing) > 5 else ""
        raise Unusable("lacks columns", ", ".join(missing[:5]) + more, code="schema.layout")
    places = [names.ALL.index(name) for name in columns if name in names.ALL]
    return places == sorted(places)


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def read(
    path: Path, required: Sequence[str], labelled: bool = True, name: str = ""
) -> tuple[bool, list[Row | Refusal]]:
    """Return whether the columns are in MediaPipe's order, and each row (id `<name>:<line>`) or its refusal.

    Raises Unusable if the whole file cannot be used.
    """
    if path.suffix == ".npz":
        from trainers.blendshapes import npz  # noqa: PLC0415 - imports numpy

        columns, lines = npz.read(path)
    else:
        columns, lines = _read_csv(path)
    ordered = header(columns, required, labelled)
    name = name or path.name
    frame = _Frame(path, name, columns, required, _split_of(name), labelled)
    return ordered, [_row(frame, line, cells) for line, cells in lines]


def _read_csv(path: Path) -> tuple[list[str], list[tuple[int, Sequence[str]]]]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file, strict=True)
            columns = [name.strip() for name in next(reader, [])]
            lines: list[tuple[int, Sequence[str]]] = [(reader.line_num, cells) for cells in reader if cells]
    except (OSError, UnicodeDecodeError, csv.Error) as fault:
        raise Unusable("is no readable CSV", str(fault), code="schema.layout") from fault
    if not columns:
        raise Unusable("is empty", code="schema.layout")
    return columns, lines


def _split_of(name: str) -> str:
    """Return the split that the file name or a parent folder names, or an empty string.

    Raises Unusable if they name different splits.
    """
    named = {splits.named(part) for part in (*Path(name).parts[:-1], Path(name).stem)} - {""}
    if len(named) > 1:
        raise Unusable("is in the folder of another split", f"{name}: move or rename it", "labels.parse")
    return next(iter(named), "")


@dataclass(frozen=True)
class _Frame:
    """What all rows of a file share: its columns, the columns that the model reads, and the split."""

    path: Path
    name: str
    columns: Sequence[str]
    required: Sequence[str]
    split: str
    labelled: bool


def _row(frame: _Frame, line: int, cells: Sequence[str]) -> Row | Refusal:
    def refuse(code: str, reason: str, detail: str = "") -> Refusal:
        return Refusal(str(frame.path), code, reason, detail, line=line)

    if len(cells) != len(frame.columns):
        detail = f"{len(cells)} of {len(frame.columns)}"
        return refuse("schema.layout", "has not one value a column", detail)
    values_of = dict(zip(frame.columns, cells, strict=True))
    values: list[float] = []
    for name in frame.required:
        value = _number(values_of[name])
        if value is None:
            return refuse("schema.layout", "holds what is no number", f"{name} is {values_of[name]!r}")
        if not math.isfinite(value):
            return refuse("feature.unit", "holds NaN or infinity", name)
        if not 0.0 <= value <= 1.0:
            return refuse("feature.unit", "holds a value outside 0 to 1", f"{name} is {value:.4g}")
        values.append(value)
    label, group, split, source = (str(values_of.get(name, "")).strip() for name in EXTRA)
    label, split = label.lower(), split.lower() or frame.split
    if frame.labelled and label not in names.LABELS:
        return refuse("labels.parse", "has a label that is no emotion", _no_emotion(label))
    if split and split not in splits.SPLITS:
        return refuse("labels.parse", "has an unknown split", split)
    return Row(f"{frame.name}:{line}", frame.path, line, tuple(values), label, group, split, source)


def _no_emotion(label: str) -> str:
    if label.isdigit():
        numbers = ", ".join(f"{i} {name}" for i, name in enumerate(names.FER2013))
        return f"{label!r} is a number; FER2013's are {numbers}: write words"
    return f"{label!r}{suggest(label, names.LABELS)}"


def scan(folders: Mapping[str, Path], config: Config) -> Listing:
    """Read every row of every CSV and NPZ file below the folders, as a Row or a Refusal."""
    required = names.SETS[config.columns]
    rows: list[Row] = []
    refused: list[Refusal] = []
    reordered, count = [], 0
    for path, name in _paths(folders):
        try:
            ordered, entries = read(path, required, name=name)
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
    return Listing(count, tuple(rows), tuple(refused), tuple(reordered), nameless)


def _nameless(rows: Sequence[Row]) -> tuple[str, ...]:
    """Return the values of `file` if no split has more than one: rows of one picture cannot be split."""
    alone = [row for row in rows if row.source and not row.person]
    names = {split: {row.source for row in alone if row.split == split} for split in ("", *splits.SPLITS)}
    if len(alone) < 2 or any(len(sources) > 1 for sources in names.values()):
        return ()
    return tuple(sorted(set().union(*names.values())))


def _paths(folders: Mapping[str, Path]) -> list[tuple[Path, str]]:
    """Return the CSV and NPZ files, each with its path relative to its data folder."""
    every = ((path, folder) for folder in folders.values() for path in walk.files(folder))
    return sorted((p, str(p.relative_to(folder))) for p, folder in every if p.suffix in (".csv", ".npz"))


def _classed(entry: Row | Refusal, config: Config) -> Row | Refusal:
    """Return the row with its class, or a refusal if the option `others` excludes its label."""
    if isinstance(entry, Refusal) or entry.label in config.classes:
        return entry
    if config.others == names.OTHER:
        return replace(entry, label=names.OTHER)
    reason = f"left out by the option others: {config.others}"
    return Refusal(str(entry.path), "labels.parse", reason, entry.label, False, entry.line)


def split_rows(rows: Sequence[Row], config: Config) -> dict[str, str]:
    """Return the split of each row id: the one that the files name, else drawn by seed for whole groups.

    If the files name only train and test, the validation split is drawn from train.
    """
    named = {row.split for row in rows}
    home = {row.id: row.split for row in rows}
    free = [row for row in rows if not row.split]
    shares = (config.val_share, config.test_share)
    if named == {"train", "test"}:
        free, shares = [row for row in rows if row.split == "train"], (config.val_share, 0.0)
    units = _units(free)
    strata: dict[str, str] = {}
    for row in sorted(free, key=lambda row: row.label):  # a picture may have two labels
        strata.setdefault(units[row.id], "group" if row.person else row.label)
    drawn = splits.by_actor(dict(sorted(strata.items())), config.seed, *shares)
    return {**home, **{row.id: drawn[units[row.id]] for row in free}}


def _units(rows: Sequence[Row]) -> dict[str, str]:
    """Return for each row id the unit that is assigned to one split: the person, or all rows connected by a
    shared picture or equal values."""
    above: dict[str, str] = {}

    def top(key: str) -> str:
        while above.setdefault(key, key) != key:
            above[key] = above[above[key]]
            key = above[key]
        return key

    for row in rows:
        if not row.person:
            least, other = sorted((top(row.group), top(f"face {row.content}")))
            above[other] = least
    return {row.id: top(row.group) for row in rows}


def by_split(rows: Sequence[Row], home: Mapping[str, str]) -> dict[str, list[Row]]:
    """Return the rows of each split, in their given order. `home` maps row ids to splits."""
    members: dict[str, list[Row]] = {split: [] for split in splits.SPLITS}
    for row in rows:
        members[home[row.id]].append(row)
    return members
