"""The checks of corpus, glosses and splits of sign language. Standard library only."""

from collections import Counter

from trainers.data.refusal_checks import nonempty, refused_by
from trainers.data.sign.files import Listing, scan
from trainers.engine import health
from trainers.engine.check import on_files
from trainers.engine.health import Finding
from trainers.tasks.vocabulary import BLANK, UNKNOWN, Vocabulary

__all__ = ["CHECKS", "scan"]


def groups(listing: Listing) -> list[Finding]:
    """With the protocol si5, no signer of val or test is in train (the other protocols share signers)."""
    signers = {split: {record.signer for record in records} for split, records in listing.splits.items()}
    shared = sorted(signers["train"] & (signers["val"] | signers["test"]))
    if listing.protocol != "si5" or not shared:
        return []
    message = f"signer independent, yet {health.first(shared)} signs in train and in val or test"
    return [health.error("split.groups", message, "the three SI5 corpus files do not belong together")]


def _vocabulary(listing: Listing) -> Vocabulary:
    return Vocabulary.of((r.words for r in listing.splits["train"]), listing.config.oov == "unk")


def round_trip(listing: Listing) -> list[Finding]:
    """Glosses map to ids and back without change, and no gloss is named like the blank."""
    vocabulary = _vocabulary(listing)
    bad = [word for word in vocabulary.words[1:] if vocabulary.glosses(vocabulary.targets([word])) != [word]]
    bad += sorted({g for r in listing.records for g in r.glosses if g in (BLANK, UNKNOWN)})
    if not bad:
        return []
    message = f"these words change when mapped to ids and back: {health.first(bad)}"
    return [health.error("vocab.roundtrip", message, f"rename glosses called {BLANK} or {UNKNOWN}")]


def unknown_glosses(listing: Listing) -> list[Finding]:
    """Glosses of val and test that are not in train are reported."""
    vocabulary, findings = _vocabulary(listing), []
    for split in ("val", "test"):
        records = listing.splits[split]
        missing = Counter(word for record in records for word in vocabulary.missing(record.words))
        if missing:
            total = sum(len(record.words) for record in records)
            drop = listing.config.oov == "drop"
            what = "left out of the targets" if drop else f"{UNKNOWN} in the targets"
            message = (
                f"{missing.total()} of {total} glosses of {split} ({len(missing)} different) are not in "
                f"train: {health.first([word for word, _ in missing.most_common()])}; {what}, and errors"
            )
            findings.append(health.info("vocab.oov", message))
    return findings


CHECKS = (
    on_files("labels.nonempty", nonempty),
    refused_by("labels.parse", "Every sentence of train has a gloss"),
    on_files("split.groups", groups),
    on_files("vocab.roundtrip", round_trip),
    on_files("vocab.oov", unknown_glosses),
    refused_by("schema.keys", "Every sentence has a readable file of landmarks (T, 6516) or (T, 1629)"),
    refused_by("ctc.length", "Every sentence is long enough for its glosses", named=10**9),
)
