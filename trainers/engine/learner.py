"""Model, optimizer, schedule and scaler: what one optimizer step moves."""

import math
from typing import Any

import torch
from torch import Tensor, nn

from trainers.engine import checkpoint, optim, precision
from trainers.engine.distributed import Group
from trainers.engine.task import Task, rate_factors


class Learner:
    """The parts of a training that are saved and loaded together."""

    def __init__(self, task: Task, group: Group, steps_per_epoch: int) -> None:
        config = task.config
        self.task, self.group = task, group
        self.clip = config.clip_norm or math.inf
        self.precision = precision.choose(config, group.device)
        self.model = task.build().to(group.device)
        group.same_start(self.model)
        self.optimizer = optim.optimizer(self.model, config, rate_factors(task, self.model))
        self.scheduler = optim.scheduler(self.optimizer, config, steps_per_epoch)
        self.scaler = torch.amp.GradScaler(group.device.type, enabled=self.precision == "fp16")
        # It begins with its first loss, which a process without a sample of the first batch has not.
        self.scaler.scale(torch.zeros((), device=group.device))

    @property
    def rate(self) -> float:
        """The learning rate of the next step."""
        return float(self.optimizer.param_groups[0]["lr"])

    def gradients(self, parts: list[Any], halt: bool) -> list[float]:
        """Backward through this process's parts of a batch.

        Gives the sums over all processes: loss, weight, how many want to halt, and the task's
        counts. The gradients are then those of the summed loss.
        """
        self.model.train()
        self.optimizer.zero_grad(set_to_none=True)
        totals = torch.zeros(3 + self.task.counts_size, device=self.group.device)
        totals[2] = float(halt)
        for batch in parts:
            if batch is not None:
                self._backward(batch, totals)
        sums: list[float] = self.group.sum_gradients(self.model.parameters(), totals).tolist()
        return sums

    def _backward(self, batch: Any, totals: Tensor) -> None:
        with precision.autocast(self.precision, self.group.device):
            output = self.task.forward(self.model, batch.to(self.group.device))
        self.scaler.scale(output.loss).backward()  # type: ignore[no-untyped-call]
        totals[0] += output.loss.detach()
        totals[1] += output.weight
        totals[3:] += output.counts

    def divide_and_clip(self, weight: float) -> float:
        """Divide the gradients by the weight of the global batch and clip them.

        Gives their norm before it was clipped.
        """
        self.scaler.unscale_(self.optimizer)
        held = [p for p in self.model.parameters() if p.grad is not None]
        for p in held:
            p.grad.div_(weight)  # type: ignore[union-attr]
        return float(nn.utils.clip_grad_norm_(held, self.clip))

    def step(self) -> None:
        """Move the weights, then the learning rate."""
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.scheduler.step()

    def state(self) -> dict[str, Any]:
        """All but the weights."""
        return {
            "optimizer": self.optimizer.state_dict(),
            "scheduler": self.scheduler.state_dict(),
            "scaler": self.scaler.state_dict(),
        }

    def load(self, held: checkpoint.Checkpoint) -> dict[str, Any]:
        """Take everything from a checkpoint; gives what else its trainer.pt holds."""
        checkpoint.load_weights(self.model, held)
        saved = held.trainer_state()
        self.optimizer.load_state_dict(saved.pop("optimizer"))
        self.scheduler.load_state_dict(saved.pop("scheduler"))
        self.scaler.load_state_dict(saved.pop("scaler"))
        return saved
