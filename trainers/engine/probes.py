"""What `check` asks of any task's model, loss, schedule and checkpoints."""

import math
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch import Tensor, nn

from trainers.engine import checkpoint, health, optim
from trainers.engine.config import Config, unread
from trainers.engine.distributed import Group, pick_device
from trainers.engine.dropout import CounterDropout
from trainers.engine.events import Silent
from trainers.engine.health import Finding
from trainers.engine.loop import TrainingLoop
from trainers.engine.sampler import Plan
from trainers.engine.task import Output, Task, rate_factors

CODES = (
    "loss.first",
    "grad.flow",
    "overfit",
    "lr.plan",
    "resume.exact",
    "ckpt.load",
    "disk",
    "option.used",
)
SMALL = 8
OVERFIT_STEPS = 150
OVERFIT_RATE = 3e-3


def first_batch(task: Task, size: int) -> Any:
    """The first `size` training samples in the order of epoch 0."""
    plan = Plan(task.size("train"), size, 1, task.config.seed)
    items = task.items("train")
    return task.collate([items[key] for key in plan.batch(0)])


def _forward(task: Task, model: nn.Module, batch: Any) -> tuple[Tensor, Output]:
    """The mean loss of a batch, and all of the output."""
    output = task.forward(model, batch)
    return output.loss / output.weight, output


def first_loss(task: Task) -> list[Finding]:
    """An untrained model is as wrong as theory says, at the step that a run begins with.

    In train mode: in eval mode batch norms have no statistics yet, and what goes through many layers grows.
    """
    model = task.build().train()
    with torch.no_grad(), without_dropout(model):
        loss, _ = _forward(task, model, first_batch(task, task.config.batch_size))
    return health.first_loss(float(loss), math.log(len(task.classes)))


def gradient_flow(task: Task) -> list[Finding]:
    """Every trainable tensor gets a gradient that is finite and not all zero."""
    model = task.build().train()
    loss, _ = _forward(task, model, first_batch(task, task.config.batch_size))
    loss.backward()  # type: ignore[no-untyped-call]
    bad = []
    for name, p in model.named_parameters():
        if p.requires_grad and p.grad is None:
            bad.append(f"{name} has no gradient")
        elif p.grad is not None and not p.grad.isfinite().all():
            bad.append(f"{name} has a gradient that is not finite")
        elif p.grad is not None and not p.grad.any():
            bad.append(f"the gradient of {name} is zero")
    fix = "a part of the model is not connected to the loss: connect or remove it"
    return [health.error("grad.flow", health.first(bad), fix)] if bad else []


@contextmanager
def without_dropout(model: nn.Module) -> Iterator[None]:
    """Dropout switched off: it is there to prevent what the overfit probe does."""
    layers = [m for m in model.modules() if isinstance(m, CounterDropout)]
    rates = [layer.rate for layer in layers]
    for layer in layers:
        layer.rate = 0.0
    try:
        yield
    finally:
        for layer, rate in zip(layers, rates, strict=True):
            layer.rate = rate


def _unsmoothed(task: Any) -> Task:
    """The same task with hard targets: against smoothed ones no loss comes near 0."""
    plain: Task = task.replace(label_smoothing=0.0)
    return plain


def overfit(task: Task) -> list[Finding]:
    """A few samples can be learnt by heart, and eval mode knows them too."""
    task = _unsmoothed(task)
    model, batch = task.build().train(), first_batch(task, SMALL)
    owner = torch.optim.AdamW(model.parameters(), lr=OVERFIT_RATE, weight_decay=0.0)
    value = math.inf
    with without_dropout(model):
        for _ in range(OVERFIT_STEPS):
            owner.zero_grad()
            loss, _ = _forward(task, model, batch)
            value = float(loss.detach())
            if value < 0.02:
                break
            loss.backward()  # type: ignore[no-untyped-call]
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            owner.step()
    return _judge_overfit(task, model, batch, value)


def settle(task: Task, model: nn.Module, batch: Any) -> None:
    """Running statistics as they are once a training has gone on for long: those of the batch itself.

    After a few steps they lag, which is no fault; what differs still in eval mode is one.
    """
    layers = [m for m in model.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm) and m.training]
    held = [layer.momentum for layer in layers]
    for layer in layers:
        layer.momentum = 1.0
    with without_dropout(model):
        _forward(task, model, batch)
    for layer, momentum in zip(layers, held, strict=True):
        layer.momentum = momentum


def _judge_overfit(task: Task, model: nn.Module, batch: Any, value: float) -> list[Finding]:
    seen = f"after {OVERFIT_STEPS} steps on {SMALL} samples the loss is {value:.3f}"
    if not value < 0.02:
        fix = "model or labels are wrong: nothing can be learnt by heart"
        return [health.error("overfit", seen, fix)]
    with torch.no_grad():
        settle(task, model, batch)
        again, _ = _forward(task, model.eval(), batch)
    if again < 0.1:
        return []
    seen = f"learnt by heart in train mode (loss {value:.3f}), in eval mode it is {float(again):.3f}"
    return [health.error("overfit", seen, "train and eval mode differ: look at batch statistics")]


def learning_rate_plan(task: Task) -> list[Finding]:
    """The schedulers arrive at the plan's closed form at every step of the run."""
    config = task.config
    plan = Plan(task.size("train"), config.batch_size, config.epochs, config.seed)
    weight = nn.Linear(1, 1)
    owner = optim.optimizer(weight, config, {"bias": 0.5} if _slower_parts(task) else None)
    scheduler = optim.scheduler(owner, config, plan.steps_per_epoch)
    actual = []
    for _ in range(plan.steps):
        actual.append(float(owner.param_groups[0]["lr"]))
        owner.step()
        scheduler.step()
    planned = [optim.planned_rate(s, config, plan.steps_per_epoch) for s in range(plan.steps)]
    return health.learning_rates(actual, planned)


def _slower_parts(task: Task) -> bool:
    return len(set(rate_factors(task, task.build()).values())) > 1


def _small(task: Any) -> Task:
    """The same task in small steps, enough of them for six."""
    size = min(SMALL, task.config.batch_size)
    epochs = max(task.config.epochs, math.ceil(6 * size / task.size("train")) + 1)
    smaller: Task = task.replace(
        batch_size=size, epochs=epochs, num_workers=0, checkpoint_every=0, progress_seconds=1e9
    )
    return smaller


def _run(task: Task, root: Path, stop: int) -> TrainingLoop:
    group = Group(pick_device(task.config.device))
    trainer = TrainingLoop(task, root, Silent(), group, halted=lambda step: step >= stop, talk=False)
    trainer.run()
    return trainer


def resume_exact(task: Task) -> list[Finding]:
    """Six steps are three, a checkpoint, and three more: bit for bit."""
    small = _small(task)
    with TemporaryDirectory(prefix="gpujob-check-") as folder:
        straight = _run(small, Path(folder, "straight"), 6)
        _run(small, Path(folder, "broken"), 3)
        resumed = _run(small, Path(folder, "broken"), 6)
    wanted, got = straight.learner.model.state_dict(), resumed.learner.model.state_dict()
    other = [name for name in wanted if not torch.equal(wanted[name], got[name])]
    if not other and straight.state == resumed.state:
        return []
    seen = f"after a resume these differ: {health.first(other) or 'the counters'}"
    fix = "something random or stateful is not in the checkpoint"
    return [health.error("resume.exact", seen, fix)]


def checkpoint_load(task: Task) -> list[Finding]:
    """A checkpoint comes back as it was written, and one that lacks a tensor is refused."""
    model, batch = task.build().eval(), first_batch(task, SMALL)
    with TemporaryDirectory(prefix="gpujob-check-") as folder, torch.no_grad():
        path = checkpoint.save(Path(folder), 1, model, {}, {"trainer": task.name})
        other = task.build().eval()
        for p in other.parameters():
            p.zero_()
        checkpoint.load_weights(other, checkpoint.read(path))
    wanted = task.forward(model, batch).logits
    if torch.equal(wanted, task.forward(other, batch).logits):
        return []
    fix = "some state of the model is no parameter and no buffer"
    return [health.error("ckpt.load", "a loaded model answers otherwise than the saved one", fix)]


def disk(task: Task, work: Path) -> list[Finding]:
    """Room for the checkpoints that are kept at once, and one being written."""
    weights = sum(p.numel() * p.element_size() for p in task.build().parameters())
    needed = 3 * weights * (checkpoint.KEPT + 2)
    there = next(place for place in (work, *work.absolute().parents) if place.exists())
    free = shutil.disk_usage(there).free
    if free > needed:
        return []
    seen = f"{free / 1e9:.2f} GB are free at {work}, the checkpoints take {needed / 1e9:.2f} GB"
    return [health.error("disk", seen, "free space or take a larger disk")]


def options_used(config: Config, given: dict[str, Any]) -> list[Finding]:
    """Asked last: by now everything that reads an option has read it."""
    return unread(config, given)
