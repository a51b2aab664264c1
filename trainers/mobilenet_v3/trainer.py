"""The trainer mobilenet-v3: 1-D MobileNetV3, BiLSTM and CTC, optionally with distillation from a teacher."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

from torch import Tensor
from torch.nn.functional import kl_div

from trainers.data.frames import mask
from trainers.data.sign.batch import Batch, Sample
from trainers.data.sign.data import Data
from trainers.engine.events import Events
from trainers.mobilenet_v3.config import Config
from trainers.mobilenet_v3.model import PARAMETERS, Student, extra_parameters
from trainers.mobilenet_v3.teacher import Teacher, open_teacher
from trainers.tasks.ctc_trainer import CTCTrainer
from trainers.tasks.vocabulary import Vocabulary

T = TypeVar("T", bound="StudentTrainer")


@dataclass(frozen=True)
class TaughtData(Data):
    """Sentences with a teacher's logits; the teacher's hash is part of the fingerprint."""

    teacher: Teacher

    @property
    def fingerprint(self) -> str:
        """The sentences' fingerprint, `+`, and the teacher's digest."""
        return f"{Data(self.listing, self.cache).fingerprint}+{self.teacher.digest[:32]}"


class StudentTrainer(CTCTrainer):
    """Trains the student with CTC and, if there is a teacher, with distillation from its logits."""

    name = "mobilenet-v3"
    options = Config
    stride = 1
    sizes = PARAMETERS
    config: Config
    teacher: Teacher | None = None

    @classmethod
    def load(cls, config: Config, folders: Mapping[str, Path], cache: Path, events: Events) -> Data:
        """Read the sentences, with a teacher's logits if a data folder or the option names a teacher."""
        data, option = cls.read(config, folders, cache, events), config.teacher
        path = folders.get("teacher") or (Path(option) if option else None)
        train = data.splits["train"]
        if path is None or not train:
            return data
        vocabulary = Vocabulary.of((record.words for record in train), config.oov == "unk")
        expected = (vocabulary, data.listing.layout)
        return TaughtData(
            data.listing, data.cache, open_teacher(path, train, data.cache, expected, cache, events)
        )

    def setup(self) -> None:
        """Set up as CTCTrainer does, and take the teacher from the data."""
        super().setup()
        self.teacher = getattr(getattr(self, "data", None), "teacher", None)

    def without_regularisation(self: T) -> T:
        """A trainer with the CTC loss alone, without flat start and teacher."""
        other = super().without_regularisation()
        other.teacher = None
        return other

    def sample(self, split: str, epoch: int, index: int) -> Sample:
        """A sentence; in train it includes the teacher's logits, if there is a teacher."""
        sample = super().sample(split, epoch, index)
        if self.teacher is None or split != "train":
            return sample
        return replace(sample, teacher=self.teacher.logits(self.splits[split][index].id))

    def model(self) -> Student:
        """The model of the options."""
        config, words = self.config, len(self.vocabulary)
        more = (config.lstm_layers, config.cross_attention)
        return Student(config.preset, words, self.layout, config.dropout, *more)

    @property
    def expected_parameters(self) -> int:
        """The number of parameters of the preset and of the options that add to it."""
        config = self.config
        more = extra_parameters(config.preset, config.lstm_layers, config.cross_attention)
        return super().expected_parameters + more

    def losses(self, log_probs: Tensor, lengths: Tensor, batch: Batch) -> Tensor:
        """The loss (B,) in nats: (1 - distill) CTC + distill * KL over the frames (Hinton et al. 2015).

        A flat start does not use the teacher, which like every CTC model outputs blanks at most frames.
        """
        alone = super().losses(log_probs, lengths, batch)
        if batch.teacher is None or batch.flat:
            return alone
        share = self.config.distill
        return (1.0 - share) * alone + share * self._distance(log_probs, batch.teacher, batch.lengths)

    def _distance(self, log_probs: Tensor, teacher: Tensor, lengths: Tensor) -> Tensor:
        """(B,) t^2 KL(teacher || student) at temperature t, summed over each sample's valid frames."""
        heat = self.config.temperature
        expected = (teacher.float() / heat).log_softmax(-1)
        actual = (log_probs / heat).log_softmax(-1)
        frames = kl_div(actual, expected, reduction="none", log_target=True).sum(-1)
        return heat**2 * (frames * mask(lengths, frames.shape[1], frames.device)).sum(1)
