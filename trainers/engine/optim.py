"""The optimizer, and the learning rate as a function of the step."""

import math
from collections.abc import Mapping

import torch
from torch import nn

from trainers.engine.config import LoopConfig

WARMUP_START = 0.1
CYCLE_START, CYCLE_END = 1 / 25, 1 / 25e4
"""First and last learning rate of the schedule one-cycle, as fractions of the peak."""


def optimizer(
    model: nn.Module, config: LoopConfig, factors: Mapping[str, float] | None = None
) -> torch.optim.Optimizer:
    """Create the optimizer of the options.

    Weight decay is not applied to parameters of fewer than two dimensions (biases, gains). `factors` maps
    parameter names to factors of the learning rate (default 1). The first parameter group has the largest
    factor.
    """
    by_factor: dict[float, list[nn.Parameter]] = {}
    for name, p in model.named_parameters():
        if p.requires_grad:
            by_factor.setdefault((factors or {}).get(name, 1.0), []).append(p)
    groups = [
        {"params": some, "weight_decay": decay, "lr": factor * config.learning_rate}
        for factor, members in sorted(by_factor.items(), reverse=True)
        for some, decay in (
            ([p for p in members if p.ndim >= 2], config.weight_decay),
            ([p for p in members if p.ndim < 2], 0.0),
        )
    ]
    if config.optimizer == "sgd":
        return torch.optim.SGD(
            groups, lr=config.learning_rate, momentum=config.momentum, nesterov=config.momentum > 0
        )
    if config.optimizer == "adam":
        return torch.optim.Adam(groups, lr=config.learning_rate, amsgrad=True)
    return torch.optim.AdamW(groups, lr=config.learning_rate)


class Schedule:
    """Sets the learning rate of each parameter group; the rates at construction are the peaks."""

    def __init__(self, owner: torch.optim.Optimizer, config: LoopConfig, steps_per_epoch: int) -> None:
        self.owner, self.config, self.steps_per_epoch = owner, config, steps_per_epoch
        self.peaks = [float(group["lr"]) for group in owner.param_groups]

    def set(self, step: int) -> float:
        """Set the learning rates of a step (counted from 0); returns the rate of the first group."""
        share = rate_share(step, self.config, self.steps_per_epoch)
        for group, peak in zip(self.owner.param_groups, self.peaks, strict=True):
            group["lr"] = share * peak
        return share * self.peaks[0]


def warmup_steps(config: LoopConfig, steps_per_epoch: int) -> int:
    """The number of warm-up steps: at most all steps of the run but one."""
    return min(round(config.warmup_epochs * steps_per_epoch), config.epochs * steps_per_epoch - 1)


def rate_share(step: int, config: LoopConfig, steps_per_epoch: int) -> float:
    """The learning rate of a step (counted from 0) as a fraction of the peak."""
    warm = warmup_steps(config, steps_per_epoch)
    if config.schedule == "one-cycle":
        return _one_cycle(step, warm, config.epochs * steps_per_epoch)
    if step < warm:
        return WARMUP_START + (1 - WARMUP_START) * step / warm
    done = step - warm
    if config.schedule == "cosine":
        return _cosine(1.0, config.final_rate, done / (config.epochs * steps_per_epoch - warm))
    if config.schedule == "step":
        return float(config.step_factor ** (done // (config.step_epochs * steps_per_epoch)))
    return 1.0


def _cosine(start: float, end: float, share: float) -> float:
    return end + (start - end) * (1 + math.cos(math.pi * share)) / 2


def _one_cycle(step: int, warm: int, steps: int) -> float:
    """One-cycle schedule (Smith 2018): a cosine up to the peak during the warm-up, then a cosine down."""
    top = max(warm - 1, 0)
    if step <= top and warm > 1:
        return _cosine(CYCLE_START, 1.0, step / top)
    return _cosine(1.0, CYCLE_END, (step - top) / max(1, steps - 1 - top))
