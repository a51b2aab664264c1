"""The base class of trainers that tell emotions from recordings of RAVDESS and CREMA-D."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

from trainers.data import emotions, recordings, refusal_checks
from trainers.data.recording_checks import Survey
from trainers.data.recording_options import RecordingConfig
from trainers.data.recordings import Record
from trainers.data.refusal import Refusal
from trainers.engine import health
from trainers.engine.check import Check, on_data, on_model
from trainers.engine.health import Finding
from trainers.tasks import classifier_checks
from trainers.tasks.classifier import ClassifierTrainer


@dataclass(frozen=True)
class RecordingData:
    """The usable recordings with their splits, and the cache of their content."""

    listing: Survey
    cache: Any
    extra: str = ""
    """A hash of what else the training starts from (pretrained weights)."""

    @property
    def records(self) -> tuple[Record, ...]:
        """The usable recordings, in the order of their ids."""
        return self.listing.records

    @property
    def refused(self) -> tuple[Refusal, ...]:
        """What is not used, and why."""
        return self.listing.refused

    @property
    def splits(self) -> dict[str, list[Record]]:
        """Split to its records."""
        return self.listing.splits

    @cached_property
    def fingerprint(self) -> str:
        """A hash of every usable recording: its split, label and content, wherever the file is."""
        digests = {id: row.sha256 for id, row in self.cache.rows.items()}
        digest = recordings.fingerprint(self.records, self.listing.split_of, digests)
        return f"{digest}+{self.extra}" if self.extra else digest


def join(survey: Survey, cache: Any) -> RecordingData:
    """What names and cache say, put together; `refused` grows by what the cache could not use."""
    usable = tuple(record for record in survey.records if record.id in cache.rows)
    unread = [
        Refusal.of(record.path, fault) for record in survey.records if (fault := cache.refused.get(record.id))
    ]
    return RecordingData(replace(survey, records=usable, refused=(*survey.refused, *unread)), cache)


class RecordingTrainer(ClassifierTrainer):
    """A trainer gives `load`, `fit`, `model`, `features`, `read` and `same_content`."""

    config: RecordingConfig
    data: RecordingData

    def setup(self) -> None:
        """Only checkpoints of the six classes are understood."""
        if self.classes != emotions.CLASSES:
            raise ValueError("it has other classes")

    def class_facts(self) -> dict[str, Any]:
        """What `fit` says of classes: their names, and what the labels of the data sets count as."""
        labels = {"ravdess": emotions.RAVDESS_EMOTIONS, "crema": emotions.CREMA_EMOTIONS}
        return {"classes": list(emotions.CLASSES), "labels": labels}

    @classmethod
    def stem(cls, path: str) -> str:
        """A recording's name as it stands in a file name. Default: all but the ending."""
        return recordings.stem(path)

    def truth(self, path: Path) -> str | None:
        """The class that a file's name tells, if it tells one."""
        try:
            name = emotions.parse(self.stem(path.name))
        except emotions.BadName:
            return None
        label, _ = recordings.label_of(name, self.config)
        return label

    def reread(self, record: Record) -> Any:
        """What `read` makes of the record's file."""
        return next(iter(self.read(record.path))).features

    def no_records(self, data: RecordingData, split: str) -> list[Finding]:
        """With what was refused."""
        return refusal_checks.no_samples(data.listing, split)

    def same_content(self, record: Record, sample: Any) -> bool:
        """Whether a training sample is made of the content of its record's file; read it once more."""
        raise NotImplementedError

    files_compared: ClassVar[int] = classifier_checks.FILES_COMPARED
    """Files that `label.match` reads once more, at the most."""

    def some_samples(self) -> list[tuple[Record, Any]]:
        """Training samples as the model gets them, spread evenly, each with its record."""
        places = classifier_checks.spread(self.size("train"), self.files_compared)
        return [(self.splits["train"][i], self.sample("train", 0, i)) for i in places]

    @classmethod
    def checks(cls, standard: Sequence[Check]) -> list[Check]:
        """Those of cache, duplicates and labels first."""
        return [
            on_data("cache", unchanged_cache),
            on_data("dups", duplicates),
            on_model("label.match", labels_match),
            *super().checks(standard),
        ]


def unchanged_cache(trainer: RecordingTrainer) -> list[Finding]:
    """The cache holds what was written into it."""
    return classifier_checks.changed_cache(trainer.data.cache.damaged(), "records")


def duplicates(trainer: RecordingTrainer) -> list[Finding]:
    """No content stands under two names, least of all in two splits."""
    digests = {record.id: trainer.data.cache.rows[record.id].sha256 for record in trainer.data.records}
    split_of = dict(trainer.data.listing.split_of)
    return classifier_checks.duplicates(digests, split_of, "videos", "names")


def labels_match(trainer: RecordingTrainer) -> list[Finding]:
    """The model is given the label of the file's name and the content of that file."""
    wrong = []
    for record, sample in trainer.some_samples():
        if trainer.classes[sample.label] != trainer.truth(record.path):
            wrong.append(f"{record.id} as {trainer.classes[sample.label]}")
        elif not trainer.same_content(record, sample):
            wrong.append(f"{record.id} with other content")
    if not wrong:
        return []
    message = f"{len(wrong)} samples come to the model wrongly: {health.first(wrong)}"
    fix = "label and content must be one record from the file name to the batch"
    return [health.error("label.match", message, fix)]
