"""What evaluate, predict and prepare gave, for a person."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from orchestrator.view.console import columns, harmless


def prediction(line: dict[str, Any]) -> str:
    """`file  label 0.93  (truth)`, or `file  GLOSS GLOSS`."""
    if "error" in line:
        return harmless(f"{line['file']}  refused: {line['error']}")
    if "glosses" in line:
        return harmless(f"{line['file']}  {' '.join(line['glosses']) or '(no gloss)'}")
    shares = line.get("probabilities") or {}
    sure = f" {shares[line['label']]:.2f}" if line["label"] in shares else ""
    truth = f"  (labelled {line['truth']})" if line.get("truth") else ""
    return harmless(f"{line['file']}  {line['label']}{sure}{truth}")


def evaluation(line: dict[str, Any]) -> str:
    """Metrics beside the baseline's, each class, the confusion matrix, calibration, the worst answers."""
    blocks = (_values(line), _per_class(line), _confusion(line), _calibration(line), _wrong(line))
    return harmless("\n\n".join("\n".join(block) for block in blocks if block))


def _values(line: dict[str, Any]) -> list[str]:
    beside = line.get("baseline") or {}
    other = beside.get("values") or {}
    rows = [["", "model", beside["name"]]] if beside else []
    for name, value in (line.get("values") or {}).items():
        if value is not None:
            rows.append([name, f"{value:.4f}", *([f"{other[name]:.4f}"] if name in other else [])])
    told = columns(rows) if rows else []
    return [*told, f"low to high: the 95 % interval, {line['drawn']} drawn"] if "drawn" in line else told


def _per_class(line: dict[str, Any]) -> list[str]:
    held = line.get("per_class") or {}
    if not held:
        return []
    names = list(next(iter(held.values())))
    cells = [[label, *(_figure(one[name]) for name in names)] for label, one in held.items()]
    return columns([["class", *names], *cells])


def _figure(value: float) -> str:
    return f"{value:.3f}" if isinstance(value, float) else str(value)


def _confusion(line: dict[str, Any]) -> list[str]:
    classes, confusion = line.get("classes"), line.get("confusion")
    if not classes or not confusion:
        return []
    rows = [[c, *[f"{n:g}" for n in row]] for c, row in zip(classes, confusion, strict=True)]
    return columns([["truth \\ said", *classes], *rows])


def _calibration(line: dict[str, Any]) -> list[str]:
    bins = line.get("calibration") or []
    rows = [[f"{one['said']:.2f}", f"{one['right']:.2f}", str(one["count"])] for one in bins]
    return columns([["said to be sure", "was right", "samples"], *rows]) if rows else []


def _wrong(line: dict[str, Any]) -> list[str]:
    found = line.get("wrong") or []
    rows = [[one["sample"], one["truth"], one["said"], f"{one['share']:.2f}"] for one in found]
    return columns([["most surely wrong", "truth", "said", "share"], *rows]) if rows else []


def exported(line: dict[str, Any], short: Callable[[Path], str]) -> str:
    """Both files, and how near the program comes to the checkpoint."""
    files = [short(Path(line[key])) for key in ("program", "preprocessing")]
    return harmless(
        f"{files[0]}\n{files[1]}\nits logits are within {line['logits_off']:.1e} of the checkpoint's"
    )


def line(value: dict[str, Any]) -> str:
    """A line that the trainer said while it prepared."""
    if "message" in value:
        return harmless(str(value["message"]))
    told = {
        key: item
        for key, item in value.items()
        if key not in ("v", "t", "event", "findings", "checked", "data")
    }
    return harmless("  ".join(f"{key} {_short(item)}" for key, item in told.items()))


def _short(item: object) -> str:
    return str(len(item)) if isinstance(item, list | dict) else str(item)
