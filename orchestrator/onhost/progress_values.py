"""Numbers and names in a line of a log → where each value belongs: loss, learning rate, metric of a split."""

from __future__ import annotations

import math
import re
from typing import Iterable, Tuple

NUMBER = r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?|[-+]?(?:nan|inf(?:inity)?)\b"


def word_set(text: str) -> frozenset[str]:
    return frozenset(text.split())


_SPLITS = {
    **dict.fromkeys(("val", "valid", "validation", "eval", "evaluation", "dev"), "val"),
    **dict.fromkeys(("train", "training"), "train"),
    "test": "test",
}
_AVERAGES = ("average", "avg", "mean", "running", "epoch", "step", "batch")  # of "average loss", "loss_epoch"
_METRICS = word_set(
    "loss losses nll ppl perplexity acc accuracy f f1 auc auroc precision recall iou miou dice map mae "
    "mse rmse bleu rouge wer cer ter psnr ssim fid reward return score elbo kl r2 mcc error err top"
)
# Words that make a name one of a setting or of a record, not of a value that was just measured.
_SETTINGS = word_set(
    "weight weights scale scaling ratio best min max target threshold smoothing fn func function type "
    "name id patience delta margin factor coef coeff alpha beta every interval expected baseline dim "
    "size"
)
Pair = Tuple[str, float]


class Values:
    """What the pairs of one line say. `metrics`: split → name → value; the loss of training is not there."""

    def __init__(self, split: str = "train") -> None:
        self.split = split
        self.loss: float | None = None
        self.lr: float | None = None
        self.grad_norm: float | None = None
        self.metrics: dict[str, dict[str, float]] = {}

    def add(self, pairs: Iterable[Pair]) -> Values:
        for key, value in pairs:
            self._add(words(key), value)
        return self

    def __bool__(self) -> bool:
        return self.loss is not None or bool(self.metrics)

    def _add(self, key: list[str], value: float) -> None:
        split, name = split_of(key)
        split = split or self.split
        if name in (["lr"], ["learning", "rate"]) or name[:1] == ["lr"]:
            self.lr = value
        elif name in (["grad", "norm"], ["gradnorm"], ["gnorm"], ["gradient", "norm"]):
            self.grad_norm = value
        elif split == "train" and name in (["loss"], ["losses"]):
            self.loss = value
        elif name:
            self.metrics.setdefault(split, {})["_".join(name)] = value


def words(key: str) -> list[str]:
    """`train/Loss` → train, loss; `val_loss` → val, loss; `valLoss` stays one word."""
    return re.findall(r"[a-z0-9]+", key.lower())


def split_of(key: list[str]) -> tuple[str, list[str]]:
    """The split that a name has (empty: none), and the name without it and without words for an average."""
    split = next((_SPLITS[word] for word in key if word in _SPLITS), "")
    return split, [word for word in key if word not in _SPLITS and word not in _AVERAGES]


def is_metric(key: str) -> bool:
    """Whether a name is that of a metric, rather than of a setting, a time or a size."""
    name = split_of(words(key))[1]
    if not name or _SETTINGS.intersection(name):
        return False
    ends = {re.sub(r"\d+$", "", word) for word in (name[0], name[-1])}
    return bool(ends & _METRICS or {name[0], name[-1]} & _METRICS)


def is_rate(key: str) -> bool:
    """Whether a name is that of the learning rate or of the norm of the gradient."""
    name = split_of(words(key))[1]
    return name[:1] == ["lr"] or " ".join(name) in ("learning rate", "grad norm", "gradnorm", "gnorm")


def number(text: str) -> float | None:
    """A number as programs print it, also with a unit of thousands (`1.2k`); None for anything else."""
    factor = {"k": 1e3, "K": 1e3, "M": 1e6, "G": 1e9, "T": 1e12}.get(text[-1:], 1.0)
    try:
        value = float(text[:-1] if factor > 1 else text)
    except ValueError:
        return None
    return value * factor


def count(text: str) -> int | None:
    """A whole number that is not negative; None for anything else."""
    value = number(text)
    return int(value) if value is not None and math.isfinite(value) and 0 <= value < 2**53 else None
