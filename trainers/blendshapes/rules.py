"""What `check` asks of names, labels, values and splits, and the data's report. Standard library only."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from trainers.blendshapes import files, names
from trainers.blendshapes.config import DATA, Config
from trainers.blendshapes.files import Listing, Refusal, Row
from trainers.engine import health
from trainers.engine.health import Finding

CODES = (
    *("labels.nonempty", "labels.parse", "schema.layout", "feature.unit", "dtype.truncate"),
    *("split.groups", "split.stable", "dups", "balance"),
)

Splits = Mapping[str, Sequence[Row]]


def options(config: Config) -> list[Finding]:
    """Class sets that make no sense."""
    found = []
    if len(set(config.classes)) != len(config.classes) or len(config.classes) < 2:
        fix = "name two or more, each once"
        found.append(health.error("config.choice", f"classes is {list(config.classes)}", fix, "classes"))
    if config.others == names.OTHER and names.OTHER not in config.classes:
        seen = f"others is {names.OTHER}, which is none of the classes"
        found.append(health.error("config.choice", seen, f"add {names.OTHER} to classes", "others"))
    return found


def folders(data: Mapping[str, str], look: bool) -> list[Finding]:
    """The data folder by name; with `look`, also that it is there."""
    (wanted,) = DATA
    fix = f"{wanted} is a folder of {DATA[wanted]}"
    found = [
        health.error("data.folders", f"there is no data called `{name}`", fix, f"data.{name}")
        for name in data
        if name != wanted
    ]
    if look and wanted not in data:
        found.append(health.error("data.folders", "no data folder is given", fix, "data"))
    elif look and not Path(data[wanted]).is_dir():
        found.append(health.error("data.folders", f"{data[wanted]} is no folder", fix, f"data.{wanted}"))
    return found


def scan(data: Mapping[str, str], config: Config) -> Listing:
    """The rows of the folders that are there."""
    there = {name: Path(path) for name, path in data.items() if name in DATA and Path(path).is_dir()}
    return files.scan(there, config)


def nothing(split: str, listing: Listing) -> list[Finding]:
    """A split without a row, and why: the commonest reasons, each with its first row."""
    why = "; ".join(
        f"{count} x {reason} (first: {first.where}{' - ' + first.detail if first.detail else ''})"
        for reason, count, first in list(files.reasons(listing.refused))[:5]
    )
    seen = f"{split} holds no row; {listing.found} were found. {why or 'No row was refused'}"
    fix = "there must be CSV or NPZ files with rows of every class for train and val"
    return [health.error("labels.nonempty", seen, fix, "data")]


def nonempty(splits: Splits, listing: Listing) -> list[Finding]:
    """Train and val hold rows."""
    if not any(splits.values()):
        return nothing("the data", listing)
    return [f for split in ("train", "val") if not splits[split] for f in nothing(split, listing)]


def refusals(listing: Listing, allowed: float) -> list[Finding]:
    """One finding for each rule that refused rows. A whole file that is refused is an error, and once too
    many rows are broken so is the rule that refused most, and any that is over the budget alone."""
    broken = [refusal for refusal in listing.refused if refusal.broken]
    counts = Counter(refusal.code for refusal in broken)
    budget = allowed * listing.found
    over = {code for code in counts if counts[code] > budget}
    over |= {counts.most_common(1)[0][0]} if len(broken) > budget else set()
    return [
        _refused(code, [r for r in broken if r.code == code], listing, over, allowed)
        for code in sorted(counts)
    ]


def _refused(code: str, some: Sequence[Refusal], listing: Listing, over: set[str], allowed: float) -> Finding:
    whole = [refusal for refusal in some if not refusal.line]
    told = "; ".join(f"{r.where}: {r.why}" for r in (whole or some)[:5])
    if whole:
        return health.error(code, told, "repair or remove the file")
    seen = f"{len(some)} of {listing.found} rows are not used. {told}"
    if code in over:
        return health.error(code, seen, _mend(code, some, allowed), "max_refused")
    return health.info(code, seen, "nothing, or repair them")


def _mend(code: str, some: Sequence[Refusal], allowed: float) -> str:
    budget = f"max_refused allows {allowed:.0%} of the rows"
    if code == "feature.unit" and any("outside" in refusal.reason for refusal in some):
        return (
            f"give the scores as MediaPipe gives them, from 0 to 1: the model normalises by itself; {budget}"
        )
    return f"repair or remove them; {budget}"


def order(listing: Listing) -> list[Finding]:
    """Columns are taken by name, but a raw vector in this order would be wrong elsewhere."""
    if not listing.reordered:
        return []
    seen = f"the columns of {health.first(listing.reordered)} do not stand in MediaPipe's order"
    fix = "they are taken by name; write them in MediaPipe's order, which the exported model expects"
    return [health.warning("schema.layout", seen, fix)]


def digits(rows: Iterable[Row], most: int = 5) -> int | None:
    """The decimals to which every value is rounded, at most `most`; None for unrounded values."""
    least = 0
    for row in rows:
        for value in row.values:
            while abs(value * 10**least - round(value * 10**least)) > 10**least * 3e-8:
                least += 1
                if least > most:
                    return None
    return least


def truncation(rows: Sequence[Row], classes: Sequence[str]) -> list[Finding]:
    """Every class keeps faces of its own, and rounding has not made many faces equal."""
    labels: dict[str, set[str]] = defaultdict(set)
    for row in rows:
        labels[row.content].add(row.label)
    counts = Counter(row.label for row in rows)
    own = Counter(next(iter(held)) for held in labels.values() if len(held) == 1)
    rounded = digits(rows)
    how = "" if rounded is None else f" (every value is rounded to {rounded} decimals)"
    gone = [name for name in classes if counts[name] and not own[name]]
    few = [name for name in classes if counts[name] and 0 < own[name] < 0.5 * counts[name]]
    fix = "take the scores as MediaPipe gives them: rounding makes different faces equal"
    if gone:
        seen = f"every row of {health.first(gone)} equals a row of another class{how}"
        return [health.error("dtype.truncate", seen, fix)]
    if few:
        told = ", ".join(f"{name} has {own[name]} different faces in {counts[name]} rows" for name in few)
        return [health.warning("dtype.truncate", told + how, fix)]
    if rounded is not None:
        return [health.warning("dtype.truncate", f"every value is rounded to {rounded} decimals", fix)]
    return []


def duplicates(splits: Splits) -> list[Finding]:
    """The very same face in two splits."""
    homes: dict[str, dict[str, str]] = defaultdict(dict)
    for split, rows in splits.items():
        for row in rows:
            homes[row.content].setdefault(split, row.id)
    shared = [" = ".join(ids.values()) for ids in homes.values() if len(ids) > 1]
    if not shared:
        return []
    seen = f"{len(shared)} faces stand in two splits: {health.first(shared)}"
    return [health.error("dups", seen, "remove them from train: what is tested must not be learnt")]


def groups(splits: Splits) -> list[Finding]:
    """No group stands in two splits, nor a picture whose rows have no group."""
    members = {split: [row.group for row in rows if row.group] for split, rows in splits.items()}
    pictures = {
        split: [row.source for row in rows if row.source and not row.group] for split, rows in splits.items()
    }
    fix = "keep all rows of a picture in one split; if they are several pictures, write their paths in `file`"
    shared = health.group_overlap("pictures (column `file`)", pictures)
    return health.group_overlap("groups", members) + [replace(found, fix=fix) for found in shared]


def nameless(listing: Listing) -> list[Finding]:
    """A `file` that is the same in all rows names no picture."""
    if not listing.nameless:
        return []
    same = health.first(listing.nameless)
    seen = f"`file` is {same} in all rows and so no picture's name: only equal faces are kept in one split"
    fix = (
        "write each row's picture in `file`, or its person in `group`: copies of one may be in two splits now"
    )
    return [health.warning("split.groups", seen, fix)]


def stable(rows: Sequence[Row], home: Mapping[str, str], config: Config) -> list[Finding]:
    """Listed in another order, every row comes into the same split."""
    again = files.split_rows(list(reversed(rows)), config)
    moved = [row.id for row in rows if again[row.id] != home[row.id]]
    if not moved:
        return []
    seen = f"{len(moved)} rows change their split with the order of the listing: {health.first(moved)}"
    return [health.error("split.stable", seen, "a split is a function of content and seed alone")]


def check(listing: Listing, home: Mapping[str, str], config: Config) -> list[Finding]:
    """All of it."""
    splits = files.by_split(listing.rows, home)
    found = nonempty(splits, listing) + refusals(listing, config.max_refused) + order(listing)
    if listing.rows:
        found += truncation(listing.rows, config.classes)
        found += nameless(listing) + groups(splits) + duplicates(splits)
        labels = {split: [row.label for row in rows] for split, rows in splits.items()}
        found += health.balance(labels, config.classes) + stable(listing.rows, home, config)
    return found


def check_files(data: Mapping[str, str], config: Config) -> tuple[list[Finding], bool, dict[str, Any]]:
    """The tier `files`: findings, whether any row can be used, and the data's report."""
    listing = scan(data, config)
    home = files.split_rows(listing.rows, config)
    return check(listing, home, config), bool(listing.rows), report(listing, home, config)


def report(listing: Listing, home: Mapping[str, str], config: Config) -> dict[str, Any]:
    """The `data` of the report: counts, refused rows (five a reason), tables."""
    named: list[dict[str, str]] = []
    for reason, _, _ in files.reasons(listing.refused):
        some = [refusal for refusal in listing.refused if refusal.reason == reason][:5]
        named += [{"file": _place(refusal), "why": refusal.why} for refusal in some]
    splits = files.by_split(listing.rows, home)
    tables = [_class_table(splits, config), _reason_table(listing.refused)]
    return {"found": listing.found, "used": len(listing.rows), "refused": named, "tables": tables}


def _place(refusal: Refusal) -> str:
    return f"{refusal.path}:{refusal.line}" if refusal.line else str(refusal.path)


def _class_table(splits: Splits, config: Config) -> dict[str, Any]:
    counts = {split: Counter(row.label for row in held) for split, held in splits.items()}
    rows = [[name, *(str(counts[split][name]) for split in splits)] for name in config.classes]
    rows.append(["all", *(str(len(held)) for held in splits.values())])
    shares = [max(counts[s].values(), default=0) / max(1, len(splits[s])) for s in splits]
    rows.append(["majority baseline", *(f"{share:.3f}" for share in shares)])
    rows.append(["groups", *(str(len({row.unit for row in held})) for held in splits.values())])
    return {"title": "Rows by class", "columns": ["class", *splits], "rows": rows}


def _reason_table(refused: Sequence[Refusal]) -> dict[str, Any]:
    rows = [[reason, str(count), first.where] for reason, count, first in files.reasons(refused)]
    return {"title": "Rows not used", "columns": ["why", "rows", "first"], "rows": rows}
