"""What `check` asks of corpus, names and splits, and the data's report. Standard library only."""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from trainers.data.sign import files
from trainers.data.sign.config import SignConfig
from trainers.data.sign.files import Listing, Record, Refusal
from trainers.engine import health
from trainers.engine.health import Finding
from trainers.tasks.vocabulary import BLANK, UNKNOWN, Vocabulary

CODES = ("labels.nonempty", "labels.parse", "split.groups", "vocab.roundtrip", "vocab.oov", "schema.layout")


def nothing(split: str, refused: Sequence[Refusal], found: int) -> list[Finding]:
    """A split without a sample, and why: the commonest reasons, each with its first sentence."""
    reasons = "; ".join(
        f"{count} x {reason} (first: {first.id}{' - ' + first.detail if first.detail else ''})"
        for reason, count, first in files.reasons(refused)[:5]
    )
    seen = f"{split} holds no sample; the corpus has {found} sentences. {reasons or 'None was refused'}"
    fix = "each sentence has features in features/<split>/<id>.npz or .npy below the data folder"
    return [health.error("labels.nonempty", seen, fix, "data")]


def nonempty(splits: Mapping[str, Sequence[Record]], refused: Sequence[Refusal], found: int) -> list[Finding]:
    """Train and val hold samples."""
    if not any(splits.values()):
        return nothing("the data", refused, found)
    return [f for split in ("train", "val") if not splits[split] for f in nothing(split, refused, found)]


def refusals(refused: Sequence[Refusal], found: int, allowed: float) -> list[Finding]:
    """One finding for each rule that refused sentences; an error once too many are broken."""
    broken = [refusal for refusal in refused if refusal.broken]
    over = len(broken) > allowed * found
    findings = []
    for code in sorted({refusal.code for refusal in broken}):
        some = [refusal for refusal in broken if refusal.code == code]
        names = "; ".join(f"{r.id}: {r.why}" for r in some[: len(some) if code == "ctc.length" else 5])
        seen = f"{len(some)} of {found} sentences are not used. {names}"
        if over:
            fix = f"repair or remove them; max_refused allows {allowed:.0%} of the sentences"
            findings.append(health.error(code, seen, fix, "max_refused"))
        else:
            findings.append(health.info(code, seen, "nothing, or repair them"))
    return findings


def groups(listing: Listing, splits: Mapping[str, Sequence[Record]]) -> list[Finding]:
    """SI5 is about a signer that training never saw; the other protocols share theirs by design."""
    signers = {split: {record.signer for record in held} for split, held in splits.items()}
    if listing.protocol != "si5":
        return []
    shared = sorted(signers["train"] & (signers["val"] | signers["test"]))
    if not shared:
        return []
    seen = f"signer independent, yet {health.first(shared)} signs in train and in val or test"
    return [health.error("split.groups", seen, "the three SI5 corpus files do not belong together")]


def vocabulary(records: Sequence[Record], oov: str) -> list[Finding]:
    """Ids and words map back and forth, the blank is id 0 and no gloss; what train lacks is counted."""
    splits = files.by_split(records)
    held = Vocabulary.of((record.words for record in splits["train"]), oov == "unk")
    found = []
    bad = [word for word in held.words[1:] if held.glosses(held.targets([word])) != [word]]
    named = sorted({g for r in records for g in r.glosses if g in (BLANK, UNKNOWN)})
    if bad or named or held.words[0] != BLANK:
        seen = f"these words do not come back as they went in: {health.first(bad + named)}"
        found.append(health.error("vocab.roundtrip", seen, f"{BLANK} and {UNKNOWN} are no glosses"))
    for split in ("val", "test"):
        missing = Counter(word for record in splits[split] for word in held.missing(record.words))
        if missing:
            total = sum(len(record.words) for record in splits[split])
            what = "left out of the targets" if oov == "drop" else f"{UNKNOWN} in the targets"
            seen = (
                f"{missing.total()} of {total} glosses of {split} ({len(missing)} different) are not in "
                f"train: {health.first([word for word, _ in missing.most_common()])}; {what}, and errors"
            )
            found.append(health.info("vocab.oov", seen))
    return found


def check(
    listing: Listing, records: Sequence[Record], refused: Sequence[Refusal], config: SignConfig
) -> list[Finding]:
    """All of it."""
    splits = files.by_split(records)
    findings = nonempty(splits, refused, listing.found)
    findings += refusals(refused, listing.found, config.max_refused)
    if records:
        findings += groups(listing, splits) + vocabulary(records, config.oov)
    return findings


def check_files(data: Mapping[str, str], config: SignConfig) -> tuple[list[Finding], bool, dict[str, Any]]:
    """The tier `files`: findings, whether any sentence can be used, and the data's report."""
    try:
        listing = files.scan(Path(data.get("phoenix", "")), config)
    except files.BadFolder as fault:
        empty = {"found": 0, "used": 0, "refused": [], "tables": []}
        return [health.error(fault.code, fault.message, fault.fix)], False, empty
    findings = check(listing, listing.records, listing.refused, config)
    table = report(listing.found, listing.records, listing.refused)
    return findings, bool(listing.records), table


def report(found: int, records: Sequence[Record], refused: Sequence[Refusal]) -> dict[str, Any]:
    """The `data` of the report: counts, refused sentences (five a reason), tables."""
    named: list[dict[str, str]] = []
    for reason, _, _ in files.reasons(refused):
        some = [refusal for refusal in refused if refusal.reason == reason][:5]
        named += [{"file": refusal.id, "why": refusal.why} for refusal in some]
    rows = [[reason, str(count), first.id] for reason, count, first in files.reasons(refused)]
    tables = [_split_table(records), _table("Sentences not used", ["why", "sentences", "first"], rows)]
    return {"found": found, "used": len(records), "refused": named, "tables": tables}


def _table(title: str, columns: list[str], rows: list[list[str]]) -> dict[str, Any]:
    return {"title": title, "columns": columns, "rows": rows}


def _split_table(records: Sequence[Record]) -> dict[str, Any]:
    rows = []
    for split, held in files.by_split(records).items():
        glosses = Counter(word for record in held for word in record.words)
        signers = sorted({record.signer for record in held})
        once = sum(count == 1 for count in glosses.values())
        counts = [str(n) for n in (len(held), glosses.total(), len(glosses), once)]
        rows.append([split, *counts, health.first(signers, 6) or "-"])
    columns = ["split", "sentences", "glosses", "different", "seen once", "signers"]
    return _table("Sentences by split", columns, rows)
