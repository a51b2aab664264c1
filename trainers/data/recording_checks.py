"""The checks of names, labels and splits of recordings, and the data's report. Standard library only."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from trainers.data import emotions, recordings, refusal_checks, splits
from trainers.data.recordings import Record
from trainers.data.refusal import Refusal
from trainers.data.refusal_checks import nonempty, refusals, refused_by, table
from trainers.engine import health
from trainers.engine.check import on_files
from trainers.engine.health import Finding

Splits = Mapping[str, Sequence[Record]]


@dataclass(frozen=True)
class Survey:
    """Recordings with their splits: the subject of the checks below.

    `split_of` maps record ids to splits, `split_again` recomputes that map for records; `files` describes the
    files in messages, `stem` returns the recording's name in a path, `max_refused` is the maximum fraction of
    broken files.
    """

    count: int
    records: tuple[Record, ...]
    refused: tuple[Refusal, ...]
    split_of: Mapping[str, str]
    split_again: Callable[[Sequence[Record]], Mapping[str, str]]
    files: str
    stem: Callable[[str], str]
    max_refused: float
    facts: Mapping[str, Any] = field(default_factory=dict)
    """Further entries of the report's `data`."""

    noun = "files"

    @cached_property
    def splits(self) -> dict[str, list[Record]]:
        """The records of each split."""
        return recordings.by_split(self.records, self.split_of)

    def report(self) -> dict[str, Any]:
        """The `data` of the check report: counts, refused files, tables."""
        classes = refusal_checks.class_table("Samples by class", self.splits, emotions.CLASSES)
        tables = [classes, _actor_table(self.splits)]
        return {**refusal_checks.report(self, tables), **self.facts}

    @property
    def needed(self) -> str:
        """The fix for a split without recordings."""
        needed = f"every data folder needs {self.files} of several actors, and val_share is above 0"
        return f"check the refused files; {needed}"


def parse(survey: Survey) -> list[Finding]:
    """Every file name is valid, and unchanged when parsed and formatted again."""
    wrong = [r.id for r in survey.records if str(emotions.parse(survey.stem(r.path.name))) != str(r.name)]
    findings = refusals(survey, "labels.parse")
    if wrong:
        message = f"{len(wrong)} names change when parsed and formatted again: {health.first(wrong)}"
        findings.append(health.error("labels.parse", message, "the parser and its format disagree"))
    return findings


def groups(survey: Survey) -> list[Finding]:
    """No actor and no take is in two splits."""
    actors = {split: [record.actor for record in records] for split, records in survey.splits.items()}
    takes = {split: [record.take for record in records] for split, records in survey.splits.items()}
    return health.group_overlap("actors", actors) + health.group_overlap("takes", takes)


def named(survey: Survey) -> list[Finding]:
    """Folders and files name the split of every recording or of none, each split by one word."""
    pairs = [(record.split, survey.split_of[record.id]) for record in survey.records]
    names = {part for record in survey.records if record.split for part in record.path.parts[-4:]}
    return splits.findings(names, pairs, survey.noun)


def stable(survey: Survey) -> list[Finding]:
    """The split of a record does not depend on the order of the listing."""
    again = survey.split_again(list(reversed(survey.records)))
    return splits.moved([record.id for record in survey.records], survey.split_of, again)


def balance(survey: Survey) -> list[Finding]:
    """Every class occurs in every split, with at least 5 % of its samples."""
    return health.balance(survey.splits, emotions.CLASSES)


CHECKS = (
    on_files("labels.nonempty", nonempty),
    on_files("labels.parse", parse),
    refused_by("files.there", "Every listed file exists"),
    on_files("split.groups", groups),
    on_files("split.named", named),
    on_files("balance", balance),
    on_files("split.stable", stable),
)


def _actor_table(splits: Splits) -> dict[str, Any]:
    rows = []
    for split, records in splits.items():
        counts = Counter(record.actor for record in records)
        spread = f"{min(counts.values())} to {max(counts.values())}" if counts else "-"
        names = health.first(sorted(counts), 6) or "-"
        rows.append([split, str(len(counts)), spread, names])
    return table("Actors by split", ("split", "actors", "samples each", "who"), rows)
