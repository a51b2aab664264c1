"""Checks of the network and of the time that reading clips takes."""

import time
from typing import Any

import torch
from torch import nn

from trainers.engine import health
from trainers.engine.distributed import Group, pick_device
from trainers.engine.health import Finding
from trainers.engine.learner import Learner
from trainers.engine.loader import Plan
from trainers.slowfast.config import Config
from trainers.slowfast.model import R50, SlowFast

R50_BODY = 33_644_488
"""Parameters of SlowFast-R50 without its classifier: 33,662,928 with 8 classes, 34,566,488 with 400."""

SQUEEZE_BODY = 2_575_528
"""Parameters that squeeze-and-excitation adds to SlowFast-R50."""


def named(model: nn.Module, config: Config) -> list[Finding]:
    """Return an error if the model is not a SlowFast or, as R50, has a wrong parameter count."""
    if not isinstance(model, SlowFast) or len(model.pathways) != 2:
        return [health.error("model.is", f"the network is a {type(model).__name__}", "build a SlowFast")]
    usual = (config.depths, config.width, config.beta, config.fusion_kernel) == (R50, 64, 8, 7)
    body = sum(p.numel() for name, p in model.named_parameters() if not name.startswith("answer."))
    expected = R50_BODY + (SQUEEZE_BODY if config.squeeze else 0)
    if not usual or body == expected:
        return []
    message = f"SlowFast-R50 has {expected:,} parameters without its classifier, this network {body:,}"
    return [health.error("model.is", message, "build the network that the options describe")]


def _clip(config: Config) -> torch.Tensor:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return torch.randn(1, config.frames, 3, config.size, config.size)


def frames_used(model: SlowFast, config: Config) -> list[Finding]:
    """Return an error if the logits do not depend on every frame of a clip."""
    clip = _clip(config).requires_grad_()
    model.eval()(clip).square().sum().backward()
    assert clip.grad is not None
    unused = [str(i) for i, part in enumerate(clip.grad[0]) if not part.any()]
    if not unused:
        return []
    message = f"{len(unused)} of {config.frames} frames change nothing: {health.first(unused)}"
    return [health.error("frames.used", message, "pass all frames to the fast pathway")]


@torch.no_grad()
def sees_time(model: SlowFast, config: Config) -> list[Finding]:
    """Return an error if reversing a clip does not change the features of both pathways."""
    clip = _clip(config)
    model.eval()
    forwards, backwards = model.features(clip), model.features(clip.flip(1))
    pairs = zip(("slow", "fast"), forwards, backwards, strict=True)
    blind = [name for name, a, b in pairs if float((a - b).norm() / a.norm()) < 1e-3]
    if not blind:
        return []
    message = f"the {' and the '.join(blind)} pathway ignores the order of frames"
    return [health.error("time.seen", message, "check the kernels over time: one is missing or symmetric")]


def loader_share(trainer: Any, light: Any) -> list[Finding]:
    """Return a warning if reading a batch of clips from the cache takes longer than a training step.

    On a CPU, where a step takes seconds, the step is measured with `light`, else with `trainer`.
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
            "increase num_workers, or set cache_format: raw",
            "num_workers",
        )
    ]
