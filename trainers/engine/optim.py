"""AdamW, and a learning rate with exactly one owner."""

import math

import torch
from torch import nn
from torch.optim.lr_scheduler import (
    ConstantLR,
    CosineAnnealingLR,
    LinearLR,
    LRScheduler,
    SequentialLR,
    StepLR,
)

from trainers.engine.config import EngineConfig

WARMUP_START = 0.1


def optimizer(model: nn.Module, config: EngineConfig) -> torch.optim.AdamW:
    """AdamW; biases and gains (fewer than two dimensions) do not decay."""
    used = [p for p in model.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in used if p.ndim >= 2], "weight_decay": config.weight_decay},
        {"params": [p for p in used if p.ndim < 2], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=config.learning_rate)


def warmup_steps(config: EngineConfig, steps_per_epoch: int) -> int:
    """Steps of the warm-up, at most the run less one."""
    return min(round(config.warmup_epochs * steps_per_epoch), config.epochs * steps_per_epoch - 1)


def scheduler(owner: torch.optim.Optimizer, config: EngineConfig, steps_per_epoch: int) -> LRScheduler:
    """Warm-up and then the main schedule, one step of it an optimizer step."""
    warm = warmup_steps(config, steps_per_epoch)
    main = _main(owner, config, config.epochs * steps_per_epoch - warm, steps_per_epoch)
    if warm == 0:
        return main
    rise = LinearLR(owner, start_factor=WARMUP_START, total_iters=warm)
    return SequentialLR(owner, [rise, main], milestones=[warm])


def _main(
    owner: torch.optim.Optimizer, config: EngineConfig, steps: int, steps_per_epoch: int
) -> LRScheduler:
    if config.schedule == "cosine":
        floor = config.learning_rate * config.final_rate
        return CosineAnnealingLR(owner, T_max=steps, eta_min=floor)
    if config.schedule == "step":
        every = config.step_epochs * steps_per_epoch
        return StepLR(owner, step_size=every, gamma=config.step_factor)
    return ConstantLR(owner, factor=1.0, total_iters=1)


def planned_rate(step: int, config: EngineConfig, steps_per_epoch: int) -> float:
    """The learning rate of step 0, 1, … in closed form: what the schedulers must arrive at."""
    warm, peak = warmup_steps(config, steps_per_epoch), config.learning_rate
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
