"""The base class of trainers that classify emotions in recordings of RAVDESS and CREMA-D."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

from trainers.data import emotions, recordings, refusal_checks
from trainers.data.recording_checks import Survey
from trainers.data.recordings import Record, RecordingConfig
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
    """A hash of further input of the training (pretrained weights)."""

    @property
    def records(self) -> tuple[Record, ...]:
        """The usable recordings, in the order of their ids."""
        return self.listing.records

    @property
    def refused(self) -> tuple[Refusal, ...]:
        """The files that are not used, with reasons."""
        return self.listing.refused

    @property
    def splits(self) -> dict[str, list[Record]]:
        """The records of each split."""
        return self.listing.splits

    @cached_property
    def fingerprint(self) -> str:
        """A hash of split, label and content of every usable recording; it does not depend on paths."""
        digests = {id: row.sha256 for id, row in self.cache.rows.items()}
        digest = recordings.fingerprint(self.records, self.listing.split_of, digests)
        return f"{digest}+{self.extra}" if self.extra else digest


def join(survey: Survey, cache: Any) -> RecordingData:
    """Combine survey and cache: recordings that the cache could not encode move to `refused`."""
    usable = tuple(record for record in survey.records if record.id in cache.rows)
    unread = [
        Refusal.of(record.path, fault) for record in survey.records if (fault := cache.refused.get(record.id))
    ]
    return RecordingData(replace(survey, records=usable, refused=(*survey.refused, *unread)), cache)


class RecordingTrainer(ClassifierTrainer):
    """Base class; a trainer implements `load`, `fit`, `model`, `features`, `read` and `same_content`."""

    config: RecordingConfig
    data: RecordingData

    def setup(self) -> None:
        """Raise ValueError if a checkpoint has other classes than the six of trainers/data/emotions.py."""
        if self.classes != emotions.CLASSES:
            raise ValueError("it has other classes")

    def class_facts(self) -> dict[str, Any]:
        """The class names, and the emotion of each code in file names, for the result of `fit`."""
        labels = {"ravdess": emotions.RAVDESS_EMOTIONS, "crema": emotions.CREMA_EMOTIONS}
        return {"classes": list(emotions.CLASSES), "labels": labels}

    @classmethod
    def stem(cls, path: str) -> str:
        """The recording's name in a path. Default: the file name without suffix."""
        return recordings.stem(path)

    def content(self, record: Record) -> str:
        """The SHA-256 of the recording's cached content."""
        return str(self.data.cache.rows[record.id].sha256)

    def truth(self, path: Path) -> str | None:
        """The class that a file's name gives, or None."""
        try:
            name = emotions.parse(self.stem(path.name))
        except emotions.BadName:
            return None
        label, _ = recordings.label_of(name, self.config)
        return label

    def reread(self, record: Record) -> Any:
        """The features that `read` returns for the record's file."""
        return next(iter(self.read(record.path))).features

    def no_records(self, data: RecordingData, split: str) -> list[Finding]:
        """An error for an empty split, with the commonest reasons for refused files."""
        return refusal_checks.no_samples(data.listing, split)

    def same_content(self, record: Record, sample: Any) -> bool:
        """Read the record's file again and compare it with the training sample; whether they agree."""
        raise NotImplementedError

    files_compared: ClassVar[int] = classifier_checks.FILES_COMPARED
    """Maximum number of files that the check `label.match` reads again."""

    def some_samples(self) -> list[tuple[Record, Any]]:
        """Up to `files_compared` (record, training sample) pairs, spread evenly over the split."""
        indices = classifier_checks.spread(self.size("train"), self.files_compared)
        return [(self.splits["train"][i], self.sample("train", 0, i)) for i in indices]

    @classmethod
    def checks(cls, standard: Sequence[Check]) -> list[Check]:
        """The checks of cache, duplicates and labels, then those of every classifier."""
        return [
            on_data("cache", unchanged_cache),
            on_data("dups", duplicates),
            on_model("label.match", labels_match),
            *super().checks(standard),
        ]


def unchanged_cache(trainer: RecordingTrainer) -> list[Finding]:
    """The cached content has the SHA-256 that was stored when it was written."""
    return classifier_checks.changed_cache(trainer.data.cache.damaged(), "records")


def duplicates(trainer: RecordingTrainer) -> list[Finding]:
    """No two names have the same content."""
    digests = {record.id: trainer.data.cache.rows[record.id].sha256 for record in trainer.data.records}
    split_of = dict(trainer.data.listing.split_of)
    return classifier_checks.duplicates(digests, split_of, "videos", "names")


def labels_match(trainer: RecordingTrainer) -> list[Finding]:
    """Each training sample has the label of its file's name and the content of that file."""
    wrong = []
    for record, sample in trainer.some_samples():
        if trainer.classes[sample.label] != trainer.truth(record.path):
            wrong.append(f"{record.id} as {trainer.classes[sample.label]}")
        elif not trainer.same_content(record, sample):
            wrong.append(f"{record.id} with other content")
    if not wrong:
        return []
    message = f"{len(wrong)} training samples are wrong: {health.first(wrong)}"
    fix = "keep label and content in one record from the file name to the batch"
    return [health.error("label.match", message, fix)]
