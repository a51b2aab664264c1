"""The contact sheet of an evaluation: the pictures of its most confident wrong answers."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from trainers.engine.health import first
from trainers.engine.plots import Cell
from trainers.engine.sources import BadSource
from trainers.engine.trainer import Trainer

MOST = 24
"""Largest number of pictures."""


def cells(trainer: Trainer, report: Mapping[str, Any], folder: Path | None) -> list[Cell]:
    """The wrong answers in a report whose samples have a picture, the most confident first.

    `folder` holds the pictures that the samples name. Raises BadSource if it holds none of them.
    """
    records = {str(record.id): record for record in trainer.evaluated}
    wrong = [entry for entry in report.get("wrong", ()) if "probability" in entry]
    pictures: list[Cell] = []
    for entry in wrong:
        picture = trainer.picture(records[entry["sample"]], folder)
        if picture is not None and len(pictures) < MOST:
            words = f"{entry['truth']}, answer {entry['answer']} {entry['probability']:.0%}"
            pictures.append(Cell(picture, words))
        if len(pictures) == MOST:
            break
    if folder is not None and wrong and not pictures:
        names = first([entry["sample"] for entry in wrong], 3)
        raise BadSource(f"--pictures {folder}: the picture of no wrong answer is there ({names})")
    return pictures
