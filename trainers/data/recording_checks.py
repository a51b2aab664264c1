"""The checks of names, labels and splits of recordings, and the data's report. Standard library only."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from trainers.data import emotions, recordings
from trainers.data.recordings import Record, Refusal
from trainers.engine import health
from trainers.engine.check import Check, on_files
from trainers.engine.health import Finding

Splits = Mapping[str, Sequence[Record]]


@dataclass(frozen=True)
class Survey:
    """Recordings with their splits: the subject of the checks below.

    `split_of` maps record id to split, `split_again` makes that map anew; `files` is what messages call the
    files, `stem` reads a recording's name off a path, `max_refused` is the largest share of broken files.
    """

    found: int
    records: tuple[Record, ...]
    refused: tuple[Refusal, ...]
    split_of: Mapping[str, str]
    split_again: Callable[[Sequence[Record]], Mapping[str, str]]
    files: str
    stem: Callable[[str], str]
    max_refused: float
    facts: Mapping[str, Any] = field(default_factory=dict)
    """What else the report says of the data."""

    @cached_property
    def splits(self) -> dict[str, list[Record]]:
        """Split to its records."""
        return recordings.by_split(self.records, self.split_of)

    def report(self) -> dict[str, Any]:
        """The `data` of the report: counts, refused files (five a reason), tables."""
        return {**report(self.found, self.records, self.refused, self.splits), **self.facts}


def no_samples(survey: Survey, split: str) -> list[Finding]:
    """A split without a sample, and why: the commonest reasons, each with its first file."""
    reasons = "; ".join(
        f"{count} x {reason} (first: {first.path.name}{' - ' + first.detail if first.detail else ''})"
        for reason, count, first in recordings.reasons(survey.refused)[:5]
    )
    message = f"{split} holds no sample; {survey.found} files were found. {reasons or 'No file was refused'}"
    fix = f"look at these files; there must be {survey.files} below the data folders, of some actors each"
    return [health.error("labels.nonempty", message, fix, "data")]


def nonempty(survey: Survey) -> list[Finding]:
    """Train and val hold samples."""
    if not any(survey.splits.values()):
        return no_samples(survey, "the data")
    return [f for split in ("train", "val") if not survey.splits[split] for f in no_samples(survey, split)]


def refusals(survey: Survey, code: str) -> list[Finding]:
    """A finding about the files that the rule `code` refused; an error once too many files are broken."""
    broken = [refusal for refusal in survey.refused if refusal.broken]
    some = [refusal for refusal in broken if refusal.code == code]
    if not some:
        return []
    names = "; ".join(f"{r.path.name}: {r.why}" for r in some[:5])
    message = f"{len(some)} of {survey.found} files are not used. {names}"
    if len(broken) > survey.max_refused * survey.found:
        fix = f"repair or remove them; max_refused allows {survey.max_refused:.0%} of the files"
        return [health.error(code, message, fix, "max_refused")]
    if code == "label.match":
        fix = "files and labels came apart: find out how before any training"
        return [health.error(code, message, fix)]
    return [health.info(code, message, "nothing, or repair them")]


def refused_by(code: str, line: str) -> Check:
    """A check that reports what a rule refused."""
    return on_files(code, lambda survey: refusals(survey, code), line)


def parse(survey: Survey) -> list[Finding]:
    """Every name is read, written again and the same, and gives its record's label."""
    wrong = [r.id for r in survey.records if str(emotions.parse(survey.stem(r.path.name))) != str(r.name)]
    found = refusals(survey, "labels.parse")
    if wrong:
        message = f"{len(wrong)} names do not come back as they were: {health.first(wrong)}"
        found.append(health.error("labels.parse", message, "the parser and its format disagree"))
    return found


def groups(survey: Survey) -> list[Finding]:
    """No actor and no take stands in two splits."""
    actors = {split: [record.actor for record in records] for split, records in survey.splits.items()}
    takes = {split: [record.take for record in records] for split, records in survey.splits.items()}
    return health.group_overlap("actors", actors) + health.group_overlap("takes", takes)


def stable(survey: Survey) -> list[Finding]:
    """Listed in another order, every record comes into the same split."""
    again = survey.split_again(list(reversed(survey.records)))
    moved = [record.id for record in survey.records if again[record.id] != survey.split_of[record.id]]
    if not moved:
        return []
    message = f"{len(moved)} records change their split with the order of the listing: "
    fix = "a split is a function of names and seed alone"
    return [health.error("split.stable", message + health.first(moved), fix)]


def balance(survey: Survey) -> list[Finding]:
    """Every class occurs in every split, none under 5 %."""
    if not survey.records:
        return []
    labels = {split: [record.label for record in records] for split, records in survey.splits.items()}
    return health.balance(labels, emotions.CLASSES)


CHECKS = (
    on_files("labels.nonempty", nonempty),
    on_files("labels.parse", parse),
    refused_by("files.there", "Every listed file exists"),
    on_files("split.groups", groups),
    on_files("balance", balance),
    on_files("split.stable", stable),
)


def report(
    found: int, records: Sequence[Record], refused: Sequence[Refusal], splits: Splits
) -> dict[str, Any]:
    """See Survey.report."""
    named: list[dict[str, str]] = []
    for reason, _, _ in recordings.reasons(refused):
        some = [refusal for refusal in refused if refusal.reason == reason][:5]
        named += [{"file": str(refusal.path), "why": refusal.why} for refusal in some]
    tables = [_class_table(splits), _actor_table(splits), _reason_table(refused)]
    return {"found": found, "used": len(records), "refused": named, "tables": tables}


def _table(title: str, columns: list[str], rows: list[list[str]]) -> dict[str, Any]:
    return {"title": title, "columns": columns, "rows": rows}


def _class_table(splits: Splits) -> dict[str, Any]:
    counts = {split: Counter(record.label for record in records) for split, records in splits.items()}
    rows = [[name, *(str(counts[split][name]) for split in splits)] for name in emotions.CLASSES]
    rows.append(["all", *(str(len(records)) for records in splits.values())])
    shares = [max(counts[s].values(), default=0) / max(1, len(splits[s])) for s in splits]
    rows.append(["majority baseline", *(f"{share:.3f}" for share in shares)])
    return _table("Samples by class", ["class", *splits], rows)


def _actor_table(splits: Splits) -> dict[str, Any]:
    rows = []
    for split, records in splits.items():
        counts = Counter(record.actor for record in records)
        spread = f"{min(counts.values())} to {max(counts.values())}" if counts else "-"
        names = health.first(sorted(counts), 6) or "-"
        rows.append([split, str(len(counts)), spread, names])
    return _table("Actors by split", ["split", "actors", "samples each", "who"], rows)


def _reason_table(refused: Sequence[Refusal]) -> dict[str, Any]:
    rows = [[reason, str(count), first.path.name] for reason, count, first in recordings.reasons(refused)]
    return _table("Files not used", ["why", "files", "first"], rows)
