"""AdamW, and a learning rate with exactly one owner."""

import math
from collections.abc import Mapping

import torch
from torch import nn
from torch.optim.lr_scheduler import (
    ConstantLR,
    CosineAnnealingLR,
    LambdaLR,
    LinearLR,
    LRScheduler,
    SequentialLR,
    StepLR,
)

from trainers.engine.config import LoopConfig

WARMUP_START = 0.1
CYCLE_START, CYCLE_END = 1 / 25, 1 / 25e4
"""First and last rate of one-cycle as shares of the peak."""


def optimizer(
    model: nn.Module, config: LoopConfig, factors: Mapping[str, float] | None = None
) -> torch.optim.AdamW:
    """AdamW; biases and gains (fewer than two dimensions) do not decay.

    `factors` gives parameters by name their share of the learning rate, 1 where it names none. The
    first group has the largest.
    """
    held: dict[float, list[nn.Parameter]] = {}
    for name, p in model.named_parameters():
        if p.requires_grad:
            held.setdefault((factors or {}).get(name, 1.0), []).append(p)
    groups = [
        {"params": some, "weight_decay": decay, "lr": factor * config.learning_rate}
        for factor, used in sorted(held.items(), reverse=True)
        for some, decay in (
            ([p for p in used if p.ndim >= 2], config.weight_decay),
            ([p for p in used if p.ndim < 2], 0.0),
        )
    ]
    return torch.optim.AdamW(groups, lr=config.learning_rate)


def warmup_steps(config: LoopConfig, steps_per_epoch: int) -> int:
    """Steps of the warm-up, at most the run less one."""
    return min(round(config.warmup_epochs * steps_per_epoch), config.epochs * steps_per_epoch - 1)


def scheduler(owner: torch.optim.Optimizer, config: LoopConfig, steps_per_epoch: int) -> LRScheduler:
    """Warm-up and then the main schedule, one step of it an optimizer step."""
    rates = {group["lr"] for group in owner.param_groups}
    if config.schedule == "one-cycle" or len(rates) > 1:
        # torch's own schedulers end every group at one rate; these shares of each group's peak do not.
        return LambdaLR(
            owner, lambda step: planned_rate(step, config, steps_per_epoch) / config.learning_rate
        )
    warm = warmup_steps(config, steps_per_epoch)
    main = _main(owner, config, config.epochs * steps_per_epoch - warm, steps_per_epoch)
    if warm == 0:
        return main
    rise = LinearLR(owner, start_factor=WARMUP_START, total_iters=warm)
    return SequentialLR(owner, [rise, main], milestones=[warm])


def _main(owner: torch.optim.Optimizer, config: LoopConfig, steps: int, steps_per_epoch: int) -> LRScheduler:
    if config.schedule == "cosine":
        floor = config.learning_rate * config.final_rate
        return CosineAnnealingLR(owner, T_max=steps, eta_min=floor)
    if config.schedule == "step":
        every = config.step_epochs * steps_per_epoch
        return StepLR(owner, step_size=every, gamma=config.step_factor)
    return ConstantLR(owner, factor=1.0, total_iters=1)


def planned_rate(step: int, config: LoopConfig, steps_per_epoch: int) -> float:
    """The learning rate of step 0, 1, … in closed form: what the schedulers must arrive at."""
    warm, peak = warmup_steps(config, steps_per_epoch), config.learning_rate
    if config.schedule == "one-cycle":
        return peak * _one_cycle(step, warm, config.epochs * steps_per_epoch)
    if step < warm:
        return peak * (WARMUP_START + (1 - WARMUP_START) * step / warm)
    done = step - warm
    if config.schedule == "cosine":
        share = done / (config.epochs * steps_per_epoch - warm)
        low = config.final_rate
        return peak * (low + (1 - low) * (1 + math.cos(math.pi * share)) / 2)
    if config.schedule == "step":
        return peak * config.step_factor ** (done // (config.step_epochs * steps_per_epoch))
    return peak


def _one_cycle(step: int, warm: int, steps: int) -> float:
    """The share of the peak: along a cosine up to it at the end of the warm-up, and down (Smith 2018)."""

    def between(low: float, high: float, share: float) -> float:
        return low + (high - low) * (1 + math.cos(math.pi * share)) / 2

    top = max(warm - 1, 0)
    if step <= top and warm > 1:
        return between(1.0, CYCLE_START, step / top)
    return between(CYCLE_END, 1.0, (step - top) / max(1, steps - 1 - top))
