"""Reads and writes face boxes in `faces.csv` in a data folder: name, x, y, width and height in pixels."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from trainers.data import tables
from trainers.data.recordings import Record, stem
from trainers.engine import atomic
from trainers.slowfast.upright import Box

NAME = "faces.csv"
SIDES = ("x", "y", "width", "height")


class BadBoxes(ValueError):
    """Raised if a file of boxes cannot be read, or if a video has no box."""


def of(records: Sequence[Record], folders: Mapping[str, Path]) -> dict[str, Box]:
    """Return the box of each record id. Raises BadBoxes if a record has none."""
    boxes: dict[str, Box] = {}
    for name in dict.fromkeys(record.name.dataset for record in records):
        if name in folders:
            boxes |= read(folders[name])
    lacking = [record.id for record in records if stem(record.path.name) not in boxes]
    if lacking:
        raise BadBoxes(f"{len(lacking)} videos have no line in {NAME}: {', '.join(lacking[:5])}")
    return {record.id: boxes[stem(record.path.name)] for record in records}


def read(folder: Path) -> dict[str, Box]:
    """Return the box of each video name in the folder's faces.csv. Raises BadBoxes."""
    path = folder / NAME
    try:
        path = tables.find(folder, NAME)
        table = tables.read(path)
        table.require("name", *SIDES)
        return {stem(row["name"]): _box(number, row) for number, row in table.rows()}
    except (OSError, ValueError) as fault:
        raise BadBoxes(f"{path} cannot be read (columns name, x, y, width, height): {fault}") from fault


def _box(number: int, row: Mapping[str, str]) -> Box:
    try:
        x, y, width, height = (round(float(row[side])) for side in SIDES)
    except (ValueError, OverflowError) as fault:
        raise ValueError(f"line {number}: {fault}") from fault
    return x, y, width, height


def exist(folder: Path) -> bool:
    """Whether the folder has a faces.csv. Raises BadBoxes if it has several."""
    try:
        return tables.find(folder, NAME).exists()
    except tables.BadTable as fault:
        raise BadBoxes(str(fault)) from fault


def write(folder: Path, found: Mapping[str, Box]) -> Path:
    """Write the folder's faces.csv from boxes by video name, atomically; return its path."""
    path = folder / NAME
    lines = [
        ",".join(("name", *SIDES)),
        *(f"{name},{','.join(map(str, box))}" for name, box in found.items()),
    ]
    atomic.write_text(path, "\n".join(lines) + "\n")
    return path
