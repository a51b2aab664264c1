"""Findings, and the rules that `check` and a running training share.

Standard library only: the rules take plain numbers and names.
"""

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import median

NORM_JUMP = 100.0
"""A gradient norm this many times its running median is worth a warning."""

NORM_HISTORY = 101


@dataclass(frozen=True)
class Finding:
    """What a check found. `code` is stable; `fix` says what to do; `key` names the option at fault."""

    code: str
    severity: str
    message: str
    fix: str
    key: str | None = None

    def as_dict(self) -> dict[str, str | None]:
        """The finding as it stands in the report."""
        return asdict(self)


def error(code: str, message: str, fix: str, key: str | None = None) -> Finding:
    """A finding that refuses the job."""
    return Finding(code, "error", message, fix, key)


def warning(code: str, message: str, fix: str, key: str | None = None) -> Finding:
    """A finding that the job survives."""
    return Finding(code, "warning", message, fix, key)


def info(code: str, message: str, fix: str = "", key: str | None = None) -> Finding:
    """Something worth knowing that needs no action."""
    return Finding(code, "info", message, fix, key)


def has_error(findings: Iterable[Finding]) -> bool:
    """Whether one of the findings refuses the job."""
    return any(finding.severity == "error" for finding in findings)


def first(names: Sequence[str], count: int = 5) -> str:
    """The first names of a list, and how many more there are."""
    more = f" and {len(names) - count} more" if len(names) > count else ""
    return ", ".join(names[:count]) + more


def finite(loss: float, norm: float, samples: Sequence[str]) -> list[Finding]:
    """Before an optimizer step: loss and gradient norm are finite; `samples` are the names of the batch."""
    if math.isfinite(loss) and math.isfinite(norm):
        return []
    message = f"loss {loss}, gradient norm {norm}; the batch: {first(list(samples), 48)}"
    return [error("finite", message, "look at these samples; lower learning_rate or clip_norm")]


def finite_validation(values: Mapping[str, float]) -> list[Finding]:
    """Before a checkpoint is judged: its validation metrics are finite."""
    broken = [f"{name} {value}" for name, value in values.items() if not math.isfinite(value)]
    if not broken:
        return []
    fix = "lower learning_rate or clip_norm; look at the samples of val"
    return [error("finite", f"on val: {', '.join(broken)}", fix)]


def gradient_jump(norm: float, history: Sequence[float]) -> list[Finding]:
    """A gradient norm far above the running median of the last steps."""
    if len(history) < 10 or norm <= NORM_JUMP * median(history):
        return []
    message = f"gradient norm {norm:.3g}, the running median is {median(history):.3g}"
    return [warning("grad.norm", message, "lower learning_rate, or clip_norm")]


def above_chance(value: float, classes: int, epoch: int) -> list[Finding]:
    """A balanced accuracy that is still that of a constant answer after the warm-up."""
    if value > 1.05 / classes:
        return []
    message = (
        f"balanced accuracy {value:.3f} after {epoch} epochs; one constant answer gets {1 / classes:.3f}"
    )
    return [warning("plateau.baseline", message, "the model has learnt nothing: run check, stop it")]


def group_overlap(what: str, members: Mapping[str, Iterable[str]]) -> list[Finding]:
    """`members` maps a split to its groups (actors, takes): no group may stand in two splits."""
    splits_of: dict[str, set[str]] = {}
    for split, groups in members.items():
        for group in set(groups):
            splits_of.setdefault(group, set()).add(split)
    shared = sorted(group for group, splits in splits_of.items() if len(splits) > 1)
    if not shared:
        return []
    message = f"{len(shared)} {what} stand in more than one split: {first(shared)}"
    return [error("split.groups", message, f"assign whole {what} to a split, never single files")]


def balance(labels: Mapping[str, Sequence[str]], classes: Sequence[str]) -> list[Finding]:
    """`labels` maps a split to the labels of its samples: every class in every split, none rare."""
    findings = []
    for split, values in labels.items():
        counts = Counter(values)
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
    """The learning rates an optimizer went through against the plan's closed form."""
    for step, (got, want) in enumerate(zip(actual, planned, strict=True)):
        if not math.isclose(got, want, rel_tol=1e-6, abs_tol=1e-12):
            message = f"at step {step} the learning rate is {got:.4g}, the plan says {want:.4g}"
            fix = "one scheduler owns the learning rate: look for a second one"
            return [error("lr.plan", message, fix, "schedule")]
    return []


LARGEST_SPREAD = 2.0
"""Root mean square of an untrained model's centred logits beyond which its answers are no guesses."""


def first_loss(loss: float, expected: float, spread: float = 0.0) -> list[Finding]:
    """The loss of an untrained model against theory (ln C for C classes), within 30 %.

    `spread`, the root mean square of its centred logits, widens that: a linear model with default weights
    answers with some confidence, rightly or wrongly.
    """
    low, high = 0.7 * expected - 0.5 * spread, 1.3 * expected + 1.5 * spread
    if low <= loss <= high and spread <= LARGEST_SPREAD:
        return []
    side = "the input holds the label" if loss < low else "the scale of inputs or loss is wrong"
    message = f"first loss {loss:.3f}, an untrained model has {expected:.3f}"
    return [error("loss.first", message, f"{side}: look at the features and at the head's start")]


class DataUnusable(Exception):
    """The data gives nothing to train on; `findings` say why."""

    def __init__(self, findings: Sequence[Finding]) -> None:
        super().__init__("; ".join(f"{f.message}: {f.fix}" for f in findings))
        self.findings = list(findings)
