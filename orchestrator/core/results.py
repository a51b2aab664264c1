"""The lines that `python -m trainers` evaluate, predict, export and check --list print (docs/contract.md)."""

from __future__ import annotations

import msgspec


class Prediction(msgspec.Struct, frozen=True):
    """One file: a label with the probability of each class, or glosses, or why it could not be read."""

    file: str = ""
    label: str = ""
    probabilities: dict[str, float] = {}
    truth: str | None = None
    glosses: tuple[str, ...] | None = None
    error: str | None = None


class Baseline(msgspec.Struct, frozen=True):
    name: str = ""
    values: dict[str, float] = {}


class CalibrationBin(msgspec.Struct, frozen=True):
    """Samples of similar confidence, and how many of them were right, both from 0 to 1."""

    confidence: float = 0.0
    accuracy: float = 0.0
    count: int = 0


class WrongAnswer(msgspec.Struct, frozen=True):
    """A wrong class with its probability, or wrong glosses with their word errors."""

    sample: str = ""
    truth: str = ""
    answer: str = ""
    probability: float | None = None
    edits: int | None = None
    words: int | None = None


class ConfusedGlosses(msgspec.Struct, frozen=True):
    """How often a gloss was answered in place of another."""

    truth: str = ""
    answer: str = ""
    count: int = 0


class Evaluation(msgspec.Struct, frozen=True):
    """`resampled`: what the 95 % interval resamples. `confusion`: rows are the truth, ordered as `classes`.
    `plots`: paths of the figures."""

    warning: str | None = None
    values: dict[str, float | None] = {}
    baseline: Baseline | None = None
    resampled: str | None = None
    per_class: dict[str, dict[str, float | int | None]] = {}
    classes: tuple[str, ...] = ()
    confusion: tuple[tuple[float, ...], ...] = ()
    calibration: tuple[CalibrationBin, ...] = ()
    confused: tuple[ConfusedGlosses, ...] = ()
    wrong: tuple[WrongAnswer, ...] = ()
    plots: tuple[str, ...] = ()


class Export(msgspec.Struct, frozen=True):
    """Paths of both files. `logits_off`: the largest difference to the logits of the checkpoint."""

    program: str
    preprocessing: str
    logits_off: float = 0.0


class Check(msgspec.Struct, frozen=True):
    """A check of a trainer: `line` says what holds where it passes."""

    code: str
    tier: str
    line: str
