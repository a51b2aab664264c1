"""File checks of columns, labels, values and splits, and the data report. Standard library only."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from trainers.blendshapes import duplicates, files, names, splitting
from trainers.blendshapes.config import Config
from trainers.blendshapes.duplicates import EqualFaces
from trainers.blendshapes.files import Listing, Row
from trainers.data import refusal_checks, splits
from trainers.data.refusal import Refusal
from trainers.data.refusal_checks import nonempty
from trainers.engine import health
from trainers.engine.check import Check, on_files
from trainers.engine.health import Finding


@dataclass(frozen=True)
class Survey:
    """All rows and their splits, as the checks below receive them. `split_of` maps row ids to splits."""

    listing: Listing
    split_of: Mapping[str, str]
    config: Config

    @property
    def records(self) -> tuple[Row, ...]:
        """The usable rows."""
        return self.listing.rows

    @property
    def refused(self) -> tuple[Refusal, ...]:
        """The rows and files that are not used, with reasons."""
        return self.listing.refused

    @cached_property
    def splits(self) -> dict[str, list[Row]]:
        """The rows of each split."""
        return splitting.by_split(self.records, self.split_of)

    @cached_property
    def equal_faces(self) -> list[EqualFaces]:
        """The rows that have the values of a row in another split or with another label."""
        return duplicates.find(self.records, self.split_of)

    @property
    def count(self) -> int:
        """Number of rows, used or refused; an unreadable file counts as one."""
        return self.listing.count

    @property
    def max_refused(self) -> float:
        """The largest accepted share of broken rows."""
        return self.config.max_refused

    noun = "rows"
    needed = "there must be CSV or NPZ files with rows of every class for train and val"

    def report(self) -> dict[str, Any]:
        """Return the `data` section of the check report: counts, refused rows and a table of classes."""
        tables = [_class_table(self.splits, self.config), *_label_table(self.records)]
        tables += duplicates.table(self.equal_faces, self.split_of)
        return refusal_checks.report(self, tables)


def scan(folders: Mapping[str, Path], config: Config) -> Survey:
    """Read all rows below the folders and assign their splits."""
    listing = files.scan(folders, config)
    split_of = splitting.split_rows(listing.rows, config)
    dropped = duplicates.to_drop(duplicates.find(listing.rows, split_of), split_of)
    if config.duplicates == "drop" and dropped:
        lines = {(str(refusal.path), refusal.line) for refusal in dropped}
        rows = tuple(row for row in listing.rows if (str(row.path), row.line) not in lines)
        listing = replace(listing, rows=rows, refused=(*listing.refused, *dropped))
    if excess := splitting.excess(listing.rows, split_of, config):
        rows = tuple(row for row in listing.rows if row.id not in excess)
        reason = f"left out by the option max_per_class: {config.max_per_class}"
        left_out = [
            Refusal(str(row.path), "labels.parse", reason, row.label, False, row.line)
            for row in listing.rows
            if row.id in excess
        ]
        listing = replace(listing, rows=rows, refused=(*listing.refused, *left_out))
    return Survey(listing, split_of, config)


def refusals(survey: Survey, code: str) -> list[Finding]:
    """Return a finding about the rows that the rule `code` refused; none if it refused no row.

    A refused file is an error. Refused rows are an error if this rule alone exceeds `max_refused`, or if all
    rules together exceed it and this one refused the most; otherwise they are only reported.
    """
    allowed = survey.config.max_refused
    broken = [refusal for refusal in survey.refused if refusal.broken]
    some = [refusal for refusal in broken if refusal.code == code]
    if not some:
        return []
    files_refused = [refusal for refusal in some if not refusal.line]
    text = "; ".join(f"{r.name}: {r.why}" for r in (files_refused or some)[:5])
    if files_refused:
        return [health.error(code, text, "repair or remove the file")]
    counts = Counter(refusal.code for refusal in broken)
    budget = allowed * survey.listing.count
    message = f"{len(some)} of {survey.listing.count} rows are not used. {text}"
    if counts[code] > budget or (len(broken) > budget and code == counts.most_common(1)[0][0]):
        return [health.error(code, message, _mend(code, some, allowed), "max_refused")]
    return [health.info(code, message, "nothing, or repair them")]


def _mend(code: str, some: Sequence[Refusal], allowed: float) -> str:
    budget = f"max_refused allows {allowed:.0%} of the rows"
    if code == "feature.unit" and any("outside" in refusal.reason for refusal in some):
        return f"use MediaPipe's scores, from 0 to 1: the model normalises by itself; {budget}"
    return f"repair or remove them; {budget}"


def layout(survey: Survey) -> list[Finding]:
    """Every file has the columns of the model, in MediaPipe's order."""
    findings, listing = refusals(survey, "schema.layout"), survey.listing
    if listing.reordered:
        # Training matches columns by name, but the exported model takes a plain vector in MediaPipe's order.
        message = f"the columns of {health.first(listing.reordered)} are not in MediaPipe's order"
        fix = "training matches columns by name; the exported model expects MediaPipe's order: reorder them"
        findings.append(health.warning("schema.layout", message, fix))
    return findings


def refused_by(code: str, line: str) -> Check:
    """Return a check that reports the rows which the rule `code` refused; `line` describes the check."""
    return on_files(code, lambda survey: refusals(survey, code), line)


MOST_DIGITS = 5


def digits(rows: Iterable[Row]) -> int | None:
    """Return the number of decimals to which all values are rounded; None if it exceeds MOST_DIGITS."""
    least = 0
    for row in rows:
        for value in row.values:
            while abs(value * 10**least - round(value * 10**least)) > 10**least * 3e-8:
                least += 1
                if least > MOST_DIGITS:
                    return None
    return least


def truncation(survey: Survey) -> list[Finding]:
    """Scores are not rounded, and every class has faces that no other class has."""
    rows, classes = survey.records, survey.config.classes
    labels: dict[str, set[str]] = defaultdict(set)
    for row in rows:
        labels[row.content].add(row.label)
    counts = Counter(row.label for row in rows)
    own = Counter(next(iter(names)) for names in labels.values() if len(names) == 1)
    rounded = digits(rows) if rows else None
    how = "" if rounded is None else f" (every value is rounded to {rounded} decimals)"
    gone = [name for name in classes if counts[name] and not own[name]]
    few = [name for name in classes if counts[name] and 0 < own[name] < 0.5 * counts[name]]
    fix = "use MediaPipe's unrounded scores: rounding makes different faces equal"
    if gone:
        message = f"every row of {health.first(gone)} equals a row of another class{how}"
        return [health.error("dtype.truncate", message, fix)]
    if few:
        text = ", ".join(f"{name} has {own[name]} different faces in {counts[name]} rows" for name in few)
        return [health.warning("dtype.truncate", text + how, fix)]
    if rounded is not None:
        return [health.warning("dtype.truncate", f"every value is rounded to {rounded} decimals", fix)]
    return []


REPEATED = 0.1
"""A larger share of rows with the values of others points to a copied file, not to still faces of a video."""


def duplicate_rows(survey: Survey) -> list[Finding]:
    """No two splits have rows of the same values, such rows have one label, and few rows are repeated."""
    findings = refusals(survey, "dups")
    across = [equal.names for equal in survey.equal_faces if equal.across]
    twofold = [equal.names for equal in survey.equal_faces if equal.contradictory and not equal.across]
    fix = "set duplicates: drop, which counts against max_refused; the table lists them all"
    if across:
        message = f"{len(across)} faces are in two splits: {health.first(across)}"
        findings.append(health.error("dups", message, fix, "duplicates"))
    if twofold:
        message = f"{len(twofold)} faces have two labels: {health.first(twofold)}"
        findings.append(health.warning("dups", message, fix, "duplicates"))
    if near := duplicates.nearly_equal(survey.records, survey.split_of):
        message = f"{len(near)} faces are nearly equal to one of another split: {health.first(near)}"
        fix = "if they are the same faces, rounded in one file, write them unrounded in both"
        findings.append(health.warning("dups", message, fix))
    for split, repeats in duplicates.repeated(survey.records, survey.split_of).items():
        if len(repeats) > REPEATED * len(survey.splits[split]):
            message = f"{len(repeats)} rows of {split} repeat another row of it: {health.first(repeats)}"
            fix = (
                "remove copies of files: a row counts in training and in the metrics as often as it is there"
            )
            findings.append(health.warning("dups", message, fix))
    return findings


def groups(survey: Survey) -> list[Finding]:
    """No group occurs in two splits, nor does a picture whose rows have no group."""
    by_split = survey.splits
    members = {split: [row.person for row in rows if row.person] for split, rows in by_split.items()}
    pictures = {
        split: [row.picture for row in rows if row.source and not row.person]
        for split, rows in by_split.items()
    }
    fix = "keep all rows of a picture in one split; if they are several pictures, write their paths in `file`"
    shared = health.group_overlap("pictures (column `file`)", pictures)
    return [
        *_nameless(survey.listing),
        *health.group_overlap("groups", members),
        *(replace(finding, fix=fix) for finding in shared),
    ]


def _nameless(listing: Listing) -> list[Finding]:
    """Warn if all rows have the same `file`, which then does not identify pictures."""
    if not listing.nameless:
        return []
    same = health.first(listing.nameless)
    message = f"`file` is {same} in all rows and so no picture's name: only equal faces are kept in one split"
    fix = "write each row's picture in `file`, or its person in `group`: one picture may be in two splits now"
    return [health.warning("split.groups", message, fix)]


def named(survey: Survey) -> list[Finding]:
    """Files, folders or the column `split` name the split of every row or of none, each by one word."""
    pairs = [(row.split, survey.split_of[row.id]) for row in survey.records]
    return splits.findings(survey.listing.split_names, pairs, survey.noun)


def balance(survey: Survey) -> list[Finding]:
    """Every class occurs in every split, none under 5 %."""
    return health.balance(survey.splits, survey.config.classes)


def stable(survey: Survey) -> list[Finding]:
    """The split of a row does not depend on the order in which rows are listed."""
    if survey.config.duplicates == "drop" or survey.config.max_per_class:
        return []  # rows that are left out had a part in the drawing
    again = splitting.split_rows(list(reversed(survey.records)), survey.config)
    return splits.moved([row.id for row in survey.records], survey.split_of, again)


CHECKS = (
    on_files("labels.nonempty", nonempty),
    refused_by("labels.parse", "Every label is an emotion and every split one of train, val, test"),
    on_files("schema.layout", layout),
    refused_by("feature.unit", "Every score is a number from 0 to 1"),
    on_files("dtype.truncate", truncation),
    refused_by("files.there", "Every file holds its content"),
    on_files("split.named", named),
    on_files("split.groups", groups),
    on_files("dups", duplicate_rows),
    on_files("balance", balance),
    on_files("split.stable", stable),
)


def _class_table(splits: Mapping[str, Sequence[Row]], config: Config) -> dict[str, Any]:
    classes = refusal_checks.class_table("Rows by class", splits, config.classes)
    groups = [str(len({row.group for row in rows})) for rows in splits.values()]
    return {**classes, "rows": [*classes["rows"], ["groups", *groups]]}


def _label_table(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """The labels that are written in other words than the emotions, and what they are read as."""
    counts = Counter(row.written for row in rows)
    other = sorted((written, n) for written, n in counts.items() if written.lower() not in names.LABELS)
    meaning = {row.written: row.label for row in rows}
    cells = [[written, meaning[written], str(n)] for written, n in other]
    return [refusal_checks.table("Labels read as", ("written", "emotion", "rows"), cells)] if cells else []
