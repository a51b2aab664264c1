"""The training loop of every trainer.

All randomness is a pure function of (seed, epoch, sample), so a checkpoint needs no state of random
generators or loaders: only weights, optimizer and the counters of State.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any, NoReturn

from trainers.engine import baseline, checkpoint, first_batch, health, initial, metrics, resume, threads
from trainers.engine.distributed import Group
from trainers.engine.evaluate import Result, evaluate, shortened
from trainers.engine.events import Events, say
from trainers.engine.initial import Lineage
from trainers.engine.learner import Learner
from trainers.engine.loader import Plan, stream
from trainers.engine.meter import Meter
from trainers.engine.output import Summary
from trainers.engine.state import Outcome, State
from trainers.engine.trainer import Trainer

SKIPS = 20
"""Maximum consecutive steps that fp16 may skip while its loss scale decreases."""


class Diverged(Exception):
    """The loss or gradient is not finite, or the model does not learn."""


def _never(step: int) -> bool:
    return False


class TrainingLoop:
    """One run: `run()` trains from the newest checkpoint below `root`, or from the start.

    `halted(step)` is called at each step; if it returns True, the run saves a checkpoint and stops.
    """

    def __init__(
        self,
        trainer: Trainer,
        root: Path,
        events: Events,
        group: Group,
        *,
        halted: Callable[[int], bool] = _never,
        code_tree: str | None = None,
        talk: bool = True,
    ) -> None:
        config = trainer.config
        self.trainer, self.config, self.root = trainer, config, root
        self.events, self.group, self.halted = events, group, halted
        self.talk = talk and group.is_main
        self.plan = Plan(trainer.size("train"), config.batch_size, config.epochs, config.seed)
        self.parts, self.every = config.accumulate, config.checkpoint_every
        self.evaluate_batch = config.evaluate_batch
        self.patience, self.select = config.patience, config.select
        self.meter = Meter(events, config, self.plan.steps, self.talk)
        self.learner = Learner(trainer, group, self.plan.steps_per_epoch)
        self.state = State()
        self.lineage = Lineage(trainer, code_tree)

    def run(self) -> Outcome:
        """Train until the last epoch, an early stop or a halt. Raises Diverged, Refused or Damaged."""
        if not self._resume():
            self._initialise()
        lineage = self.lineage
        lineage.threads = threads.settle(self.config.threads, lineage.threads, self.learner, self.plan)
        self._announce()
        baseline.announce(self.trainer, self.events, self.talk)
        batches = stream(self.trainer, self.plan, self.group, self.state.step)
        while self.state.step < self.plan.steps and not self._out_of_patience():
            halt = self._step(batches)
            if halt or self._at_checkpoint():
                self.learner.mean_buffers()
            if self.state.step % self.plan.steps_per_epoch == 0:
                self._end_epoch()
            elif halt or self._at_checkpoint():
                self._save({}, None)
            if halt:
                at = f"step {self.state.step} of {self.plan.steps}"
                return Outcome("stopped", self.state.step, f"stopped with a checkpoint at {at}")
        return self._finish()

    def _at_checkpoint(self) -> bool:
        """Whether a checkpoint is due after this step: at the end of an epoch, or by `checkpoint_every`."""
        every = self.every or self.plan.steps_per_epoch
        return self.state.step % self.plan.steps_per_epoch == 0 or self.state.step % every == 0

    def _out_of_patience(self) -> bool:
        return 0 < self.patience <= self.state.bad_epochs

    def _announce(self) -> None:
        parameters = sum(p.numel() for p in self.learner.model.parameters())
        self.events(
            "start",
            trainer=self.trainer.name,
            config=self.config.as_dict(),
            parameters=parameters,
            device=str(self.group.device),
            world_size=self.group.size,
            threads=self.lineage.threads,
            steps=self.plan.steps,
            epochs=self.config.epochs,
            resumed_from=self.lineage.parent,
            init_from=self.lineage.init_from,
        )
        if self.talk:
            how = f"{self.group.device}, CPU threads: {self.lineage.threads}, {self.learner.precision}"
            say(f"model: {self.trainer.name}, {parameters:,} parameters; device: {how}")
            first_batch.announce(self.trainer, self.learner.model, self.plan, self.group.device)
        pieces = self.group.size * self.parts
        if self.config.batch_size < pieces:
            idle = f"a batch of {self.config.batch_size} leaves some of {pieces} shares without a sample"
            self._warn(f"{idle}: a larger batch_size, fewer GPUs or less `accumulate`")

    def _step(self, batches: Iterator[Any]) -> bool:
        """Run one optimizer step; returns whether any process requests a halt."""
        parts = [next(batches) for _ in range(self.parts)]
        step, halted = self.state.step, self.halted(self.state.step + 1)
        loss_sum, weight, halt, *counts = self.learner.gradients(step, parts, halted)
        loss, samples = loss_sum / weight, self.plan.batch(step)
        norm = self.learner.divide_and_clip(weight)
        self._require_finite(loss, norm, [index for _, index in samples])
        rate = self.learner.step(step)
        self._count([loss_sum, weight, *counts])
        epoch = (self.state.step - 1) // self.plan.steps_per_epoch + 1
        self.meter.step(self.state.step, epoch, len(samples), loss, rate, norm)
        return halt > 0

    def _require_finite(self, loss: float, norm: float, indices: list[int]) -> None:
        """Raise Diverged if loss or gradient norm is not finite.

        Both are sums over all processes, so every process raises or none does.
        """
        overflow = self.learner.precision == "fp16" and not math.isfinite(norm)
        self.state.skips = self.state.skips + 1 if overflow and math.isfinite(loss) else 0
        if 0 < self.state.skips <= SKIPS:
            return
        for finding in health.finite(loss, norm, self.trainer.names("train", indices)):
            self._diverge(finding, f"before step {self.state.step + 1}")
        for finding in health.gradient_jump(norm, self.state.norms):
            self._health(finding, f"clipped to {self.learner.clip:g}")
        self.state.norms = [*self.state.norms, norm][-health.NORM_HISTORY :]

    def _diverge(self, finding: health.Finding, when: str) -> NoReturn:
        last = checkpoint.pointed(self.root, "last")
        kept = f"the last good checkpoint is step {last}" if last else "no checkpoint was made"
        self._health(finding, f"stopped {when}; {kept}")
        raise Diverged(f"{finding.message}; {kept}")

    def _health(self, finding: health.Finding, action: str) -> None:
        self.events(
            "health", rule=finding.code, severity=finding.severity, message=finding.message, action=action
        )

    def _count(self, sums: list[float]) -> None:
        before = self.state.sums or [0.0] * len(sums)
        self.state.sums = [a + b for a, b in zip(before, sums, strict=True)]
        self.state.step += 1

    def _end_epoch(self) -> None:
        """Evaluate the validation split, and save a checkpoint."""
        epoch = self.state.step // self.plan.steps_per_epoch
        loss, weight, *counts = self.state.sums
        self._metrics("train", epoch, self.state.step, self.trainer.summarise(counts), loss / weight)
        self.state.sums = []
        result = self._evaluate("val")
        self._metrics("val", epoch, self.state.step, result.summary, result.loss)
        values = {**result.summary.values, "loss": result.loss}
        for finding in health.finite_validation({name: values[name] for name in ("loss", self.select)}):
            self._diverge(finding, f"after epoch {epoch}")
        self.state.balanced = max(self.state.balanced, values.get("balanced_accuracy", -math.inf))
        self._judge(epoch, values[self.select])
        self._save(values, epoch)
        self._report_plateau(epoch, result.summary)

    def _judge(self, epoch: int, value: float) -> None:
        score = metrics.score(self.select, value)
        better = score > self.state.best
        self.state.bad_epochs = 0 if better else self.state.bad_epochs + 1
        if better:
            self.state.best, self.state.best_step = score, self.state.step
        if self.talk:
            say(f"epoch {epoch}  val {self.select} {value:.4f}{'  best so far' if better else ''}")

    def _report_plateau(self, epoch: int, summary: Summary) -> None:
        """Report the findings of `Summary.plateau`; raises Diverged for an error."""
        settled = epoch - self.config.settling
        for finding in summary.plateau(self.state.balanced, epoch, settled, self.state.step):
            stops = finding.severity == "error"
            self._health(finding, f"stopped after epoch {epoch}" if stops else "continues")
            if stops:
                raise Diverged(f"{finding.message}: {finding.fix}")

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
        """Evaluate the best weights on the test split (or on val if test is empty)."""
        split = "test" if self.trainer.size("test") else "val"
        best = self.state.best_step or self.state.step
        saved = checkpoint.read(self.root / str(best))
        checkpoint.load_weights(self.learner.evaluated, saved)
        result = self._evaluate(split, keep=True)
        records, seed = self.trainer.splits[split], self.config.seed
        sentence = result.summary.conclude(result.correct, records, seed)
        self._metrics(split, saved.manifest["epoch"], best, result.summary, result.loss)
        if result.answers and self.group.is_main:
            results = self.trainer.results(split, result.answers)
            self.events("results", split=split, step=best, **shortened(results))
        message = f"{split} {sentence}, by the checkpoint of step {best}"
        clause, findings = baseline.compare(self.trainer, split, result.summary.values)
        for finding in findings:
            self._health(finding, "done")
        return Outcome("done", self.state.step, message + clause)

    def _evaluate(self, split: str, keep: bool = False) -> Result:
        learner = self.learner
        return evaluate(
            self.trainer, learner.evaluated, split, self.group, learner.precision, self.evaluate_batch, keep
        )

    def _save(self, values: dict[str, float], epoch: int | None) -> None:
        """Write a checkpoint; `epoch` is the epoch that just ended, or None in the middle of an epoch."""
        step, best = self.state.step, self.state.best_step == self.state.step
        if self.group.is_main:
            state = {**self.learner.state(), "state": asdict(self.state)}
            model = self.learner.evaluated
            manifest = self.lineage.manifest(model, self.state, self.plan.steps_per_epoch, values)
            checkpoint.save(self.root, step, model, state, manifest)
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
        self.lineage.parent = step
        self.group.barrier()

    def _initialise(self) -> None:
        """Load the weights of the option `init_from`. Raises Refused if they do not fit."""
        if (start := initial.require(self.trainer)) is None:
            return
        start.load_into(self.learner.model)
        self.lineage.start_from(start)
        if self.talk:
            say(f"starts with the weights of {self.trainer.initial}")
        if start.skipped:
            self._warn(f"a new head is trained: {', '.join(start.skipped)}")

    def _resume(self) -> bool:
        """Continue from the newest complete checkpoint; returns whether there is one."""
        saved = resume.newest(self.root, self.group, self._warn)
        if saved is None:
            return False
        resume.compare(saved.manifest, self.trainer, self.lineage.code_tree, self._warn)
        self.state = State(**self.learner.load(saved)["state"])
        self.lineage.resume(saved.manifest, self.state.step)
        self._forget_lost_best()
        if self.group.is_main:
            checkpoint.point(self.root, "last", self.state.step)
            if self.state.best_step is not None:
                checkpoint.point(self.root, "best", self.state.best_step)
        if self.talk:
            say(f"continues from the checkpoint of step {self.state.step}")
        return True

    def _forget_lost_best(self) -> None:
        """Reset the best score if the best checkpoint no longer exists (it was damaged and renamed)."""
        best = self.state.best_step
        if best is not None and not resume.share(self.root, best, self.group):
            self._warn(f"the best checkpoint, step {best}, is gone; the next epoch counts as best")
            self.state.best, self.state.best_step = -math.inf, None

    def _warn(self, message: str) -> None:
        self.events("warning", message=message)
