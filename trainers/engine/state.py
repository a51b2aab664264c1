"""The counters of a run, which checkpoints store, and how it ended."""

import math
from dataclasses import dataclass, field


@dataclass
class State:
    """The counters of a run after a step; checkpoints store them.

    `sums` adds up loss, weight and counts over the epoch; `norms` are the last gradient norms; `best` is the
    best score of the metric `select`; `balanced` is the best balanced accuracy so far.
    """

    step: int = 0
    best: float = -math.inf  # the metric or, where less is better, its negative
    best_step: int | None = None
    balanced: float = -math.inf
    bad_epochs: int = 0
    skips: int = 0
    sums: list[float] = field(default_factory=list)
    norms: list[float] = field(default_factory=list)


@dataclass(frozen=True)
class Outcome:
    """How a run ended: `status` is `done`, `stopped` or `failed`."""

    status: str
    step: int
    message: str
