"""What `check` asks of the names, labels and splits of recordings, and the report. Standard library only."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trainers.data import emotions, recordings
from trainers.data.recordings import Record, Refusal
from trainers.engine import health
from trainers.engine.health import Finding

CODES = ("labels.nonempty", "labels.parse", "files.there", "split.groups", "split.stable", "balance")

Splits = Mapping[str, Sequence[Record]]


@dataclass(frozen=True)
class Asker:
    """What differs between trainers: what their files are called, how a name is read off a path,
    how records are put into splits, and which share of broken files is put up with."""

    files: str
    stem: Callable[[str], str]
    split: Callable[[Sequence[Record]], Mapping[str, str]]
    max_refused: float


def folders(
    known: Mapping[str, str], data: Mapping[str, str], look: bool, beside: Iterable[str] = ()
) -> list[Finding]:
    """The data folders by name; with `look`, also that they are there, and one at least. Those of
    `beside` may be given and do not count as data."""
    main = [name for name in known if name not in beside]
    wants = f"the folders are {' and '.join(main)}, at least one of them"
    found = [
        health.error("data.folders", f"there is no data called `{name}`", wants, f"data.{name}")
        for name in data
        if name not in known
    ]
    if not look:
        return found
    if not any(name in main for name in data):
        found.append(health.error("data.folders", "no data folder is given", wants, "data"))
    for name, path in data.items():
        if name in known and not Path(path).is_dir():
            fix = f"{name} holds {known[name]}"
            found.append(health.error("data.folders", f"{path} is no folder", fix, f"data.{name}"))
    return found


def nothing(split: str, refused: Sequence[Refusal], found: int, files: str) -> list[Finding]:
    """A split without a sample, and why: the commonest reasons, each with its first file."""
    reasons = "; ".join(
        f"{count} x {reason} (first: {first.path.name}{' - ' + first.detail if first.detail else ''})"
        for reason, count, first in recordings.reasons(refused)[:5]
    )
    seen = f"{split} holds no sample; {found} files were found. {reasons or 'No file was refused'}"
    fix = f"look at these files; there must be {files} below the data folders, of some actors each"
    return [health.error("labels.nonempty", seen, fix, "data")]


def nonempty(splits: Splits, refused: Sequence[Refusal], found: int, files: str) -> list[Finding]:
    """Train and val hold samples; test too, unless its share is 0."""
    if not any(splits.values()):
        return nothing("the data", refused, found, files)
    return [
        finding
        for split in ("train", "val")
        if not splits[split]
        for finding in nothing(split, refused, found, files)
    ]


def refusals(refused: Sequence[Refusal], found: int, allowed: float) -> list[Finding]:
    """One finding for each rule that refused files; an error once too many are broken."""
    broken = [refusal for refusal in refused if refusal.broken]
    over = len(broken) > allowed * found
    findings = []
    for code in sorted({refusal.code for refusal in broken}):
        some = [refusal for refusal in broken if refusal.code == code]
        names = "; ".join(f"{r.path.name}: {r.why}" for r in some[:5])
        seen = f"{len(some)} of {found} files are not used. {names}"
        if over:
            fix = f"repair or remove them; max_refused allows {allowed:.0%} of the files"
            findings.append(health.error(code, seen, fix, "max_refused"))
        elif code == "label.match":
            fix = "files and labels came apart: find out how before any training"
            findings.append(health.error(code, seen, fix))
        else:
            findings.append(health.info(code, seen, "nothing, or repair them"))
    return findings


def parse(records: Sequence[Record], stem: Callable[[str], str]) -> list[Finding]:
    """Every name is read, written again and the same, and gives its record's label."""
    bad = [r.id for r in records if str(emotions.parse(stem(r.path.name))) != str(r.name)]
    if not bad:
        return []
    seen = f"{len(bad)} names do not come back as they were: {health.first(bad)}"
    return [health.error("labels.parse", seen, "the parser and its format disagree")]


def groups(splits: Splits) -> list[Finding]:
    """No actor and no take stands in two splits."""
    actors = {split: [record.actor for record in held] for split, held in splits.items()}
    takes = {split: [record.take for record in held] for split, held in splits.items()}
    return health.group_overlap("actors", actors) + health.group_overlap("takes", takes)


def stable(
    records: Sequence[Record], home: Mapping[str, str], split: Callable[[Sequence[Record]], Mapping[str, str]]
) -> list[Finding]:
    """Listed in another order, every record comes into the same split."""
    again = split(list(reversed(records)))
    moved = [record.id for record in records if again[record.id] != home[record.id]]
    if not moved:
        return []
    seen = f"{len(moved)} records change their split with the order of the listing: "
    fix = "a split is a function of names and seed alone"
    return [health.error("split.stable", seen + health.first(moved), fix)]


def balance(splits: Splits) -> list[Finding]:
    """Every class in every split, none under 5 %."""
    labels = {split: [record.label for record in held] for split, held in splits.items()}
    return health.balance(labels, emotions.CLASSES)


def check(
    records: Sequence[Record],
    refused: Sequence[Refusal],
    found: int,
    home: Mapping[str, str],
    asker: Asker,
) -> list[Finding]:
    """All of it."""
    splits = recordings.by_split(records, home)
    findings = nonempty(splits, refused, found, asker.files)
    findings += refusals(refused, found, asker.max_refused)
    if records:
        findings += parse(records, asker.stem) + groups(splits) + balance(splits)
        findings += stable(records, home, asker.split)
    return findings


def report(
    found: int, records: Sequence[Record], refused: Sequence[Refusal], home: Mapping[str, str]
) -> dict[str, Any]:
    """The `data` of the report: counts, refused files (five a reason), tables."""
    named: list[dict[str, str]] = []
    for reason, _, _ in recordings.reasons(refused):
        some = [refusal for refusal in refused if refusal.reason == reason][:5]
        named += [{"file": str(refusal.path), "why": refusal.why} for refusal in some]
    splits = recordings.by_split(records, home)
    tables = [_class_table(splits), _actor_table(splits), _reason_table(refused)]
    return {"found": found, "used": len(records), "refused": named, "tables": tables}


def _table(title: str, columns: list[str], rows: list[list[str]]) -> dict[str, Any]:
    return {"title": title, "columns": columns, "rows": rows}


def _class_table(splits: Splits) -> dict[str, Any]:
    counts = {split: Counter(record.label for record in held) for split, held in splits.items()}
    rows = [[name, *(str(counts[split][name]) for split in splits)] for name in emotions.CLASSES]
    rows.append(["all", *(str(len(held)) for held in splits.values())])
    shares = [max(counts[s].values(), default=0) / max(1, len(splits[s])) for s in splits]
    rows.append(["majority baseline", *(f"{share:.3f}" for share in shares)])
    return _table("Samples by class", ["class", *splits], rows)


def _actor_table(splits: Splits) -> dict[str, Any]:
    rows = []
    for split, held in splits.items():
        counts = Counter(record.actor for record in held)
        spread = f"{min(counts.values())} to {max(counts.values())}" if counts else "-"
        names = health.first(sorted(counts), 6) or "-"
        rows.append([split, str(len(counts)), spread, names])
    return _table("Actors by split", ["split", "actors", "samples each", "who"], rows)


def _reason_table(refused: Sequence[Refusal]) -> dict[str, Any]:
    rows = [[reason, str(count), first.path.name] for reason, count, first in recordings.reasons(refused)]
    return _table("Files not used", ["why", "files", "first"], rows)
