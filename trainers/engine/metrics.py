"""Classification metrics computed from a confusion matrix; matrices of several processes can be added."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from trainers.engine import rng

LOWER_IS_BETTER = ("loss", "wer", "wer_official")


def score(metric: str, value: float) -> float:
    """The metric's value, negated if lower values are better, so that a higher score is better."""
    return -value if metric in LOWER_IS_BETTER else value


def confusion_counts(truth: np.ndarray, answer: np.ndarray, classes: int) -> np.ndarray:
    """The confusion matrix (C, C) int64; rows are the true classes, columns the answers."""
    flat = np.bincount(truth * classes + answer, minlength=classes * classes)
    return np.asarray(flat.reshape(classes, classes))


def _ratio(part: np.ndarray, total: np.ndarray) -> np.ndarray:
    ratios: np.ndarray = np.divide(part, total, out=np.zeros(len(part)), where=total > 0)
    return ratios


def summarise(confusion: np.ndarray) -> dict[str, float]:
    """Accuracy, balanced accuracy (mean recall of the classes that occur), macro-F1 and the share of the most
    frequent class (`majority`).
    """
    correct, truth, answers = np.diag(confusion), confusion.sum(1), confusion.sum(0)
    recall = _ratio(correct, truth)
    f1 = _ratio(2.0 * correct, truth + answers)
    occurs = truth > 0
    return {
        "accuracy": float(correct.sum() / max(1, confusion.sum())),
        "balanced_accuracy": float(recall[occurs].mean()) if occurs.any() else 0.0,
        "macro_f1": float(f1[occurs].mean()) if occurs.any() else 0.0,
        "majority": float(truth.max() / max(1, confusion.sum())),
    }


def per_class(confusion: np.ndarray, classes: Sequence[str]) -> dict[str, dict[str, float]]:
    """Precision, recall, F1 and count of each class."""
    correct, truth, answers = np.diag(confusion), confusion.sum(1), confusion.sum(0)
    columns = (_ratio(correct, answers), _ratio(correct, truth), _ratio(2.0 * correct, truth + answers))
    return {
        name: {
            "precision": float(columns[0][i]),
            "recall": float(columns[1][i]),
            "f1": float(columns[2][i]),
            "count": int(truth[i]),
        }
        for i, name in enumerate(classes)
    }


def several(groups: Sequence[str]) -> bool:
    """Whether there are at least two groups, so that a bootstrap over groups is possible."""
    return len(set(groups)) > 1


def resampled(groups: Sequence[str], several_word: str = "groups", single_word: str = "samples") -> str:
    """The unit that `bootstrap_interval` resamples: groups, or samples if each is a group or all are one."""
    return several_word if several(groups) and len(set(groups)) < len(groups) else single_word


ROUNDS = 2000
"""Bootstrap draws of an interval."""


def bootstrap_interval(
    correct: Sequence[float],
    groups: Sequence[str],
    seed: int,
    weights: Sequence[float] | None = None,
) -> tuple[float, float]:
    """The 95 % bootstrap interval of the mean of `correct`, drawing whole groups (actors) with replacement.

    With a single group it draws samples; the interval is then too narrow for other groups. With `weights`
    (such as the words of each sentence) it is the interval of sum(correct) / sum(weights).
    """
    index = {name: i for i, name in enumerate(sorted(set(groups)))}
    units = np.array([index[group] for group in groups]) if several(groups) else np.arange(len(correct))
    right = np.bincount(units, weights=np.asarray(correct, dtype=float))
    count = np.bincount(units, weights=None if weights is None else np.asarray(weights, dtype=float))
    draws = np.random.default_rng(rng.derive_seed(seed, rng.INTERVAL)).integers(
        len(count), size=(ROUNDS, len(count))
    )
    means = right[draws].sum(1) / count[draws].sum(1)
    low, high = np.percentile(means, [2.5, 97.5])
    return float(low), float(high)


BINS = 10
"""Bins of equal width in which probabilities are compared with accuracies."""


def calibration(truth: np.ndarray, probabilities: np.ndarray) -> dict[str, Any]:
    """Calibration: how well the probability of the answer matches its accuracy.

    `ece` is the expected calibration error (Guo et al. 2017): |accuracy - mean probability| of each
    bin of equal width, weighted by its samples. `bins` lists the bins that are not empty.
    """
    confidence, right = probabilities.max(1), probabilities.argmax(1) == truth
    bin_of = np.minimum((confidence * BINS).astype(int), BINS - 1)
    entries, error = [], 0.0
    for number in range(BINS):
        here = bin_of == number
        if here.any():
            mean, accuracy = float(confidence[here].mean()), float(right[here].mean())
            error += int(here.sum()) * abs(mean - accuracy)
            entry = {"confidence": round(mean, 4), "accuracy": round(accuracy, 4), "count": int(here.sum())}
            entries.append(entry)
    return {"ece": error / max(1, len(truth)), "bins": entries}
