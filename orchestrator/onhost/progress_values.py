"""Numbers and names in a line of a log → where each value belongs: loss, learning rate, metric of a split."""

from __future__ import annotations

import functools
import math
import re
from typing import Iterable, NamedTuple, Tuple

NUMBER = r"[-+]?(?:(?:\d{1,3}(?:,\d{3})+(?:\.\d+)?|\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?|(?:nan|inf(?:inity)?)\b)"


def word_set(text: str) -> frozenset[str]:
    return frozenset(text.split())


SPLITS = {
    **dict.fromkeys(("val", "valid", "validate", "validation", "eval", "evaluation", "dev"), "val"),
    **dict.fromkeys(("train", "training", "learn"), "train"),
    **dict.fromkeys(("test", "testing"), "test"),
}
_AVERAGES = ("average", "avg", "mean", "running", "epoch", "step", "batch")  # of "average loss", "loss_epoch"
_METRICS = word_set(
    "loss losses cost nll ppl perplexity bpb bpc acc accuracy f1 f2 fbeta fscore auc auroc precision recall "
    "iou miou dice map ndcg mrr mae mape mse rmse rmsle logloss mlogloss bleu rouge wer cer ter psnr ssim "
    "fid reward rew return score elbo kl r2 mcc error err"
)
_HINTS = (*_METRICS, *SPLITS, "top")
# Of these, each alone on a line may as well be a setting or a count: `precision: 16`, `error: 3`.
_AMBIGUOUS = word_set("precision recall map dice return score error err cost kl reward rew ter")
_TOP = re.compile(r"(?<![a-z])top[-_@ ]?\d")
# Words that make a name one of a setting or of a record, not of a value that was just measured.
_SETTINGS = word_set(
    "weight weights scale scaling ratio best min max target threshold smoothing fn func function type "
    "name id patience delta margin factor coef coeff alpha beta every interval expected baseline dim "
    "size scaler"
)
_NO_METRIC = word_set(
    "runtime time seconds second sec ms duration samples sample steps batches batch epoch epochs tokens "
    "throughput memory mem fps iterations step num count n total"
)
_STEPS = word_set(
    "step steps iter iters iteration iterations it batch update updates num_updates global_step globalstep "
    "current_step timestep timesteps total_timesteps num_timesteps round episode"
)
STEP_WORD = (
    r"(?:global[_ ]?)?steps?|iter(?:ation)?s?|batch|(?:num_)?updates?|epoch|ep|episode|round|"
    r"(?:total_|num_)?timesteps?"
)
_NAMES = 512  # names of which it is kept what they mean: a log repeats them
Pair = Tuple[str, float]


class Values:
    """What the pairs of one line say. `metrics`: split → name → value; the loss of training is not there.

    `split`: of names that have none. Beside values of training and of validation that is validation.
    """

    def __init__(self, split: str = "train") -> None:
        self.split = split
        self.loss: float | None = None
        self.lr: float | None = None
        self.grad_norm: float | None = None
        self.metrics: dict[str, dict[str, float]] = {}

    def add(self, pairs: Iterable[Pair]) -> Values:
        ordered = sorted(pairs, key=lambda pair: "epoch" not in words(pair[0]))  # a mean gives way to a value
        if {"train", "val"} <= {split_of(key)[0] for key, _ in ordered}:
            self.split = "val"
        for key, value in ordered:
            self._add(key, value)
        self._find_loss()
        return self

    def __bool__(self) -> bool:
        return self.loss is not None or bool(self.metrics)

    def _add(self, key: str, value: float) -> None:
        split, name = split_of(key)
        split = split or self.split
        if is_lr(name):
            self.lr = value
        elif is_norm(name):
            self.grad_norm = value
        elif split == "train" and name in ([], ["loss"], ["losses"]):
            self.loss = value
        else:
            self.metrics.setdefault(split, {})["_".join(name) or "loss"] = value

    def _find_loss(self) -> None:
        """Without a plain loss, it is the total of several, or the only one: `total_loss`, `lm loss`."""
        named = self.metrics.get("train", {})
        losses = [name for name in named if "loss" in name.split("_")]
        total = [name for name in losses if "total" in name.split("_")] or losses
        if self.loss is None and len(total) == 1:
            self.loss = named.pop(total[0])
            if not named:
                del self.metrics["train"]


class Line(NamedTuple):
    """What a line says. `step` of `of`: of the bar, or of the whole training. `left`: seconds, as it says.

    `depth`: how many bars are above this one. `name`: the text before a bar, by which it is known again.
    `split`: what the lines after this one are about, until one says something else. `is_counted`: the step
    is counted from the last heading of an epoch, if there is one.
    """

    format: str
    text: str
    step: int | None = None
    of: int | None = None
    epoch: float | None = None
    epochs: int | None = None
    left: float | None = None
    depth: int = 0
    name: str = ""
    values: Values = Values()
    split: str = ""
    is_counted: bool = False


def words(key: str) -> list[str]:
    """`train/Loss` → train, loss; `val_loss` → val, loss; `valLoss` stays one word."""
    return re.findall(r"[a-z0-9]+", re.sub(r"(?<=[a-z\d])'s\b", "", key.lower()))


@functools.lru_cache(maxsize=_NAMES)
def split_of(key: str) -> tuple[str, list[str]]:
    """The split that a name has (empty: none), and the name without it and without words for an average.

    The number of a set of validation data stays if it is not 0: `valid_0's auc`, `validation_1-auc`.
    """
    named = words(key)
    splits = [SPLITS[word] for word in named if word in SPLITS]
    first = [
        not (word == "0" and number and named[number - 1] in SPLITS) for number, word in enumerate(named)
    ]
    left = [word for word, is_name in zip(named, first) if is_name]
    name = [word for word in left if word not in SPLITS and word not in _AVERAGES]
    return (splits[0] if splits else ""), name


@functools.lru_cache(maxsize=_NAMES)
def unit_of(key: str) -> str:
    """Whether a name counts `epoch`s or `step`s; empty: neither. `Train Epoch` does, `step_size` does not."""
    lower = key.lower().strip()
    if lower in _STEPS:
        return "step"
    name = [word for word in words(lower) if word not in SPLITS]
    if name in (["epoch"], ["ep"]):
        return "epoch"
    return "step" if "_".join(name) in _STEPS else ""


def is_lr(name: list[str]) -> bool:
    return name[:1] == ["lr"] or name == ["learning", "rate"]


def is_norm(name: list[str]) -> bool:
    return " ".join(name) in ("grad norm", "gradnorm", "gnorm", "gradient norm")


@functools.lru_cache(maxsize=_NAMES)
def is_metric(key: str) -> bool:
    """Whether a name is that of a metric, rather than of a setting, a time or a size."""
    name = split_of(key)[1]
    if not name or _SETTINGS.intersection(name):
        return False
    ends = {re.sub(r"s?\d*$", "", word) for word in (name[0], name[-1])}
    return bool(ends & _METRICS or {name[0], name[-1]} & _METRICS or _TOP.search(key.lower()))


def may_have_metric(text: str) -> bool:
    """False for most lines without a metric, at a hundredth of the time that reading them takes."""
    lower = text.lower()
    return any(hint in lower for hint in _HINTS)


def is_measured(key: str) -> bool:
    """Whether a name is that of a metric beside measured values: `eval_mcc`, and not `eval_runtime`."""
    split, name = split_of(key)
    is_free = split in ("val", "test") and name and not (_SETTINGS | _NO_METRIC).intersection(name)
    return is_metric(key) or is_rate(key) or bool(is_free)


def is_plain_metric(key: str) -> bool:
    """Whether a name is that of a metric also where nothing else is on its line."""
    split, name = split_of(key)
    return is_metric(key) and (bool(split) or not _AMBIGUOUS.intersection(name))


def is_rate(key: str) -> bool:
    """Whether a name is that of the learning rate or of the norm of the gradient."""
    name = split_of(key)[1]
    return is_lr(name) or is_norm(name)


def to_float(text: str) -> float:
    """A number that NUMBER matched."""
    return float(text.replace(",", ""))


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


_CLOCK = re.compile(r"(?:(\d+) days?, )?(?:(\d+):)?(\d+):(\d+)(?:\.\d+)?$")


def seconds(clock: str) -> float | None:
    """`1:02:03` → 3723; None for anything else."""
    match = _CLOCK.match(clock.strip())
    if not match:
        return None
    days, hours, minutes, rest = (int(part or 0) for part in match.groups())
    return float(86400 * days + hours * 3600 + minutes * 60 + rest)
