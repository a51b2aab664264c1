"""`prepare slowfast --ravdess DIR --crema DIR`: the manifest. Standard library only."""

from collections.abc import Mapping
from pathlib import Path

from trainers.data import recording_rules
from trainers.engine.events import Events
from trainers.slowfast import files, manifest, rules
from trainers.slowfast.config import Config


def run(sources: Mapping[str, Path], to: Path, seed: int, events: Events) -> dict[str, object]:
    """Write `to`/manifest.csv: every video found, with its split, or why it is left out."""
    config = Config(seed=seed)
    chosen = files.choose(sources, config)
    listing = chosen.listing
    findings = rules.check(listing.records, listing.refused, chosen, config)
    manifest.write(to / manifest.NAME, listing, chosen.home, sources)
    events("progress", phase="prepare", step=listing.found, of=listing.found)
    return {
        "manifest": str(to / manifest.NAME),
        "checked": list(recording_rules.CODES),
        "findings": [finding.as_dict() for finding in findings],
        "data": rules.report(listing.found, listing.records, listing.refused, chosen.home),
    }
