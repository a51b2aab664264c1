"""What classifiers share: weighted cross entropy as the engine counts it, class weights, scores."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from trainers.engine import metrics
from trainers.engine.task import Output, Summary

SHOWN = 10
"""Samples most confidently wrong that an evaluation names."""


def class_weights(labels: Sequence[int], classes: int) -> Tensor:
    """(C,) float32: N / (C n_c), so that every class weighs the same in the whole."""
    counts = np.bincount(np.asarray(labels, dtype=np.int64), minlength=classes)
    return torch.tensor(len(labels) / (classes * np.maximum(counts, 1))).float()


def output(logits: Tensor, labels: Tensor, weights: Tensor, smoothing: float) -> Output:
    """Cross entropy of (B, C) logits against (B,) labels, each sample weighed by its class."""
    logits, classes = logits.float(), logits.shape[1]
    held = weights.to(logits.device)[labels]
    losses = cross_entropy(logits, labels, reduction="none", label_smoothing=smoothing)
    answers = logits.argmax(1)
    counts = torch.bincount(labels * classes + answers, minlength=classes**2).to(logits.dtype)
    correct = (answers == labels).to(logits.dtype)
    return Output((losses * held).sum(), held.sum(), counts, correct, logits)


def summary(counts: Sequence[float], classes: Sequence[str]) -> Summary:
    """Metrics and confusion matrix from the sum of `Output.counts`."""
    size = len(classes)
    confusion = np.asarray(counts).round().astype(int).reshape(size, size)
    return Summary(metrics.summarise(confusion), list(classes), confusion.tolist())


def scores(
    truth: np.ndarray,
    shares: np.ndarray,
    classes: Sequence[str],
    names: Sequence[str],
    groups: Sequence[str],
    seed: int,
) -> dict[str, Any]:
    """All that `evaluate` tells of a classifier.

    `truth` (N,) int, `shares` (N, C) probabilities; `names` and `groups` (N) of the samples. `drawn` is what
    the interval draws: whole groups, or samples where there is one group.
    """
    answers = shares.argmax(1)
    confusion = metrics.confusion_counts(truth, answers, len(classes))
    low, high = metrics.bootstrap_interval((truth == answers).tolist(), groups, seed)
    calibration = metrics.calibration(truth, shares)
    values = {**metrics.summarise(confusion), "accuracy_low": low, "accuracy_high": high}
    return {
        "samples": len(truth),
        "groups": len(set(groups)),
        "drawn": metrics.drawn(groups),
        "values": {**values, "ece": calibration["ece"]},
        "per_class": metrics.per_class(confusion, classes),
        "classes": list(classes),
        "confusion": confusion.tolist(),
        "calibration": calibration["bins"],
        "wrong": _most_wrong(truth, shares, classes, names),
    }


def _most_wrong(
    truth: np.ndarray, shares: np.ndarray, classes: Sequence[str], names: Sequence[str]
) -> list[dict[str, Any]]:
    """The samples to look at first: answered wrongly, the surest first."""
    answers = shares.argmax(1)
    wrong = np.flatnonzero(answers != truth)
    order = wrong[np.argsort(-shares[wrong, answers[wrong]], kind="stable")][:SHOWN]
    return [
        {
            "sample": names[i],
            "truth": classes[truth[i]],
            "said": classes[answers[i]],
            "share": round(float(shares[i, answers[i]]), 4),
        }
        for i in order
    ]
