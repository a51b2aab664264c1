"""The checks of the tier `full` that suit every trainer: model, loss, schedule, checkpoints, options."""

import math
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.dropout import _DropoutNd

from trainers.engine import checkpoint, health, initial, optim
from trainers.engine.check import on_data, on_model
from trainers.engine.config import unread
from trainers.engine.distributed import Group, pick_device
from trainers.engine.dropout import CounterDropout
from trainers.engine.events import Silent
from trainers.engine.health import Finding
from trainers.engine.loader import Plan
from trainers.engine.loop import TrainingLoop
from trainers.engine.output import Output
from trainers.engine.trainer import Trainer

SMALL = 8
"""Batch size in checks that train."""

OVERFIT_STEPS, OVERFIT_GOAL = 150, 0.02
OVERFIT_RATE, SMALL_MODEL_RATE = 3e-3, 1e-1
SMALL_MODEL = 100
"""Parameters per class below which a model is trained with SMALL_MODEL_RATE: each weight must change more."""


def first_batch(trainer: Trainer, size: int) -> Any:
    """A batch of the first `size` training samples in the order of epoch 0."""
    plan = Plan(trainer.size("train"), size, 1, trainer.config.seed)
    return trainer.collate([trainer.sample("train", *key) for key in plan.batch(0)])


def _mean_loss(trainer: Trainer, model: nn.Module, batch: Any) -> tuple[Tensor, Output]:
    """The mean loss of a batch, and its Output."""
    output = trainer.loss(model, batch)
    return output.loss / output.weight, output


def first_loss(trainer: Trainer) -> list[Finding]:
    """The loss of an untrained model on the first batch is the theoretical one."""
    trainer = trainer.lighter()
    batch = first_batch(trainer, trainer.config.batch_size)
    expected = trainer.expected_first_loss(batch)
    if expected is None:
        return []
    # Train mode, because batch norms have no running statistics for eval mode yet.
    model = trainer.build().train()
    with torch.no_grad(), without_dropout(model):
        loss, output = _mean_loss(trainer, model, batch)
    return health.first_loss(float(loss), expected, _spread(output.logits))


def _spread(logits: Tensor) -> float:
    """The root mean square of logits (…, C) after subtracting their mean over C."""
    centred = logits.float() - logits.float().mean(-1, keepdim=True)
    return float(centred.square().mean().sqrt())


def gradient_flow(trainer: Trainer) -> list[Finding]:
    """Every trainable tensor gets a gradient that is finite and not all zero."""
    trainer = trainer.lighter()
    model = trainer.build().train()
    loss, _ = _mean_loss(trainer, model, first_batch(trainer, trainer.config.batch_size))
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


DROPOUT_RATES = ((CounterDropout, "rate"), (_DropoutNd, "p"), (nn.RNNBase, "dropout"))
"""Dropout modules, each with the attribute that holds its rate."""


@contextmanager
def without_dropout(model: nn.Module) -> Iterator[None]:
    """Context manager that sets all dropout rates to 0; dropout would hinder the check `overfit`."""
    rates = [
        (module, name, getattr(module, name))
        for module in model.modules()
        for kind, name in DROPOUT_RATES
        if isinstance(module, kind)
    ]
    for module, name, _ in rates:
        setattr(module, name, 0.0)
    try:
        yield
    finally:
        for module, name, rate in rates:
            setattr(module, name, rate)


def overfit(trainer: Trainer) -> list[Finding]:
    """The model can memorise a few samples, and gives the same answers in eval mode."""
    trainer = trainer.lighter().without_regularisation()
    model = trainer.build().train()
    parameters = sum(p.numel() for p in model.parameters() if p.requires_grad) // max(1, len(trainer.classes))
    batch = first_batch(trainer, SMALL) if parameters >= SMALL else _one_of_each_class(trainer)
    rate = OVERFIT_RATE if parameters >= SMALL_MODEL else SMALL_MODEL_RATE
    value = _memorise(trainer, model, batch, rate)
    if value < OVERFIT_GOAL:
        return _agree_in_eval_mode(trainer, model, batch, value)
    message = f"after {OVERFIT_STEPS} steps on {len(batch.indices)} samples the loss is {value:.3f}"
    return [health.error("overfit", message, "model or labels are wrong: a few samples cannot be memorised")]


def _one_of_each_class(trainer: Trainer) -> Any:
    """A batch with one sample of each class, for models with fewer than eight parameters per class.

    A linear classifier of F features can memorise arbitrary labels of F + 1 samples but hardly more; one
    sample of each class is always separable.
    """
    plan = Plan(trainer.size("train"), trainer.size("train"), 1, trainer.config.seed)
    chosen: dict[Any, Any] = {}
    for key in plan.batch(0):
        sample = trainer.sample("train", *key)
        chosen.setdefault(getattr(sample, "label", None), sample)
        if len(chosen) == len(trainer.classes):
            break
    return trainer.collate(list(chosen.values()))


def _memorise(trainer: Trainer, model: nn.Module, batch: Any, rate: float) -> float:
    """Train on one batch and return the last loss."""
    owner = torch.optim.AdamW(model.parameters(), lr=rate, weight_decay=0.0)
    value = math.inf
    with without_dropout(model):
        for _ in range(OVERFIT_STEPS):
            owner.zero_grad()
            loss, _ = _mean_loss(trainer, model, batch)
            value = float(loss.detach())
            if value < OVERFIT_GOAL:
                break
            loss.backward()  # type: ignore[no-untyped-call]
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            owner.step()
    return value


def _agree_in_eval_mode(trainer: Trainer, model: nn.Module, batch: Any, value: float) -> list[Finding]:
    with torch.no_grad():
        _settle(trainer, model, batch)
        again, _ = _mean_loss(trainer, model.eval(), batch)
    if again < 0.1:
        return []
    message = f"memorised in train mode (loss {value:.3f}), in eval mode the loss is {float(again):.3f}"
    return [health.error("overfit", message, "train and eval mode differ: look at batch statistics")]


def _settle(trainer: Trainer, model: nn.Module, batch: Any) -> None:
    """Set the running statistics of batch norms to those of the batch.

    After a few steps they lag behind, which is not a fault; a difference in eval mode that remains is one.
    """
    layers = [m for m in model.modules() if isinstance(m, _BatchNorm) and m.training]
    momenta = [layer.momentum for layer in layers]
    for layer in layers:
        layer.momentum = 1.0
    with without_dropout(model):
        _mean_loss(trainer, model, batch)
    for layer, momentum in zip(layers, momenta, strict=True):
        layer.momentum = momentum


def learning_rate_plan(trainer: Trainer) -> list[Finding]:
    """The optimizer uses the planned learning rate at every step of the run."""
    config = trainer.config
    plan = Plan(trainer.size("train"), config.batch_size, config.epochs, config.seed)
    owner = optim.optimizer(nn.Linear(1, 1), config)
    schedule = optim.Schedule(owner, config, plan.steps_per_epoch)
    used: list[float] = []
    owner.register_step_pre_hook(lambda *_: used.append(float(owner.param_groups[0]["lr"])))
    for step in range(plan.steps):
        schedule.set(step)
        owner.step()
    peak = config.learning_rate
    planned = [peak * optim.rate_share(step, config, plan.steps_per_epoch) for step in range(plan.steps)]
    return health.learning_rates(used, planned)


def _few_steps(trainer: Trainer) -> Trainer:
    """A copy of the trainer with small batches and at least six steps."""
    size = min(SMALL, trainer.config.batch_size)
    epochs = max(trainer.config.epochs, math.ceil(6 * size / trainer.size("train")) + 1)
    return trainer.replace(
        batch_size=size,
        epochs=epochs,
        num_workers=0,
        checkpoint_every=0,
        progress_seconds=1e9,
        threads=torch.get_num_threads(),
    )


def _run(trainer: Trainer, root: Path, stop: int) -> TrainingLoop:
    group = Group(pick_device(trainer.config.device))
    loop = TrainingLoop(trainer, root, Silent(), group, halted=lambda step: step >= stop, talk=False)
    loop.run()
    return loop


def resume_exact(trainer: Trainer) -> list[Finding]:
    """Six steps give bit-identical weights to three steps, a checkpoint, and three more steps."""
    small = _few_steps(trainer.lighter())
    with TemporaryDirectory(prefix="gpujob-check-") as folder:
        straight = _run(small, Path(folder, "straight"), 6)
        _run(small, Path(folder, "resumed"), 3)
        resumed = _run(small, Path(folder, "resumed"), 6)
    expected, actual = _weights(straight), _weights(resumed)
    other = [name for name in expected if not torch.equal(expected[name], actual[name])]
    if not other and straight.state == resumed.state:
        return []
    message = f"after a resume these differ: {health.first(other) or 'the counters'}"
    fix = "something random or stateful is not in the checkpoint"
    return [health.error("resume.exact", message, fix)]


def _weights(loop: TrainingLoop) -> dict[str, Tensor]:
    """The trained weights, and those that are evaluated."""
    trained, evaluated = loop.learner.model.state_dict(), loop.learner.evaluated.state_dict()
    return {**trained, **{f"average of {name}": value for name, value in evaluated.items()}}


def checkpoint_load(trainer: Trainer) -> list[Finding]:
    """A model loaded from a checkpoint gives the same logits as the saved model."""
    trainer = trainer.lighter()
    model, batch = trainer.build().eval(), first_batch(trainer, SMALL)
    with TemporaryDirectory(prefix="gpujob-check-") as folder, torch.no_grad():
        path = checkpoint.save(Path(folder), 1, model, {}, {"trainer": trainer.name})
        other = trainer.build().eval()
        for p in other.parameters():
            p.zero_()
        checkpoint.load_weights(other, checkpoint.read(path))
        same = torch.equal(trainer.loss(model, batch).logits, trainer.loss(other, batch).logits)
    if same:
        return []
    fix = "some state of the model is neither a parameter nor a buffer"
    return [health.error("ckpt.load", "a loaded model answers otherwise than the saved one", fix)]


def disk(trainer: Trainer) -> list[Finding]:
    """The disk has room for all checkpoints that are kept and one that is being written."""
    weights = sum(p.numel() * p.element_size() for p in trainer.build().parameters())
    needed, work = 3 * weights * (checkpoint.KEPT + 2), trainer.work
    existing = next(folder for folder in (work, *work.absolute().parents) if folder.exists())
    free = shutil.disk_usage(existing).free
    if free > needed:
        return []
    message = f"{free / 1e9:.2f} GB are free at {work}, the checkpoints take {needed / 1e9:.2f} GB"
    return [health.error("disk", message, "free space or take a larger disk")]


def options_used(trainer: Trainer) -> list[Finding]:
    """Every option that the job sets is used."""
    return unread(trainer.config, trainer.job_options)


CHECKS = (
    on_data("init.fit", initial.findings),
    on_model("loss.first", first_loss),
    on_model("grad.flow", gradient_flow),
    on_model("overfit", overfit),
    on_model("lr.plan", learning_rate_plan),
    on_model("resume.exact", resume_exact),
    on_model("ckpt.load", checkpoint_load),
    on_model("disk", disk),
    on_model("option.used", options_used),
)
