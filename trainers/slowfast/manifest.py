"""Reads and writes the manifest, a CSV file with one line per video. Standard library only.

`path` (below the folder that holds the data folders), `dataset`, `label`, `split`, `actor`, `take`, `bytes`,
`mtime` (seconds), `excluded` (the reason if a video is not used). Only `path` and `split` are required in a
manifest from elsewhere; a `label` in it must agree with the file name.
"""

import csv
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from trainers.data import emotions, splits, tables
from trainers.data.recording_checks import Survey
from trainers.data.recordings import Listing, Record, stem
from trainers.data.refusal import Refusal
from trainers.engine import atomic

NAME = "manifest.csv"
COLUMNS = ("path", "dataset", "label", "split", "actor", "take", "bytes", "mtime", "excluded")


class BadManifest(ValueError):
    """Raised if a manifest cannot be read; the message names the line."""


@dataclass(frozen=True)
class Line:
    """One line of a manifest; missing columns are empty."""

    path: str
    split: str
    label: str = ""
    bytes: int | None = None
    excluded: str = ""


def read(path: Path) -> dict[str, Line]:
    """Return the line of each video name. Raises BadManifest."""
    try:
        table = tables.read(path, errors="surrogateescape")
        table.require("path", "split")
        return dict(_lines(path, table))
    except tables.BadTable as fault:
        raise BadManifest(str(fault)) from fault
    except OSError as fault:
        raise BadManifest(f"{path} cannot be read: {fault}") from fault


def _lines(path: Path, table: tables.CSVTable) -> Iterator[tuple[str, Line]]:
    names: set[str] = set()
    for number, row in table.rows():
        where = f"{path}:{number}"
        values = {key: row.get(key, "") for key in ("path", "label", "excluded")}
        split = splits.named(row["split"])
        name = stem(values["path"])
        line = Line(**values, split=split, bytes=_integer(row.get("bytes"), where))
        if not line.excluded and not split:
            words = f"`{row['split']}`, not one of {', '.join(splits.SPLITS)}"
            raise BadManifest(f"{where}: the split is {words}")
        if name in names:
            raise BadManifest(f"{where}: {name} occurs twice")
        names.add(name)
        yield name, line


def _integer(text: str | None, where: str) -> int | None:
    """Parse a whole number, also in the form that pandas writes (23112.0); None for no text."""
    if not text:
        return None
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not value.is_integer():
        raise BadManifest(f"{where}: bytes is `{text}`, which is no whole number")
    return int(value)


def choose(listing: Listing, lines: Mapping[str, Line]) -> tuple[Listing, dict[str, str]]:
    """Return the listing of videos that the manifest includes, and the split of each record id.

    Videos that are only in the folders or only in the manifest, or that differ from it, are refused.
    """
    kept: list[Record] = []
    refused = list(listing.refused)
    for record in listing.records:
        refusal = _judge(record, lines.get(stem(record.path.name)))
        if refusal is None:
            kept.append(record)
        else:
            refused.append(refusal)
    refused += _absent(listing, lines)
    home = {record.id: lines[stem(record.path.name)].split for record in kept}
    return replace(listing, records=tuple(kept), refused=tuple(refused)), home


def _judge(record: Record, line: Line | None) -> Refusal | None:
    if line is None or line.excluded:
        detail = line.excluded if line else "it has no line there"
        return Refusal(str(record.path), "manifest", "left out by the manifest", detail, broken=False)
    if line.label and emotions.meaning(line.label) != emotions.meaning(record.label):
        detail = f"the manifest says {line.label}, the name {record.label}"
        return Refusal(str(record.path), "label.match", "has another label in the manifest", detail)
    if line.bytes is not None and line.bytes != record.path.stat().st_size:
        detail = f"{record.path.stat().st_size} bytes, {line.bytes} there"
        return Refusal(str(record.path), "manifest", "is not the file of the manifest", detail)
    return None


def _absent(listing: Listing, lines: Mapping[str, Line]) -> list[Refusal]:
    known = {stem(r.path.name) for r in listing.records} | {stem(r.path.name) for r in listing.refused}
    return [
        Refusal(line.path, "manifest", "is in the manifest but not in the folders", "")
        for name, line in lines.items()
        if name not in known and not line.excluded
    ]


def write(path: Path, survey: Survey, folders: Mapping[str, Path]) -> None:
    """Write a manifest of every file found, used or refused. The file is replaced atomically."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with (
        atomic.replacing(path) as temporary,
        temporary.open("w", newline="", encoding="utf-8", errors="surrogateescape") as file,
    ):
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        writer.writeheader()
        for record in survey.records:
            facts = record.path.stat()
            writer.writerow(
                {
                    "path": _below(record.path, folders),
                    "dataset": record.name.dataset,
                    "label": record.label,
                    "split": survey.split_of[record.id],
                    "actor": record.actor,
                    "take": record.take,
                    "bytes": facts.st_size,
                    "mtime": int(facts.st_mtime),
                }
            )
        for refusal in survey.refused:
            writer.writerow({"path": _below(refusal.path, folders), "excluded": refusal.why})


def _below(path: Path, folders: Mapping[str, Path]) -> str:
    for name, folder in folders.items():
        if path.is_relative_to(folder):
            return f"{name}/{path.relative_to(folder).as_posix()}"
    return str(path)
