"""The results of a model on a split: one format for all trainers (docs/contract.md#results)."""

from collections.abc import Mapping
from typing import Any

SHOWN = 100
"""Maximum number of wrong answers, of classes and of pairs in the event `results`, which has one line."""


def shortened(results: Mapping[str, Any]) -> dict[str, Any]:
    """The results with at most SHOWN entries in each list, and without a larger confusion matrix.

    `wrong` and `confused` begin with the worst; of `per_class`, the most frequent classes are kept.
    """
    short = dict(results)
    for name in ("wrong", "confused"):
        if name in short:
            short[name] = short[name][:SHOWN]
    classes = short.get("per_class", {})
    if len(classes) > SHOWN:
        most = sorted(classes, key=lambda name: -classes[name]["count"])[:SHOWN]
        short["per_class"] = {name: classes[name] for name in most}
        short.pop("confusion", None)
        short.pop("classes", None)
    return short
