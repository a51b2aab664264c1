"""Checks and report about refused samples, for all kinds of data. Standard library only."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from trainers.data.refusal import Refusal, reasons
from trainers.engine import health
from trainers.engine.check import Check, on_files
from trainers.engine.health import Finding

NAMED, LISTED = 5, 200
"""Maximum number of refusals that a message names per rule, and a report per reason."""


class Listed(Protocol):
    """A listing of data, made from file names: the argument of the checks of the tier `files`."""

    @property
    def count(self) -> int:
        """The number of samples found, used or not."""
        ...

    @property
    def refused(self) -> Sequence[Refusal]:
        """The samples that are not used, with reasons."""
        ...

    @property
    def splits(self) -> Mapping[str, Sequence[Any]]:
        """The usable records of each split."""
        ...

    @property
    def max_refused(self) -> float:
        """The maximum fraction of broken samples."""
        ...

    @property
    def noun(self) -> str:
        """The word for samples in messages: files, rows, sentences."""
        ...

    @property
    def needed(self) -> str:
        """The fix if there is no sample: which files are required."""
        ...


def no_samples(listing: Listed, split: str) -> list[Finding]:
    """An error for an empty split, with the commonest reasons and the first refusal of each."""
    why = "; ".join(
        f"{count} x {text} (first: {first.name}{' - ' + first.detail if first.detail else ''})"
        for text, count, first in reasons(listing.refused)[:NAMED]
    )
    message = (
        f"{split} holds no sample; {listing.count} {listing.noun} were found. {why or 'None was refused'}"
    )
    return [health.error("labels.nonempty", message, listing.needed, "data")]


def nonempty(listing: Listed) -> list[Finding]:
    """Train and val have samples."""
    if not any(listing.splits.values()):
        return no_samples(listing, "the data")
    return [f for split in ("train", "val") if not listing.splits[split] for f in no_samples(listing, split)]


def refusals(listing: Listed, code: str) -> list[Finding]:
    """A finding about samples that the rule `code` refused; an error beyond `max_refused` broken ones."""
    allowed = listing.max_refused
    broken = [refusal for refusal in listing.refused if refusal.broken]
    some = [refusal for refusal in broken if refusal.code == code]
    if not some:
        return []
    names = "; ".join(f"{refusal.name}: {refusal.why}" for refusal in some[:NAMED])
    more = f"; and {len(some) - NAMED} more" if len(some) > NAMED else ""
    message = f"{len(some)} of {listing.count} {listing.noun} are not used. {names}{more}"
    if len(broken) > allowed * listing.count:
        fix = f"repair or remove them; max_refused allows {allowed:.0%} of the {listing.noun}"
        return [health.error(code, message, fix, "max_refused")]
    if code == "label.match":
        fix = f"labels do not belong to their {listing.noun}: find the cause before a training"
        return [health.error(code, message, fix)]
    return [health.info(code, message, "nothing, or repair them")]


def refused_by(code: str, line: str) -> Check:
    """Create a check that reports the samples that the rule `code` refused."""
    return on_files(code, lambda listing: refusals(listing, code), line)


def table(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> dict[str, Any]:
    """A table of the check report, as JSON."""
    return {"title": title, "columns": list(columns), "rows": [list(row) for row in rows]}


def class_table(title: str, splits: Mapping[str, Sequence[Any]], classes: Sequence[str]) -> dict[str, Any]:
    """A table of the records of each class and split, with their sums and the share of the largest class."""
    counts = {split: Counter(record.label for record in records) for split, records in splits.items()}
    rows = [[name, *(str(counts[split][name]) for split in splits)] for name in classes]
    rows.append(["all", *(str(len(records)) for records in splits.values())])
    shares = [max(counts[s].values(), default=0) / max(1, len(splits[s])) for s in splits]
    rows.append(["majority baseline", *(f"{share:.3f}" for share in shares)])
    return table(title, ("class", *splits), rows)


def report(listing: Listed, tables: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The `data` of the check report: counts, refusals (up to LISTED per reason), and tables.

    A table of the reasons is added to `tables`.
    """
    why = reasons(listing.refused)
    by_reason = [[other for other in listing.refused if other.reason == reason.text] for reason in why]
    first_ones = [refusal for some in by_reason for refusal in some[:NAMED]]
    others = [refusal for some in by_reason for refusal in some[NAMED:LISTED]]
    named = [{"file": refusal.location, "why": refusal.why} for refusal in (*first_ones, *others)]
    rows = [(text, str(count), first.name) for text, count, first in why]
    last = table(f"{listing.noun.capitalize()} not used", ("why", listing.noun, "first"), rows)
    used = sum(len(records) for records in listing.splits.values())
    return {"samples": listing.count, "used": used, "refused": named, "tables": [*tables, last]}
