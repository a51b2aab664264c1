"""Figures of an evaluation as SVG files, drawn by Matplotlib, which the user installs."""

import importlib
import json
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from trainers.engine.atomic import replacing
from trainers.engine.sources import BadSource

MOST_CLASSES = 40
"""Maximum number of classes (or glosses) in a figure; the most frequent are shown."""

ACROSS = 6
"""Pictures beside each other in a contact sheet."""

CURVES = ("loss", "lr", "grad_norm")
"""Values of a progress event that have a figure."""


@dataclass(frozen=True)
class Columns:
    """The input of a model as a table: names (F,), values (N, F), and the class of each row (N,)."""

    names: Sequence[str]
    values: np.ndarray
    labels: Sequence[str]


@dataclass(frozen=True)
class Cell:
    """A picture (H, W, 3) uint8 of a sample, and what is written above it."""

    picture: np.ndarray
    title: str


def require() -> None:
    """Raise BadSource if Matplotlib is not installed."""
    try:
        importlib.import_module("matplotlib")
    except ImportError as fault:
        raise BadSource(
            f"--plots needs Matplotlib, which is not installed: pip install matplotlib ({fault})"
        ) from fault


def write(
    folder: Path,
    report: Mapping[str, Any],
    run: Path,
    columns: Columns | None,
    wrong: Sequence[Cell] = (),
) -> list[str]:
    """Write a figure for each part of a report, of a run's events, of `columns` and of `wrong` answers.

    Returns their paths.

    `run` is the folder of the run, whose events.jsonl may be missing.
    """
    folder.mkdir(parents=True, exist_ok=True)
    drawn: dict[str, Callable[[Any], None]] = {}
    if report.get("confusion"):
        drawn["confusion"] = lambda figure: confusion(figure, report["classes"], report["confusion"])
    if report.get("per_class"):
        drawn["per-class"] = lambda figure: per_class(figure, report["per_class"])
    if report.get("calibration"):
        drawn["calibration"] = lambda figure: calibration(figure, report["calibration"])
    if series := curves_of(run / "events.jsonl"):
        drawn["curves"] = lambda figure: curves(figure, series)
    if columns is not None and len(columns.values):
        drawn["distributions"] = lambda figure: distributions(figure, columns)
        drawn["correlation"] = lambda figure: correlation(figure, columns)
        drawn["scatter"] = lambda figure: scatter(figure, columns)
    if wrong:
        drawn["wrong"] = lambda figure: contact_sheet(figure, wrong)
    return [str(_save(folder / f"{name}.svg", draw)) for name, draw in drawn.items()]


def _save(path: Path, draw: Callable[[Any], None]) -> Path:
    matplotlib, figures = importlib.import_module("matplotlib"), importlib.import_module("matplotlib.figure")
    with matplotlib.rc_context({"svg.hashsalt": path.name, "font.size": 9}):
        figure = figures.Figure(figsize=(8, 6), layout="constrained")
        draw(figure)
        with replacing(path) as file:  # without the date, so that equal figures have equal bytes
            figure.savefig(file, format="svg", metadata={"Date": None})
    return path


def confusion(figure: Any, classes: Sequence[str], counts: Sequence[Sequence[float]]) -> None:
    """The confusion matrix: rows are the truth; colour is the share of the row, numbers are counts."""
    table = np.asarray(counts, dtype=float)
    kept = np.sort(np.argsort(-table.sum(1), kind="stable")[:MOST_CLASSES])
    table, names = table[np.ix_(kept, kept)], [classes[index] for index in kept]
    shares = table / np.maximum(1.0, table.sum(1, keepdims=True))
    axes = figure.subplots()
    image = axes.imshow(shares, vmin=0.0, vmax=1.0, cmap="Blues")
    figure.colorbar(image, label="share of the true class")
    axes.set_xticks(range(len(names)), names, rotation=45, ha="right")
    axes.set_yticks(range(len(names)), names)
    axes.set(xlabel="answer", ylabel="truth")
    if len(names) <= MOST_CLASSES // 2:
        for (row, column), count in np.ndenumerate(table):
            colour = "white" if shares[row, column] > 0.5 else "black"
            axes.text(column, row, f"{count:.0f}", ha="center", va="center", color=colour)


def per_class(figure: Any, classes: Mapping[str, Mapping[str, float]]) -> None:
    """Precision, recall and F1 of the most frequent classes."""
    names = sorted(classes, key=lambda name: -float(classes[name].get("count") or 0))[:MOST_CLASSES]
    axes, positions = figure.subplots(), np.arange(len(names))
    for number, metric in enumerate(("precision", "recall", "f1")):
        heights = [float(classes[name].get(metric) or 0.0) for name in names]
        axes.bar(positions + 0.27 * (number - 1), heights, 0.27, label=metric)
    axes.set_xticks(positions, names, rotation=45, ha="right")
    axes.set_ylim(0, 1)
    axes.legend()


def calibration(figure: Any, bins: Sequence[Mapping[str, float]]) -> None:
    """Accuracy over the mean probability of the answers; the size of a point grows with its samples."""
    axes = figure.subplots()
    most = max(float(one["count"]) for one in bins)
    axes.plot([0, 1], [0, 1], color="grey", linestyle="--", label="calibrated")
    sizes = [20 + 180 * float(one["count"]) / most for one in bins]
    axes.scatter([one["confidence"] for one in bins], [one["accuracy"] for one in bins], sizes)
    axes.set(xlabel="probability of the answer", ylabel="share that is right", xlim=(0, 1), ylim=(0, 1))
    axes.legend()


Series = dict[str, dict[str, tuple[list[float], list[float]]]]
"""The name of a value to its curves by split: steps and values."""


def curves_of(events: Path) -> Series:
    """The curves of a run's events; empty without a readable file."""
    series: Series = defaultdict(lambda: defaultdict(lambda: ([], [])))
    for line in _lines(events):
        step, values = line.get("step"), line.get("values")
        if line.get("event") == "progress" and line.get("phase") == "train":
            values, split = {name: line.get(name) for name in CURVES}, "train"
        elif line.get("event") == "metrics":
            split = str(line.get("split"))
        else:
            continue
        for name, value in (values or {}).items():
            if isinstance(value, int | float) and isinstance(step, int) and " " not in split:
                steps, numbers = series[name][split]
                steps.append(step)
                numbers.append(value)
    varied = {
        name: {split: curve for split, curve in by.items() if len(curve[0]) > 1}
        for name, by in series.items()
    }
    return {name: by for name, by in varied.items() if by}


def _lines(path: Path) -> list[dict[str, Any]]:
    try:
        text = path.read_text(errors="replace")
    except OSError:
        return []
    entries = []
    for line in text.splitlines():
        try:
            entry = json.loads(line)
        except ValueError:
            continue
        if isinstance(entry, dict):
            entries.append(entry)
    return entries


def curves(figure: Any, series: Series) -> None:
    """One small diagram for each value of a run, over the steps."""
    width = int(np.ceil(np.sqrt(len(series))))
    grid = figure.subplots(int(np.ceil(len(series) / width)), width, squeeze=False)
    for axes, (name, by_split) in zip(grid.flat, series.items(), strict=False):
        for split, (steps, values) in by_split.items():
            axes.plot(steps, values, label=split)
        axes.set_title(name, fontsize=9)
        axes.legend(fontsize=7)
    for axes in grid.flat[len(series) :]:
        axes.set_axis_off()


def varied(columns: Columns, most: int) -> list[int]:
    """The indices of the columns whose class means differ most, relative to their spread."""
    labels = np.asarray(columns.labels)
    means = np.stack([columns.values[labels == label].mean(0) for label in sorted(set(columns.labels))])
    spread = columns.values.std(0)
    strength = np.where(spread > 0, means.std(0) / np.maximum(spread, 1e-12), 0.0)
    return [int(index) for index in np.argsort(-strength, kind="stable")[:most]]


def distributions(figure: Any, columns: Columns) -> None:
    """The distribution by class of the twelve columns that differ most between the classes."""
    labels, names = np.asarray(columns.labels), sorted(set(columns.labels))
    grid = figure.subplots(3, 4, squeeze=False)
    for axes, index in zip(grid.flat, varied(columns, 12), strict=False):
        axes.boxplot([columns.values[labels == name, index] for name in names], tick_labels=names, sym=".")
        axes.set_title(columns.names[index], fontsize=8)
        axes.tick_params(labelsize=7)


def correlation(figure: Any, columns: Columns) -> None:
    """The correlation matrix of the columns that vary."""
    kept = np.flatnonzero(columns.values.std(0) > 0)
    axes = figure.subplots()
    table = np.atleast_2d(np.corrcoef(columns.values[:, kept], rowvar=False))
    image = axes.imshow(table, vmin=-1.0, vmax=1.0, cmap="RdBu_r")
    figure.colorbar(image, label="correlation")
    names = [columns.names[int(index)] for index in kept]
    axes.set_xticks(range(len(names)), names, rotation=90, fontsize=5)
    axes.set_yticks(range(len(names)), names, fontsize=5)


def scatter(figure: Any, columns: Columns) -> None:
    """Pairs of the four columns that differ most between the classes, coloured by class."""
    labels, indices = np.asarray(columns.labels), varied(columns, 4)
    pairs = [(a, b) for number, a in enumerate(indices) for b in indices[number + 1 :]]
    grid = figure.subplots(2, 3, squeeze=False)
    for axes, (across, up) in zip(grid.flat, pairs, strict=False):
        for name in sorted(set(columns.labels)):
            rows = columns.values[labels == name]
            axes.scatter(rows[:, across], rows[:, up], 4, label=name, alpha=0.6)
        axes.set_xlabel(columns.names[across], fontsize=8)
        axes.set_ylabel(columns.names[up], fontsize=8)
    grid.flat[0].legend(fontsize=7)


def contact_sheet(figure: Any, cells: Sequence[Cell]) -> None:
    """All pictures in rows of ACROSS, with their titles."""
    grid = figure.subplots(-(-len(cells) // ACROSS), ACROSS, squeeze=False)
    for axes in grid.flat:
        axes.set_axis_off()
    for axes, cell in zip(grid.flat, cells, strict=False):
        axes.imshow(cell.picture)
        axes.set_title(cell.title.replace(", ", ",\n"), fontsize=7)
