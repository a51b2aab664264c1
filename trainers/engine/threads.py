"""The number of CPU threads of a training: measured once per run, recorded, and used again on resume.

Small networks are slower on all cores than on one, and much slower beside other programs. Another number
changes the last bits of the results, so a run keeps its number on every machine.
"""

import math
import os
import time
from collections.abc import Callable, Sequence
from itertools import cycle
from statistics import geometric_mean, median
from typing import Any

import torch

from trainers.engine.learner import Learner
from trainers.engine.loader import Plan, share
from trainers.engine.trainer import Trainer

ROUNDS, TURN, LIMIT = 5, 0.1, 15.0
"""Rounds, seconds of a turn at least, and seconds of all rounds at most, unless one round takes longer."""

WORTH = 1.05
"""More threads must be faster by this factor."""

HOPELESS = 3.0
"""Fewer threads that are slower by this factor are left out."""

BATCHES = 4
"""How many batches are measured in turn."""


def settle(option: int, recorded: int | None, learner: Learner, plan: Plan) -> int:
    """Set the number of threads of this process and return it.

    It is the one `recorded` in the checkpoint, else the option, else OMP_NUM_THREADS, else the fastest for
    training steps of the run. On a GPU and with several processes nothing is measured.
    """
    count, cores = recorded or option, len(os.sched_getaffinity(0))
    if not count and not os.environ.get("OMP_NUM_THREADS") and _is_worth_measuring(learner, cores):
        with torch.random.fork_rng(devices=[]):
            count = fastest(cores, Rehearsal(learner, plan).seconds)
    if count:
        torch.set_num_threads(count)
    return torch.get_num_threads()


def _is_worth_measuring(learner: Learner, cores: int) -> bool:
    return learner.group.device.type == "cpu" and learner.group.size == 1 and cores > 1


def fastest(cores: int, seconds: Callable[[int], float]) -> int:
    """The number of threads with the least `seconds` per step: all cores, half of them, and so on to one.

    `seconds(count)` measures one turn. A round is a turn of each number and one of each in reverse order, so
    that a growing load of the machine meets all alike; the numbers are compared within a round, and the
    median of the rounds counts. Of about equal numbers the smallest is taken.
    """
    first = _first_round(cores, seconds)
    if len(first) == 1:
        return cores
    rounds = [_round(list(first), seconds) for _ in range(_rounds(first))]
    typical = {count: median(one[count] for one in rounds) for count in first}
    return min(count for count, value in typical.items() if value <= min(typical.values()) * WORTH)


def _round(counts: Sequence[int], seconds: Callable[[int], float]) -> dict[int, float]:
    """The duration of a step with each number of threads, in multiples of the mean of the round."""
    turns = [(count, seconds(count)) for count in (*counts, *reversed(counts))]
    means = {count: geometric_mean(duration for of, duration in turns if of == count) for count in counts}
    overall = geometric_mean(means.values())
    return {count: mean / overall for count, mean in means.items()}


def _first_round(cores: int, seconds: Callable[[int], float]) -> dict[int, float]:
    """One turn of each number of threads, which does not count: it starts threads and fills caches.

    Ends where fewer threads are much slower in two turns.
    """
    first: dict[int, float] = {}
    count = cores
    while count:
        limit = HOPELESS * min(first.values(), default=math.inf)
        duration = seconds(count)
        if duration > limit and seconds(count) > limit:
            break
        first[count] = duration
        count //= 2
    return first


def _rounds(first: dict[int, float]) -> int:
    """How many rounds are measured: fewer if steps are slow."""
    one = 2 * sum(max(TURN, duration) for duration in first.values())
    return max(1, min(ROUNDS, int(LIMIT / one)))


class Rehearsal:
    """Training steps of a copy of a run with its first batches, which are loaded before anything is measured.

    The run's own weights, optimizer and loader stay as they are.
    """

    def __init__(self, learner: Learner, plan: Plan) -> None:
        trainer = learner.trainer
        self.learner = Learner(trainer, learner.group, plan.steps_per_epoch)
        self.learner.model.load_state_dict(learner.model.state_dict())
        steps = min(BATCHES, plan.steps_per_epoch)
        self.batches = cycle([_parts(trainer, plan, step) for step in range(steps)])

    def seconds(self, count: int) -> float:
        """Seconds per step with `count` threads: the mean over the steps of one turn."""
        torch.set_num_threads(count)
        torch.zeros(1 << 20).add_(1)  # starts the threads
        start, steps = time.perf_counter(), 0
        while not steps or time.perf_counter() - start < TURN:
            _, weight, *_ = self.learner.gradients(0, next(self.batches), False)
            self.learner.divide_and_clip(weight)
            self.learner.step(0)
            steps += 1
        return (time.perf_counter() - start) / steps


def _parts(trainer: Trainer, plan: Plan, step: int) -> list[Any]:
    """The batches of a step: `accumulate` of them, None for one without a sample."""
    lists = share(plan.batch(step), 0, 1, trainer.config.accumulate)
    return [
        trainer.collate([trainer.sample("train", *key) for key in keys]) if keys else None for keys in lists
    ]
