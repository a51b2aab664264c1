"""Checks of the network itself, and of how fast it is fed."""

import time
from typing import Any

import torch
from torch import nn

from trainers.engine import health
from trainers.engine.distributed import Group, pick_device
from trainers.engine.health import Finding
from trainers.engine.learner import Learner
from trainers.engine.sampler import Plan
from trainers.slowfast.config import Config
from trainers.slowfast.model import R50, SlowFast

R50_BODY = 33_644_488
"""Parameters of SlowFast-R50 without its answer: 33,662,928 with one of 8 classes, 34,566,488 of 400."""

SQUEEZE_BODY = 2_575_528
"""What squeeze-and-excitation adds to it."""


def named(model: nn.Module, config: Config) -> list[Finding]:
    """It is the SlowFast that the options name, parameter for parameter where that is R50."""
    if not isinstance(model, SlowFast) or len(model.pathways) != 2:
        return [health.error("model.is", f"the network is a {type(model).__name__}", "build a SlowFast")]
    usual = (config.depths, config.width, config.beta, config.fusion_kernel) == (R50, 64, 8, 7)
    body = sum(p.numel() for name, p in model.named_parameters() if not name.startswith("answer."))
    expected = R50_BODY + (SQUEEZE_BODY if config.squeeze else 0)
    if not usual or body == expected:
        return []
    message = f"SlowFast-R50 has {expected:,} parameters before its answer, this one {body:,}"
    return [health.error("model.is", message, "the network is not the one that the options name")]


def _clip(config: Config) -> torch.Tensor:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return torch.randn(1, config.frames, 3, config.size, config.size)


def frames_used(model: SlowFast, config: Config) -> list[Finding]:
    """Every frame that is decoded reaches the answer."""
    clip = _clip(config).requires_grad_()
    model.eval()(clip).square().sum().backward()
    assert clip.grad is not None
    unused = [str(i) for i, part in enumerate(clip.grad[0]) if not part.any()]
    if not unused:
        return []
    message = f"{len(unused)} of {config.frames} frames change nothing: {health.first(unused)}"
    return [health.error("frames.used", message, "hand all frames to the fast pathway")]


@torch.no_grad()
def sees_time(model: SlowFast, config: Config) -> list[Finding]:
    """Played backwards, a clip gives other features in both pathways: time is not averaged away."""
    clip = _clip(config)
    model.eval()
    forwards, backwards = model.features(clip), model.features(clip.flip(1))
    pairs = zip(("slow", "fast"), forwards, backwards, strict=True)
    blind = [name for name, a, b in pairs if float((a - b).norm() / a.norm()) < 1e-3]
    if not blind:
        return []
    message = f"the {' and the '.join(blind)} pathway does not see the order of frames"
    return [health.error("time.seen", message, "a kernel over time is missing or symmetric")]


def loader_share(trainer: Any, light: Any) -> list[Finding]:
    """How long a step's clips take to come from the cache, compared with the step itself.

    On a GPU the step is that of the training; on a CPU, where it takes seconds, that of a lighter network.
    """
    device, workers = pick_device(trainer.config.device), trainer.config.num_workers
    measured = trainer if device.type == "cuda" else light
    plan = Plan(trainer.size("train"), trainer.config.batch_size, 4, trainer.config.seed)
    start = time.perf_counter()
    batches = [
        measured.collate([measured.sample("train", *key) for key in plan.batch(step)]) for step in range(2)
    ]
    read = (time.perf_counter() - start) / 2
    learner = Learner(measured, Group(device), plan.steps_per_epoch)
    times = []
    for step, batch in enumerate((*batches, batches[0])):
        start = time.perf_counter()
        learner.gradients(step, [batch], False)
        learner.divide_and_clip(1.0)
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        times.append(time.perf_counter() - start)
    return _judge(read / max(1, workers), min(times), workers)


def _judge(read: float, step: float, workers: int) -> list[Finding]:
    pace = f"{read * 1e3:.0f} ms with {workers} loader processes, the step {step * 1e3:.0f} ms"
    if read <= step or step < 0.05:
        return []
    return [
        health.warning(
            "throughput",
            f"a step's clips take {pace}",
            "more num_workers, or cache_format: raw",
            "num_workers",
        )
    ]
