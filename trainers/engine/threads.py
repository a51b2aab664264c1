"""The number of CPU threads of a training: measured once per run, recorded, and used again on resume.

Small networks are slower on all cores than on one, and much slower beside other programs. Another number
changes the last bits of the results, so a run keeps its number on every machine.
"""

import copy
import os
import time
from collections.abc import Callable
from typing import Any

import torch

from trainers.engine.learner import Learner

STEPS = 3
"""Number of steps that are timed with each number of threads; the fastest counts."""

WORTH = 1.05
"""More threads must be faster by this factor."""


def settle(option: int, recorded: int | None, learner: Learner, batch: Callable[[], Any]) -> int:
    """Set the number of threads of this process and return it.

    It is the one `recorded` in the checkpoint, else the option, else OMP_NUM_THREADS, else the fastest for a
    step with `batch()`. On a GPU and with several processes nothing is measured.
    """
    count = recorded or option
    if not count and not os.environ.get("OMP_NUM_THREADS") and _is_worth_measuring(learner):
        count = fastest(len(os.sched_getaffinity(0)), _timer(learner, batch()))
    if count:
        torch.set_num_threads(count)
    return torch.get_num_threads()


def _is_worth_measuring(learner: Learner) -> bool:
    return learner.group.device.type == "cpu" and learner.group.size == 1


def fastest(cores: int, seconds: Callable[[int], float]) -> int:
    """The number of threads with the least `seconds`; tries all cores, half of them, and so on.

    Stops where fewer threads are slower. Of about equal numbers the smallest is taken.
    """
    best, least = cores, seconds(cores)
    count = cores // 2
    while count:
        duration = seconds(count)
        if duration > least * WORTH:
            break
        best, least = count, min(least, duration)
        count //= 2
    return best


def _timer(learner: Learner, batch: Any) -> Callable[[int], float]:
    """A function from a number of threads to the seconds of a forward and backward pass."""
    trainer, model = learner.trainer, copy.deepcopy(learner.model).train()

    def seconds(count: int) -> float:
        torch.set_num_threads(count)
        durations = []
        with torch.random.fork_rng(devices=[]):
            for _ in range(STEPS + 1):  # the first one starts the threads
                start = time.perf_counter()
                output = trainer.loss(model, batch)
                (output.loss / output.weight).backward()  # type: ignore[no-untyped-call]
                durations.append(time.perf_counter() - start)
        return min(durations[1:])

    return seconds
