"""Findings, and the rules that are used both by `check` and during a training.

Standard library only: the rules take plain numbers and names.
"""

import math
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any

NORM_JUMP = 100.0
"""A gradient norm above this multiple of its running median gives a warning."""

NORM_HISTORY = 101


@dataclass(frozen=True)
class Finding:
    """A result of a check: a stable `code`, a message, a `fix` (what to do), the option at fault (`key`)."""

    code: str
    severity: str
    message: str
    fix: str
    key: str | None = None

    def as_dict(self) -> dict[str, str | None]:
        """The finding as JSON for the report."""
        return asdict(self)


def error(code: str, message: str, fix: str, key: str | None = None) -> Finding:
    """Create a finding with which the job is refused."""
    return Finding(code, "error", message, fix, key)


def warning(code: str, message: str, fix: str, key: str | None = None) -> Finding:
    """Create a finding with which the job still starts."""
    return Finding(code, "warning", message, fix, key)


def info(code: str, message: str, fix: str = "", key: str | None = None) -> Finding:
    """Create a finding that needs no action."""
    return Finding(code, "info", message, fix, key)


def has_error(findings: Iterable[Finding]) -> bool:
    """Whether one of the findings is an error."""
    return any(finding.severity == "error" for finding in findings)


def first(names: Sequence[str], count: int = 5) -> str:
    """The first `count` names joined by commas, and the number of the others."""
    more = f" and {len(names) - count} more" if len(names) > count else ""
    return ", ".join(names[:count]) + more


def finite(loss: float, norm: float, samples: Sequence[str]) -> list[Finding]:
    """An error if loss or gradient norm is not finite; `samples` names the batch's samples."""
    if math.isfinite(loss) and math.isfinite(norm):
        return []
    message = f"loss {loss}, gradient norm {norm}; the batch: {first(list(samples), 48)}"
    return [error("finite", message, "look at these samples; lower learning_rate or clip_norm")]


def finite_validation(values: Mapping[str, float]) -> list[Finding]:
    """An error if a validation metric (name to value) is not finite."""
    broken = [f"{name} {value}" for name, value in values.items() if not math.isfinite(value)]
    if not broken:
        return []
    fix = "lower learning_rate or clip_norm; look at the samples of val"
    return [error("finite", f"on val: {', '.join(broken)}", fix)]


def gradient_jump(norm: float, history: Sequence[float]) -> list[Finding]:
    """A warning if the gradient norm is above NORM_JUMP times the median of `history` (10 steps or more)."""
    if len(history) < 10 or norm <= NORM_JUMP * median(history):
        return []
    message = f"gradient norm {norm:.3g}, the running median is {median(history):.3g}"
    return [warning("grad.norm", message, "lower learning_rate, or clip_norm")]


def above_chance(value: float, classes: int, epoch: int) -> list[Finding]:
    """A warning if the balanced accuracy `value` is at most 1.05 / `classes`, that is, near chance."""
    if value > 1.05 / classes:
        return []
    message = (
        f"balanced accuracy {value:.3f} after {epoch} epochs; one constant answer gets {1 / classes:.3f}"
    )
    return [warning("plateau.baseline", message, "the model does not learn: stop the run and run check")]


def group_key(name: str) -> str:
    """The key of a group (person, actor, signer), so that two spellings of one name are one group.

    It has no case, surrounding spaces and leading zeros; `12.0` is `12`, as pandas writes it.
    """
    text = " ".join(unicodedata.normalize("NFKC", name).casefold().split())
    text = re.sub(r"^([0-9]+)\.0+$", r"\1", text)
    return re.sub(r"(?<![0-9.])0+(?=[0-9])", "", text)


def group_overlap(what: str, members: Mapping[str, Iterable[str]]) -> list[Finding]:
    """An error if a group is in two splits; `members` maps each split to its groups (actors, takes).

    Spellings of one name, such as Signer05 and signer05, are one group.
    """
    spellings: dict[str, dict[str, str]] = {}
    for split, names in members.items():
        for name in sorted(set(names)):
            spellings.setdefault(group_key(name), {}).setdefault(split, name)
    shared = [" = ".join(sorted(set(of.values()))) for of in spellings.values() if len(of) > 1]
    if not shared:
        return []
    message = f"{len(shared)} {what} are in more than one split: {first(sorted(shared))}"
    return [error("split.groups", message, f"assign whole {what} to a split, never single files")]


def balance(splits: Mapping[str, Sequence[Any]], classes: Sequence[str]) -> list[Finding]:
    """An error for a class that is missing in a split, a warning for one with under 5 % of its samples.

    `splits` maps each split to its records, which have a `label`.
    """
    findings = []
    for split, values in splits.items():
        counts = Counter(record.label for record in values)
        absent = [name for name in classes if values and not counts[name]]
        rare = [name for name in classes if values and 0 < counts[name] < 0.05 * len(values)]
        if absent:
            fix = "add samples of the class, or take another seed or share for the splits"
            findings.append(error("balance", f"{split} holds no {first(absent)}", fix, "seed"))
        if rare:
            message = f"under 5 % of {split}: " + ", ".join(f"{n} ({counts[n]})" for n in rare)
            findings.append(warning("balance", message, "keep class_weights on, or add samples"))
    return findings


def learning_rates(actual: Sequence[float], planned: Sequence[float]) -> list[Finding]:
    """An error if a learning rate that the optimizer used differs from the planned one."""
    for step, (got, want) in enumerate(zip(actual, planned, strict=True)):
        if not math.isclose(got, want, rel_tol=1e-6, abs_tol=1e-12):
            message = f"at step {step} the learning rate is {got:.4g}, the plan says {want:.4g}"
            fix = "one scheduler owns the learning rate: look for a second one"
            return [error("lr.plan", message, fix, "schedule")]
    return []


LARGEST_SPREAD = 2.0
"""Maximum root mean square of an untrained model's centred logits; above it the check `loss.first` fails."""


def first_loss(loss: float, expected: float, spread: float = 0.0) -> list[Finding]:
    """An error if the loss of an untrained model differs from theory (ln C for C classes) by over 30 %.

    `spread`, the root mean square of its centred logits, widens the range, because a linear model with
    default weights does not give uniform probabilities.
    """
    low, high = 0.7 * expected - 0.5 * spread, 1.3 * expected + 1.5 * spread
    if low <= loss <= high and spread <= LARGEST_SPREAD:
        return []
    side = "the input holds the label" if loss < low else "the scale of inputs or loss is wrong"
    message = f"first loss {loss:.3f}, an untrained model has {expected:.3f}"
    return [error("loss.first", message, f"{side}: look at the features and at the head's start")]


class DataUnusable(Exception):
    """The data cannot be used for a training; `findings` give the reasons."""

    def __init__(self, findings: Sequence[Finding]) -> None:
        super().__init__("; ".join(f"{f.message}: {f.fix}" for f in findings))
        self.findings = list(findings)
