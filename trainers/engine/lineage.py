"""Where a run comes from, as its checkpoints record it: its data, code, and the checkpoints before it."""

from typing import Any

from torch import nn

from trainers.engine import initial, leakage
from trainers.engine.initial import Initial
from trainers.engine.state import State
from trainers.engine.trainer import Trainer


class Lineage:
    """The facts for the manifest of each checkpoint of a run.

    `parent` is the step of the run's checkpoint before, `init_from` the origin of the weights that the run
    started from, `trained_on` what leakage.trained_on returns for both, `threads` the recorded number.
    """

    def __init__(self, trainer: Trainer, code_tree: str | None) -> None:
        self.trainer, self.code_tree = trainer, code_tree
        self.parent: int | None = None
        self.threads: int | None = None
        self.init_from: dict[str, Any] | None = None
        self.trained_on = leakage.trained_on(trainer)

    def start_from(self, start: Initial) -> None:
        """Record the weights of `init_from`."""
        self.init_from = start.origin
        self.trained_on = sorted({*self.trained_on, *start.trained_on})

    def resume(self, manifest: dict[str, Any], step: int) -> None:
        """Take over what a checkpoint of this run recorded."""
        self.parent, self.threads = step, manifest.get("threads")
        self.init_from = manifest.get(initial.KEY)
        self.trained_on = sorted({*self.trained_on, *manifest.get(leakage.KEY, ())})

    def manifest(
        self, model: nn.Module, state: State, steps_per_epoch: int, values: dict[str, float]
    ) -> dict[str, Any]:
        """The manifest of a checkpoint of `model` with the validation metrics `values`."""
        trainer, proof = self.trainer, self.trainer.proof(model)
        return {
            "trainer": trainer.name,
            "epoch": state.step // steps_per_epoch,
            "metrics": values,
            "config": trainer.config.as_dict(),
            "code_tree": self.code_tree,
            "data": trainer.fingerprint,
            leakage.KEY: self.trained_on,
            "preprocessing": trainer.preprocessing,
            "parent": self.parent,
            "threads": self.threads,
            **({} if proof is None else {"proof": proof}),
            **({} if self.init_from is None else {initial.KEY: self.init_from}),
        }
