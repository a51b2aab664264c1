"""File checks of columns, labels, values and splits, and the data report. Standard library only."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from trainers.blendshapes import files
from trainers.blendshapes.config import Config
from trainers.blendshapes.files import Listing, Row
from trainers.data import refusal_checks
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
        return files.by_split(self.records, self.split_of)

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
        return refusal_checks.report(self, [_class_table(self.splits, self.config)])


def scan(folders: Mapping[str, Path], config: Config) -> Survey:
    """Read all rows below the folders and assign their splits."""
    listing = files.scan(folders, config)
    return Survey(listing, files.split_rows(listing.rows, config), config)


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
        message = f"the columns of {health.first(listing.reordered)} do not stand in MediaPipe's order"
        fix = "training matches columns by name; the exported model expects MediaPipe's order: reorder them"
        findings.append(health.warning("schema.layout", message, fix))
    return findings


def refused_by(code: str, line: str) -> Check:
    """Return a check that reports the rows which the rule `code` refused; `line` describes the check."""
    return on_files(code, lambda survey: refusals(survey, code), line)


def digits(rows: Iterable[Row], most: int = 5) -> int | None:
    """Return the number of decimals to which all values are rounded; None if it exceeds `most`."""
    least = 0
    for row in rows:
        for value in row.values:
            while abs(value * 10**least - round(value * 10**least)) > 10**least * 3e-8:
                least += 1
                if least > most:
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


def duplicates(survey: Survey) -> list[Finding]:
    """No two splits contain rows with identical values."""
    ids: dict[str, dict[str, str]] = defaultdict(dict)
    for split, rows in survey.splits.items():
        for row in rows:
            ids[row.content].setdefault(split, row.id)
    shared = [" = ".join(by_split.values()) for by_split in ids.values() if len(by_split) > 1]
    if not shared:
        return []
    message = f"{len(shared)} faces stand in two splits: {health.first(shared)}"
    return [health.error("dups", message, "remove them from train: a test on training data says nothing")]


def groups(survey: Survey) -> list[Finding]:
    """No group occurs in two splits, nor does a picture whose rows have no group."""
    splits = survey.splits
    members = {split: [row.person for row in rows if row.person] for split, rows in splits.items()}
    pictures = {
        split: [row.source for row in rows if row.source and not row.person] for split, rows in splits.items()
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


def balance(survey: Survey) -> list[Finding]:
    """Every class occurs in every split, none under 5 %."""
    if not survey.records:
        return []
    labels = {split: [row.label for row in rows] for split, rows in survey.splits.items()}
    return health.balance(labels, survey.config.classes)


def stable(survey: Survey) -> list[Finding]:
    """The split of a row does not depend on the order in which rows are listed."""
    again = files.split_rows(list(reversed(survey.records)), survey.config)
    moved = [row.id for row in survey.records if again[row.id] != survey.split_of[row.id]]
    if not moved:
        return []
    message = f"{len(moved)} rows change their split with the order of the listing: {health.first(moved)}"
    return [health.error("split.stable", message, "compute the split from content and seed alone")]


CHECKS = (
    on_files("labels.nonempty", nonempty),
    refused_by("labels.parse", "Every label is an emotion and every split one of train, val, test"),
    on_files("schema.layout", layout),
    refused_by("feature.unit", "Every score is a number from 0 to 1"),
    on_files("dtype.truncate", truncation),
    on_files("split.groups", groups),
    on_files("dups", duplicates),
    on_files("balance", balance),
    on_files("split.stable", stable),
)


def _class_table(splits: Mapping[str, Sequence[Row]], config: Config) -> dict[str, Any]:
    counts = {split: Counter(row.label for row in rows_of) for split, rows_of in splits.items()}
    rows = [[name, *(str(counts[split][name]) for split in splits)] for name in config.classes]
    rows.append(["all", *(str(len(rows_of)) for rows_of in splits.values())])
    shares = [max(counts[s].values(), default=0) / max(1, len(splits[s])) for s in splits]
    rows.append(["majority baseline", *(f"{share:.3f}" for share in shares)])
    rows.append(["groups", *(str(len({row.group for row in rows_of})) for rows_of in splits.values())])
    return refusal_checks.table("Rows by class", ("class", *splits), rows)
