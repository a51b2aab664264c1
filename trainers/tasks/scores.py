"""The evaluation report of a classifier: metrics with intervals, calibration, most confident errors."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from trainers.engine import metrics


def scores(
    truth: np.ndarray,
    probabilities: np.ndarray,
    classes: Sequence[str],
    names: Sequence[str],
    groups: Sequence[str],
    seed: int,
) -> dict[str, Any]:
    """The report of `evaluate`.

    `truth` (N,) int, `probabilities` (N, C), `names` and `groups` of the N samples. In the result,
    `resampled` names the unit of the bootstrap: groups, or samples if there is one group.
    """
    answers = probabilities.argmax(1)
    confusion = metrics.confusion_counts(truth, answers, len(classes))
    low, high = metrics.bootstrap_interval((truth == answers).tolist(), groups, seed)
    calibration = metrics.calibration(truth, probabilities)
    values = {**metrics.summarise(confusion), "accuracy_low": low, "accuracy_high": high}
    return {
        "samples": len(truth),
        "groups": len(set(groups)),
        "resampled": metrics.resampled(groups),
        "values": {**values, "ece": calibration["ece"]},
        "per_class": metrics.per_class(confusion, classes),
        "classes": list(classes),
        "confusion": confusion.tolist(),
        "calibration": calibration["bins"],
        "wrong": _most_wrong(truth, probabilities, classes, names),
    }


def _most_wrong(
    truth: np.ndarray, probabilities: np.ndarray, classes: Sequence[str], names: Sequence[str]
) -> list[dict[str, Any]]:
    """Every wrong answer, the most confident first."""
    answers = probabilities.argmax(1)
    wrong = np.flatnonzero(answers != truth)
    order = wrong[np.argsort(-probabilities[wrong, answers[wrong]], kind="stable")]
    return [
        {
            "sample": names[i],
            "truth": classes[truth[i]],
            "answer": classes[answers[i]],
            "probability": round(float(probabilities[i, answers[i]]), 4),
        }
        for i in order
    ]
