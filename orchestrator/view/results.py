"""What evaluate, predict and prepare gave, for a person."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from orchestrator.view.console import columns, harmless


def prediction(line: dict[str, Any]) -> str:
    """`file  label 0.93  (truth)`."""
    if "error" in line:
        return harmless(f"{line['file']}  refused: {line['error']}")
    shares = line.get("probabilities") or {}
    sure = f" {shares[line['label']]:.2f}" if line["label"] in shares else ""
    truth = f"  (the name says {line['truth']})" if line.get("truth") else ""
    return harmless(f"{line['file']}  {line['label']}{sure}{truth}")


def evaluation(line: dict[str, Any]) -> str:
    """Metrics, then the confusion matrix: rows are the truth."""
    rows = [[name, f"{value:.4f}"] for name, value in (line.get("values") or {}).items() if value is not None]
    text = columns(rows)
    classes, confusion = line.get("classes"), line.get("confusion")
    if classes and confusion:
        head = ["truth \\ said", *classes]
        text += columns(
            [
                head,
                *[[c, *[f"{n:g}" for n in row]] for c, row in zip(classes, confusion, strict=True)],
            ]
        )
    return "\n".join(text)


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
    told = {key: item for key, item in value.items() if key not in ("v", "t", "event")}
    return harmless("  ".join(f"{key} {_short(item)}" for key, item in told.items()))


def _short(item: object) -> str:
    return str(len(item)) if isinstance(item, list | dict) else str(item)
