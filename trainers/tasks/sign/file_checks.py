"""The checks of corpus, glosses and splits of sign language. Standard library only."""

from collections import Counter
from dataclasses import replace

from trainers.data.refusal_checks import nonempty, refused_by
from trainers.data.sign.files import Listing, scan
from trainers.engine import health
from trainers.engine.check import on_files
from trainers.engine.health import Finding
from trainers.tasks import wer
from trainers.tasks.vocabulary import BLANK, UNKNOWN, Vocabulary

__all__ = ["CHECKS", "scan"]

MOST_UNKNOWN = 0.25
"""Maximum share of the glosses of val or test that train lacks."""


def groups(listing: Listing) -> list[Finding]:
    """With the protocol si5, no signer of val or test is in train (the other protocols share signers)."""
    if listing.protocol != "si5":
        return []
    signers = {split: [record.signer for record in records] for split, records in listing.splits.items()}
    pairs = {"train": signers["train"], "val or test": signers["val"] + signers["test"]}
    fix = "the three SI5 corpus files do not belong together"
    return [replace(finding, fix=fix) for finding in health.group_overlap("signers", pairs)]


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
    """At most a quarter of the glosses of val and of test are not in train; those are reported."""
    vocabulary = _vocabulary(listing)
    return [f for split in ("val", "test") for f in _unknown_glosses(listing, vocabulary, split)]


def _unknown_glosses(listing: Listing, vocabulary: Vocabulary, split: str) -> list[Finding]:
    words = [word for record in listing.splits[split] for word in record.words]
    missing = Counter(vocabulary.missing(words))
    if not missing:
        return []
    share = missing.total() / len(words)
    what = "left out of the targets" if listing.config.oov == "drop" else f"{UNKNOWN} in the targets"
    message = (
        f"{missing.total()} of {len(words)} glosses of {split} ({len(missing)} different) are not in "
        f"train: {health.first([word for word, _ in missing.most_common()])}; {what}, and errors: "
        f"the WER of {split} cannot be below {100 * share:.1f} %"
    )
    folded = {word.lower() for word in vocabulary.words}
    alike = sum(count for word, count in missing.items() if word.lower() in folded)
    fix = "take the three corpus files from one release"
    if 2 * alike > missing.total():
        fix = f"{alike} of them differ from glosses of train in upper and lower case only: write them alike"
    if share > MOST_UNKNOWN:
        return [health.error("vocab.oov", message, fix)]
    return [health.warning("vocab.oov", message, fix if alike else "none, if so few are expected")]


def official_floor(listing: Listing) -> list[Finding]:
    """The lowest wer_official that the gloss filter allows is reported."""
    vocabulary = _vocabulary(listing)
    floors = []
    for split in ("val", "test"):
        records = listing.splits[split]
        known = [[word for word in record.words if word in vocabulary] for record in records]
        edits = [
            wer.official_errors(record.annotation, words, listing.protocol)
            for record, words in zip(records, known, strict=True)
        ]
        total = sum(each.words for each in edits)
        if total and any(each.edits for each in edits):
            floors.append(f"{100 * sum(each.edits for each in edits) / total:.1f} % on {split}")
    if not floors:
        return []
    message = f"wer_official scores glosses that no hypothesis can have: at best {', '.join(floors)}"
    fix = "set gloss_filter: none to compare with published results"
    return [health.info("wer.floor", message, fix, "gloss_filter")]


CHECKS = (
    on_files("labels.nonempty", nonempty),
    refused_by("labels.parse", "Every sentence of train has a gloss"),
    on_files("split.groups", groups),
    on_files("vocab.roundtrip", round_trip),
    on_files("vocab.oov", unknown_glosses),
    on_files("wer.floor", official_floor),
    refused_by("files.there", "Every feature file holds its content"),
    refused_by("schema.keys", "Every sentence has a readable file of landmarks (T, 6516) or (T, 1629)"),
    refused_by("ctc.length", "Every sentence is long enough for its glosses"),
)
