"""The training loop of every trainer.

Everything random is a pure function of (seed, epoch, sample), so a run is resumed by its step
alone, and the counters of State are all that a checkpoint adds to weights and optimizer.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, NoReturn

from trainers.engine import baseline, checkpoint, health, metrics, resume, seen
from trainers.engine.distributed import Group
from trainers.engine.evaluate import Result, evaluate
from trainers.engine.events import Events, say
from trainers.engine.learner import Learner
from trainers.engine.loader import stream
from trainers.engine.meter import Meter
from trainers.engine.sampler import Plan
from trainers.engine.task import Proving, Summary, Task

SKIPS = 20
"""Steps in a row that fp16 may skip while its loss scale falls."""


class Diverged(Exception):
    """Loss or gradient is not finite, or the model has learnt nothing."""


@dataclass
class State:
    """What a run knows at a step, beside weights and optimizer.

    `sums` adds up loss, weight and counts over the epoch; `norms` are the last gradient norms; `balanced` is
    the best balanced accuracy, whatever `best` is of.
    """

    step: int = 0
    best: float = -math.inf  # of the metric or, where less is better, of its negative
    best_step: int | None = None
    balanced: float = -math.inf
    bad_epochs: int = 0
    skips: int = 0
    sums: list[float] = field(default_factory=list)
    norms: list[float] = field(default_factory=list)


@dataclass(frozen=True)
class Outcome:
    """`status` is `done`, `stopped` or `failed`."""

    status: str
    step: int
    message: str


def _never(step: int) -> bool:
    return False


class TrainingLoop:
    """One run: `run()` trains from the newest checkpoint of `root` to the end.

    `halted(step)` is asked at each step; True saves a checkpoint after it and stops.
    """

    def __init__(
        self,
        task: Task,
        root: Path,
        events: Events,
        group: Group,
        *,
        halted: Callable[[int], bool] = _never,
        code_tree: str | None = None,
        talk: bool = True,
    ) -> None:
        config = task.config
        self.task, self.config, self.root = task, config, root
        self.events, self.group, self.halted = events, group, halted
        self.code_tree = code_tree
        self.talk = talk and group.is_main
        self.plan = Plan(task.size("train"), config.batch_size, config.epochs, config.seed)
        self.parts, self.every = config.accumulate, config.checkpoint_every
        self.together = config.evaluate_batch
        self.patience, self.select = config.patience, config.select
        self.meter = Meter(events, config, self.plan.steps, self.talk)
        self.learner = Learner(task, group, self.plan.steps_per_epoch)
        self.state = State()
        self.parent: int | None = None
        self.trained_on = seen.units(task)

    def run(self) -> Outcome:
        """Train to the end, to an early stop or to a halt."""
        self._resume()
        self._announce()
        baseline.announce(self.task, self.events, self.talk)
        batches = stream(self.task, self.config, self.plan, self.group, self.state.step)
        while self.state.step < self.plan.steps and not self._out_of_patience():
            halt = self._step(batches)
            if halt or self._at_checkpoint():
                self.group.mean_buffers(self.learner.model)
            if self.state.step % self.plan.steps_per_epoch == 0:
                self._end_epoch()
            elif halt or self._at_checkpoint():
                self._save({}, None)
            if halt:
                return Outcome("stopped", self.state.step, self._stopped())
        return self._finish()

    def _at_checkpoint(self) -> bool:
        """Whether this step ends an epoch, or is one after which a checkpoint is kept."""
        every = self.every or self.plan.steps_per_epoch
        return self.state.step % self.plan.steps_per_epoch == 0 or self.state.step % every == 0

    def _stopped(self) -> str:
        return f"stopped with a checkpoint at step {self.state.step} of {self.plan.steps}"

    def _out_of_patience(self) -> bool:
        return 0 < self.patience <= self.state.bad_epochs

    def _announce(self) -> None:
        self.events(
            "start",
            trainer=self.task.name,
            config=self.config.as_dict(),
            parameters=sum(p.numel() for p in self.learner.model.parameters()),
            device=str(self.group.device),
            world_size=self.group.size,
            steps=self.plan.steps,
            epochs=self.config.epochs,
            resumed_from=self.parent,
        )
        pieces = self.group.size * self.parts
        if self.config.batch_size < pieces:
            idle = f"a batch of {self.config.batch_size} leaves some of {pieces} shares without a sample"
            self._warn(f"{idle}: a larger batch_size, fewer GPUs or less `accumulate`")

    def _step(self, batches: Iterator[Any]) -> bool:
        """One optimizer step; whether any process wants to halt."""
        parts = [next(batches) for _ in range(self.parts)]
        loss_sum, weight, halt, *counts = self.learner.gradients(parts, self.halted(self.state.step + 1))
        loss, samples = loss_sum / weight, self.plan.batch(self.state.step)
        norm = self.learner.divide_and_clip(weight)
        self._gate(loss, norm, [index for _, index in samples])
        rate = self.learner.rate
        self.learner.step()
        self._count([loss_sum, weight, *counts])
        epoch = (self.state.step - 1) // self.plan.steps_per_epoch + 1
        self.meter.step(self.state.step, epoch, len(samples), loss, rate)
        return halt > 0

    def _gate(self, loss: float, norm: float, indices: list[int]) -> None:
        """Let only finite steps through. The sums are global, so every process agrees."""
        overflow = self.learner.precision == "fp16" and not math.isfinite(norm)
        self.state.skips = self.state.skips + 1 if overflow and math.isfinite(loss) else 0
        if 0 < self.state.skips <= SKIPS:
            return
        for found in health.finite(loss, norm, self.task.names("train", indices)):
            self._diverge(found, f"before step {self.state.step + 1}")
        for found in health.gradient_jump(norm, self.state.norms):
            self._health(found, f"clipped to {self.learner.clip:g}")
        self.state.norms = [*self.state.norms, norm][-health.NORM_HISTORY :]

    def _diverge(self, found: health.Finding, when: str) -> NoReturn:
        last = checkpoint.pointed(self.root, "last")
        kept = f"the last good checkpoint is step {last}" if last else "no checkpoint was made"
        self._health(found, f"stopped {when}; {kept}")
        raise Diverged(f"{found.message}; {kept}")

    def _health(self, found: health.Finding, action: str) -> None:
        self.events("health", rule=found.code, severity=found.severity, seen=found.message, action=action)

    def _count(self, sums: list[float]) -> None:
        held = self.state.sums or [0.0] * len(sums)
        self.state.sums = [a + b for a, b in zip(held, sums, strict=True)]
        self.state.step += 1

    def _end_epoch(self) -> None:
        """Ask the validation split, and keep a checkpoint."""
        epoch = self.state.step // self.plan.steps_per_epoch
        loss, weight, *counts = self.state.sums
        self._metrics("train", epoch, self.state.step, self.task.summarise(counts), loss / weight)
        self.state.sums = []
        result = self._evaluate("val")
        self._metrics("val", epoch, self.state.step, result.summary, result.loss)
        values = {**result.summary.values, "loss": result.loss}
        for found in health.finite_validation({name: values[name] for name in ("loss", self.select)}):
            self._diverge(found, f"after epoch {epoch}")
        self.state.balanced = max(self.state.balanced, values.get("balanced_accuracy", -math.inf))
        self._judge(epoch, values[self.select])
        self._save(values, epoch)
        self._doubt(epoch, result.summary)

    def _judge(self, epoch: int, value: float) -> None:
        score = metrics.score(self.select, value)
        better = score > self.state.best
        self.state.bad_epochs = 0 if better else self.state.bad_epochs + 1
        if better:
            self.state.best, self.state.best_step = score, self.state.step
        if self.talk:
            say(f"epoch {epoch}  val {self.select} {value:.4f}{'  best so far' if better else ''}")

    def _doubt(self, epoch: int, summary: Summary) -> None:
        """What the validation says of a model that learns nothing; an error ends the run."""
        since = epoch - self.config.settling
        for found in summary.doubts(self.state.balanced, epoch, since, self.state.step):
            stops = found.severity == "error"
            self._health(found, f"stopped after epoch {epoch}" if stops else "goes on")
            if stops:
                raise Diverged(f"{found.message}: {found.fix}")

    def _metrics(self, split: str, epoch: int, step: int, summary: Summary, loss: float) -> None:
        self.events(
            "metrics",
            split=split,
            epoch=epoch,
            step=step,
            values={"loss": loss, **summary.values},
            classes=summary.classes,
            confusion=summary.confusion,
        )

    def _finish(self) -> Outcome:
        """Ask the best weights once for the test split (or val, where there is none)."""
        split = "test" if self.task.size("test") else "val"
        best = self.state.best_step or self.state.step
        held = checkpoint.read(self.root / str(best))
        checkpoint.load_weights(self.learner.model, held)
        result = self._evaluate(split)
        told = result.summary.conclude(result.correct, self.task, split)
        self._metrics(split, held.manifest["epoch"], best, result.summary, result.loss)
        message = f"{split} {told}, by the checkpoint of step {best}"
        beside, findings = baseline.compare(self.task, split, result.summary.values)
        for found in findings:
            self._health(found, "done")
        return Outcome("done", self.state.step, message + beside)

    def _evaluate(self, split: str) -> Result:
        learner = self.learner
        return evaluate(self.task, learner.model, split, self.group, learner.precision, self.together)

    def _save(self, values: dict[str, float], epoch: int | None) -> None:
        """Write a checkpoint; `epoch` is the one that has just ended, or None within one."""
        step, best = self.state.step, self.state.best_step == self.state.step
        if self.group.is_main:
            state = {**self.learner.state(), "state": asdict(self.state)}
            checkpoint.save(self.root, step, self.learner.model, state, self._manifest(values))
            for name in ("last", "best") if best else ("last",):
                checkpoint.point(self.root, name, step)
            checkpoint.prune(self.root)
            self.events(
                "checkpoint",
                path=f"{self.root.name}/{step}",
                step=step,
                best=best,
                metric=self.select,
                value=None if epoch is None else values[self.select],
            )
        self.parent = step
        self.group.barrier()

    def _manifest(self, values: dict[str, float]) -> dict[str, Any]:
        return {
            "trainer": self.task.name,
            "epoch": self.state.step // self.plan.steps_per_epoch,
            "metrics": values,
            "config": self.config.as_dict(),
            "code_tree": self.code_tree,
            "data": self.task.fingerprint,
            seen.KEY: self.trained_on,
            "preprocessing": self.task.preprocessing(),
            "parent": self.parent,
            **({"proof": self.task.proof(self.learner.model)} if isinstance(self.task, Proving) else {}),
        }

    def _resume(self) -> None:
        """Continue from the newest whole checkpoint, if there is one."""
        held = resume.newest(self.root, self.group, self._warn)
        if held is None:
            return
        resume.compare(held.manifest, self.task, self.code_tree, self._warn)
        self.state = State(**self.learner.load(held)["state"])
        self.parent = self.state.step
        self._forget_lost_best()
        if self.group.is_main:
            checkpoint.point(self.root, "last", self.state.step)
            if self.state.best_step is not None:
                checkpoint.point(self.root, "best", self.state.best_step)
        if self.talk:
            say(f"continues from the checkpoint of step {self.state.step}")

    def _forget_lost_best(self) -> None:
        """A best checkpoint that was damaged is gone: the next epoch counts as best."""
        best = self.state.best_step
        if best is not None and best not in checkpoint.steps(self.root):
            self._warn(f"the best checkpoint, step {best}, is gone; the next epoch counts as best")
            self.state.best, self.state.best_step = -math.inf, None

    def _warn(self, message: str) -> None:
        self.events("warning", message=message)
