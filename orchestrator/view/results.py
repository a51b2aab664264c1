"""What evaluate, predict, export and prepare printed, for a person."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from orchestrator.context import Context
from orchestrator.core.results import Evaluation, Export, Prediction
from orchestrator.view.console import harmless, table_lines

_SHOWN, _CLASSES = 10, 30  # wrong answers and classes in the tables; --json has all of them


def prediction(result: Prediction) -> str:
    """`file  label 0.93  (truth)`, or `file  GLOSS GLOSS`."""
    if result.error is not None:
        return f"{result.file}  refused: {result.error}"
    if result.glosses is not None:
        return f"{result.file}  {' '.join(result.glosses) or '(no gloss)'}"
    probability = result.probabilities.get(result.label)
    shown = f" {probability:.2f}" if probability is not None else ""
    truth = f"  (labelled {result.truth})" if result.truth else ""
    return f"{result.file}  {result.label}{shown}{truth}"


def evaluation(ctx: Context, result: Evaluation) -> str:
    """Metrics beside the baseline's, each class, the confusion matrix, calibration, the worst answers."""
    tables = (
        *(_values(result), _per_class(result), _confusion(result), _calibration(result)),
        *(_confused(result), _wrong(result)),
    )
    blocks = [table_lines(ctx, [[harmless(cell) for cell in row] for row in rows]) for rows in tables]
    if result.resampled:
        blocks[0].append(f"low to high: the 95 % interval, {result.resampled} resampled")
    if result.plots:
        blocks.append([f"figures: {', '.join(harmless(ctx.short(Path(path))) for path in result.plots)}"])
    return "\n\n".join("\n".join(block) for block in blocks if block)


def _values(result: Evaluation) -> list[list[str]]:
    other = result.baseline.values if result.baseline else {}
    rows = [["", "model", result.baseline.name]] if result.baseline else []
    for name, value in result.values.items():
        if value is not None:
            rows.append([name, f"{value:.4f}", f"{other[name]:.4f}" if name in other else ""])
    return rows


def _per_class(result: Evaluation) -> list[list[str]]:
    if not result.per_class:
        return []
    names = list(next(iter(result.per_class.values())))
    entries = list(result.per_class.items())
    cells = [[label, *(_number(one.get(name)) for name in names)] for label, one in entries[:_CLASSES]]
    more = [[f"and {len(entries) - _CLASSES} more"]] if len(entries) > _CLASSES else []
    return [["class", *names], *cells, *more]


def _number(value: float | None) -> str:
    return f"{value:.3f}" if isinstance(value, float) else str(value)


def _confusion(result: Evaluation) -> list[list[str]]:
    if not result.classes or len(result.classes) != len(result.confusion):
        return []
    counts = zip(result.classes, result.confusion, strict=True)
    rows = [[label, *[f"{count:g}" for count in row]] for label, row in counts]
    return [["truth \\ answer", *result.classes], *rows]


def _calibration(result: Evaluation) -> list[list[str]]:
    rows = [[f"{one.confidence:.2f}", f"{one.accuracy:.2f}", str(one.count)] for one in result.calibration]
    return [["confidence", "accuracy", "samples"], *rows] if rows else []


def _confused(result: Evaluation) -> list[list[str]]:
    rows = [[one.truth, one.answer, str(one.count)] for one in result.confused[:_SHOWN]]
    return [["most often confused", "answer", "times"], *rows] if rows else []


def _wrong(result: Evaluation) -> list[list[str]]:
    shown = result.wrong[:_SHOWN]
    if not shown:
        return []
    if shown[0].probability is None:
        rows = [[one.sample, one.truth, one.answer, f"{one.edits}/{one.words}"] for one in shown]
        return [["worst sentences", "truth", "answer", "errors/glosses"], *rows]
    rows = [[one.sample, one.truth, one.answer, f"{one.probability or 0.0:.2f}"] for one in shown]
    return [["most confidently wrong", "truth", "answer", "probability"], *rows]


def exported(result: Export, short: Callable[[Path], str]) -> str:
    """Both files, and how close the program comes to the checkpoint."""
    files = "\n".join(short(Path(path)) for path in (result.program, result.preprocessing))
    return f"{files}\nits logits are within {result.logits_off:.1e} of the checkpoint's"


def prepared(line: Mapping[str, object]) -> str:
    """A line that a trainer printed while it prepared: its message, or its numbers by name."""
    if "message" in line:
        return str(line["message"])
    hidden = ("v", "t", "event", "findings", "checked", "data")
    return "  ".join(f"{key} {_short(value)}" for key, value in line.items() if key not in hidden)


def _short(value: object) -> str:
    return str(len(value)) if isinstance(value, list | dict) else str(value)
