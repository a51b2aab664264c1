"""The speed of a training with each number of CPU threads, measured in turns in one process.

    python -m benchmarks.thread_rates TRAINER

Reads the variables of a run (docs/contract.md) and trains in its folder. The number of threads changes every
half second, so that other programs slow all numbers alike; steps that end an epoch do not count. Prints one
JSON line: `rates`, the median over the turns in samples per second, and `choices`, the number of threads
that the trainer chooses by itself, at three moments.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

import torch

from trainers import preflight, registry
from trainers.engine import config as options
from trainers.engine import threads
from trainers.engine.distributed import Group
from trainers.engine.events import Silent
from trainers.engine.loop import TrainingLoop
from trainers.run import Run

ROUNDS, TURN, CHOICES = 9, 0.5, 3
Rates = dict[int, list[float]]


def candidates(cores: int) -> list[int]:
    """All cores, half of them, and so on to one."""
    return [cores >> shift for shift in range(cores.bit_length()) if cores >> shift]


class Turns:
    """Called at each step of a training: changes the number of threads, and ends the training."""

    def __init__(self) -> None:
        self.counts = candidates(len(os.sched_getaffinity(0)))
        self.order = [count for number in range(ROUNDS + 1) for count in self._round(number)]
        self.rates: Rates = {count: [] for count in self.counts}
        self.choices: list[int] = []
        self.loop: TrainingLoop | None = None
        self.turn, self.steps, self.seconds, self.since = 0, 0, 0.0, 0.0

    def _round(self, number: int) -> list[int]:
        return self.counts if number % 2 else self.counts[::-1]

    def __call__(self, step: int) -> bool:
        """Count the step before; `step` is the one that begins."""
        assert self.loop
        ends_an_epoch = (step - 1) % self.loop.plan.steps_per_epoch == 0
        if self.since and not ends_an_epoch:
            self.steps += 1
            self.seconds += time.perf_counter() - self.since
        if self.seconds >= TURN or not self.since:
            self._next_turn(self.loop)
        self.since = time.perf_counter()
        return self.turn > len(self.order)

    def _next_turn(self, loop: TrainingLoop) -> None:
        if self.turn > len(self.counts):  # the first round starts threads and fills caches
            count = self.order[self.turn - 1]
            self.rates[count].append(self.steps * loop.config.batch_size / self.seconds)
        if self.turn % (len(self.order) // CHOICES) == 0 and len(self.choices) < CHOICES:
            self.choices.append(threads.settle(0, None, loop.learner, loop.plan))
        self.steps, self.seconds = 0, 0.0
        self.turn += 1
        if self.turn <= len(self.order):
            torch.set_num_threads(self.order[self.turn - 1])


def measure(name: str, run: Run) -> dict[str, object]:
    """Train until every number of threads has had its turns."""
    described = registry.describe(name)
    chosen = {**run.config, "epochs": 100_000, "patience": 0, "progress_seconds": 1e9, "threads": 1}
    config, _ = options.parse(described.config, chosen)
    folders = preflight.folders_of(described, run.data)
    trainer = registry.trainer(name).open(config, folders, run.cache, Silent())
    turns = Turns()
    with tempfile.TemporaryDirectory() as root:
        group = Group(torch.device("cpu"))
        turns.loop = TrainingLoop(trainer, Path(root), Silent(), group, halted=turns, talk=False)
        turns.loop.run()
    rates = {count: median(values) for count, values in turns.rates.items()}
    return {"rates": rates, "choices": turns.choices}


if __name__ == "__main__":
    os.environ.pop("OMP_NUM_THREADS", None)
    sys.stdout.write(json.dumps(measure(sys.argv[1], Run.parse(os.environ))) + "\n")
