"""The student as the engine's task, alone or with a teacher, and its use from a checkpoint alone."""

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from torch import Tensor
from torch.nn.functional import kl_div

from trainers.data.landmarks import Layout
from trainers.data.sign.batch import Batch, Sample
from trainers.engine.events import Events
from trainers.engine.sampler import Key
from trainers.mobilenet_v3.config import Config
from trainers.mobilenet_v3.model import PARAMETERS, Student
from trainers.mobilenet_v3.teacher import Teacher, open_teacher
from trainers.tasks.sign import task as sign
from trainers.tasks.sign import use
from trainers.tasks.sign.task import Items, SignTask


class StudentTask(SignTask):
    """See trainers.engine.task.Task. With a `teacher`, training learns from both CTC and its frames."""

    name = "mobilenet-v3"
    options = Config
    stride = 1
    config: Config
    teacher: Teacher | None = None

    @classmethod
    def make(cls, config: Any, words: int, layout: Layout) -> Student:
        """The model of a preset."""
        return Student(config.preset, words, layout, config.dropout)

    @classmethod
    def parameters(cls, config: Any, words: int) -> int:
        """By PARAMETERS."""
        fixed, each = PARAMETERS[config.preset]
        return fixed + each * words

    def alone(self) -> SignTask:
        """Of CTC alone."""
        copy = super().alone()
        assert isinstance(copy, StudentTask)
        copy.teacher = None
        return copy

    def taught(self, teacher: Teacher) -> "StudentTask":
        """The same task with a teacher, whose hash becomes part of the data's."""
        self.teacher = teacher
        self.fingerprint = f"{self.fingerprint}+{teacher.digest[:32]}"
        return self

    def items(self, split: str) -> Items:
        """The samples of a split; those of train with the teacher's logits."""
        right = super().items(split)
        return TaughtItems(self, split, True) if self.teacher and split == "train" else right

    def losses(self, log_probs: Tensor, lengths: Tensor, batch: Batch) -> Tensor:
        """(B,) (1 - distill) CTC + distill * KL over the frames (Hinton et al. 2015), in nats.

        A flat start is without the teacher, who says blank at most frames as every CTC model does.
        """
        alone = super().losses(log_probs, lengths, batch)
        if batch.teacher is None or batch.flat:
            return alone
        share = self.config.distill
        return (1.0 - share) * alone + share * self._distance(log_probs, batch)

    def _distance(self, log_probs: Tensor, batch: Batch) -> Tensor:
        """(B,) t^2 KL(teacher || student) at temperature t, summed over each sample's valid frames."""
        assert batch.teacher is not None
        heat = self.config.temperature
        wanted = (batch.teacher.float() / heat).log_softmax(-1)
        said = (log_probs / heat).log_softmax(-1)
        frames = kl_div(said, wanted, reduction="none", log_target=True).sum(-1)
        valid = sign.frame_mask(batch.lengths, frames)
        return heat**2 * (frames * valid).sum(1)


class TaughtItems(Items):
    """Sentences with what the teacher says of them."""

    def __getitem__(self, key: Key) -> Sample:
        sample = super().__getitem__(key)
        assert sample.record is not None
        assert isinstance(self.task, StudentTask)
        assert self.task.teacher is not None
        return replace(sample, teacher=self.task.teacher.logits(sample.record.id))


def open_task(config: Config, folders: Mapping[str, Path], cache: Path, events: Events) -> StudentTask:
    """The task over these folders. Raises DataUnusable."""
    task = sign.open_task(StudentTask, config, folders, cache, events)
    assert isinstance(task, StudentTask)
    return with_teacher(task, config, folders, cache, events)


def with_teacher(
    task: StudentTask, config: Config, folders: Mapping[str, Path], cache: Path, events: Events
) -> StudentTask:
    """The task, taught where a teacher is named, as a data folder or by the option."""
    asked = config.teacher
    place = folders.get("teacher") or (Path(asked) if asked else None)
    if place is None:
        return task
    given = (task.vocabulary, task.layout)
    return task.taught(open_teacher(place, task.records["train"], task.data.cache, given, cache, events))


run_rules = sign.run_rules
restore = partial(use.restore, StudentTask)
predict = partial(use.predict, StudentTask)
evaluate = partial(use.evaluate, StudentTask)
