"""Runs one optimizer step: gradients, clipping, learning rate, update of the weights and of their average."""

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from trainers.engine import checkpoint, optim, precision, rng
from trainers.engine.distributed import Group
from trainers.engine.trainer import Trainer


class Learner:
    """Model, optimizer, schedule, scaler and moving average of a training; saved and loaded together.

    `model` is trained. `evaluated` is what is evaluated, saved and exported: with `ema_decay` the exponential
    moving average of the model's weights and buffers, else the model itself.
    """

    def __init__(self, trainer: Trainer, group: Group, steps_per_epoch: int) -> None:
        config = trainer.config
        self.trainer, self.group = trainer, group
        self.clip = config.clip_norm or math.inf
        self.precision = precision.choose(config, group.device)
        self.model = trainer.build().to(group.device)
        group.same_start(self.model)
        self.optimizer = optim.optimizer(self.model, config, trainer.rate_factors(self.model))
        self.schedule = optim.Schedule(self.optimizer, config, steps_per_epoch)
        self.scaler = torch.amp.GradScaler(group.device.type, enabled=self.precision == "fp16")
        # GradScaler initialises itself at the first loss; a process whose share of the first batch is empty
        # computes none, so a zero is scaled here.
        self.scaler.scale(torch.zeros((), device=group.device))
        self.average: AveragedModel | None = None
        if config.ema_decay:
            rule = get_ema_multi_avg_fn(config.ema_decay)  # type: ignore[no-untyped-call]
            self.average = AveragedModel(self.model, multi_avg_fn=rule, use_buffers=True)

    @property
    def evaluated(self) -> nn.Module:
        """The model that is evaluated, saved and exported."""
        return self.model if self.average is None else self.average.module

    def mean_buffers(self) -> None:
        """Average the buffers of both models over all processes."""
        for model in {id(one): one for one in (self.model, self.evaluated)}.values():
            self.group.mean_buffers(model)

    def gradients(self, step: int, parts: list[Any], halt: bool) -> list[float]:
        """Compute the gradients of the summed loss for this process's parts of a step's batch.

        Returns sums over all processes: loss, weight, number of processes that request a halt, and
        Output.counts. Gradients are summed over the processes too.
        """
        self.model.train()
        self.optimizer.zero_grad(set_to_none=True)
        totals = torch.zeros(3 + self.trainer.counts_size, device=self.group.device)
        totals[2] = float(halt)
        for number, batch in enumerate(parts):
            if batch is not None:
                self._seed(step, self.group.rank * len(parts) + number)
                self._backward(batch, totals)
        sums: list[float] = self.group.sum_gradients(self.model.parameters(), totals).tolist()
        return sums

    def _seed(self, step: int, part: int) -> None:
        """Seed torch's generator (used by nn.Dropout) as a pure function of seed, step and part."""
        seed = rng.derive_seed(self.trainer.config.seed, rng.STEP, step, part) >> 1
        if self.group.device.type == "cpu":
            torch.default_generator.manual_seed(seed)
        else:  # seeds every device, and takes a millisecond for those that are not in use
            torch.manual_seed(seed)

    def _backward(self, batch: Any, totals: Tensor) -> None:
        with precision.autocast(self.precision, self.group.device):
            output = self.trainer.loss(self.model, batch.to(self.group.device))
        self.scaler.scale(output.loss).backward()  # type: ignore[no-untyped-call]
        totals[0] += output.loss.detach()
        totals[1] += output.weight
        totals[3:] += output.counts

    def divide_and_clip(self, weight: float) -> float:
        """Divide the gradients by the global batch's weight and clip them; returns the unclipped norm."""
        self.scaler.unscale_(self.optimizer)
        parameters = [p for p in self.model.parameters() if p.grad is not None]
        for p in parameters:
            p.grad.div_(weight)  # type: ignore[union-attr]
        return float(nn.utils.clip_grad_norm_(parameters, self.clip))

    def step(self, step: int) -> float:
        """Set the learning rate of the step and update the weights; returns the rate."""
        rate = self.schedule.set(step)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        if self.average is not None:
            self.average.update_parameters(self.model)
        return rate

    def state(self) -> dict[str, Any]:
        """The state of optimizer and scaler for a checkpoint; with an average, the trained weights too."""
        state = {"optimizer": self.optimizer.state_dict(), "scaler": self.scaler.state_dict()}
        if self.average is None:
            return state
        return {**state, "trained": self.model.state_dict(), "averaged": int(self.average.n_averaged)}

    def load(self, saved: checkpoint.Checkpoint) -> dict[str, Any]:
        """Load weights, optimizer and scaler; returns the other entries of the checkpoint's trainer.pt."""
        checkpoint.load_weights(self.evaluated, saved)
        state = saved.trainer_state()
        self.optimizer.load_state_dict(state.pop("optimizer"))
        self.scaler.load_state_dict(state.pop("scaler"))
        state.pop("scheduler", None)  # in checkpoints of version 0.1
        if self.average is not None:
            self.model.load_state_dict(state.pop("trained"))
            self.average.n_averaged.fill_(state.pop("averaged"))
        return state
