"""The first batch of a run, for a line of the log that shows the model's input."""

from typing import Any

import torch
from torch import Tensor, nn

from trainers.engine.events import say
from trainers.engine.loader import Plan
from trainers.engine.trainer import Trainer

SHOWN = 16
"""Maximum number of samples in the line of the log."""


def announce(trainer: Trainer, model: nn.Module, plan: Plan, device: torch.device) -> None:
    """Print the line of the log that shows the model's input."""
    batch = trainer.collate([trainer.sample("train", *key) for key in plan.batch(0)[:SHOWN]])
    line = describe(trainer, model, batch.to(device))
    say(f"first batch, as the model gets it: {line}")


@torch.no_grad()
def describe(trainer: Trainer, model: nn.Module, batch: Any) -> str:
    """Mean, std and range of each input that the model gets for a batch, after normalisation.

    Padding does not count. The model is left in eval mode.
    """
    inputs: list[Any] = []
    handle = model.register_forward_pre_hook(lambda _, arguments: inputs.extend(arguments))
    try:
        trainer.loss(model.eval(), batch)
    finally:
        handle.remove()
    lines = [_line(values) for values in map(_values, inputs) if values is not None]
    return "; ".join(dict.fromkeys(lines))


def _values(argument: Any) -> Tensor | None:
    """The floating point values of an argument; of padded frames those that are valid."""
    if isinstance(argument, Tensor):
        return argument.float() if argument.is_floating_point() and argument.ndim > 1 else None
    values, valid = getattr(argument, "values", None), getattr(argument, "valid", None)
    if isinstance(values, Tensor) and isinstance(valid, Tensor):
        return values[valid.expand(values.shape) > 0].float()
    return None


def _line(values: Tensor) -> str:
    low, high = values.min(), values.max()
    return f"mean {values.mean():.3f}, std {values.std():.3f}, range {low:.3g} to {high:.3g}"
