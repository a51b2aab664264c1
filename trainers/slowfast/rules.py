"""What `check` asks of names, labels, splits and manifest, and the data's report. Standard library only."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from trainers.data import folds, recording_rules
from trainers.data.recording_rules import Splits, report
from trainers.data.recordings import Record, Refusal
from trainers.engine import health
from trainers.engine.health import Finding
from trainers.slowfast import files, manifest
from trainers.slowfast.config import BESIDE, DATA, Config
from trainers.slowfast.files import Chosen

__all__ = ["CODES", "check", "check_files", "choose", "folders", "nonempty", "nothing", "report", "sound"]

CODES = (*recording_rules.CODES, "manifest", "clip.shape")
FILES = "videos"


def folders(data: Mapping[str, str], look: bool) -> list[Finding]:
    """The data folders by name; with `look`, also that at least one of videos is there."""
    return recording_rules.folders(DATA, data, look, BESIDE)


def sound(config: Config) -> list[Finding]:
    """Options that fit each other."""
    found = []
    if config.cache_size < config.size:
        seen = f"the cache holds frames of {config.cache_size} pixels, the network wants {config.size}"
        found.append(health.error("clip.shape", seen, f"set cache_size: {config.size}", "cache_size"))
    if config.frames < config.alpha:
        seen = f"a clip of {config.frames} frames gives the slow pathway one: alpha is {config.alpha}"
        found.append(health.error("clip.shape", seen, "more frames, or a smaller alpha", "frames"))
    if len(config.depths) > 4:
        seen = f"{len(config.depths)} stages; a SlowFast has 4 at most"
        found.append(health.error("clip.shape", seen, "depths: [3, 4, 6, 3] is R50", "depths"))
    if config.folds != "none" and config.fold > folds.count(config.folds):
        seen = f"{config.folds} has {folds.count(config.folds)} folds, fold is {config.fold}"
        found.append(health.error("clip.shape", seen, "take a fold that there is", "fold"))
    return found


def there(data: Mapping[str, str]) -> dict[str, Path]:
    """The folders that stand where they are said to."""
    return {name: Path(path) for name, path in data.items() if name in DATA and Path(path).is_dir()}


def choose(data: Mapping[str, str], config: Config) -> tuple[Chosen | None, list[Finding]]:
    """The videos and their splits; None, and why, where the manifest cannot be read."""
    try:
        return files.choose(there(data), config), []
    except manifest.BadManifest as fault:
        fix = "write it anew: gpujob prepare slowfast --ravdess DIR --crema DIR --to splits"
        return None, [health.error("manifest", str(fault), fix, "data.splits")]


def nothing(split: str, refused: Sequence[Refusal], found: int) -> list[Finding]:
    """A split without a sample, and why."""
    return recording_rules.nothing(split, refused, found, FILES)


def nonempty(splits: Splits, refused: Sequence[Refusal], found: int) -> list[Finding]:
    """Train and val hold samples."""
    return recording_rules.nonempty(splits, refused, found, FILES)


def check(
    records: Sequence[Record], refused: Sequence[Refusal], chosen: Chosen, config: Config
) -> list[Finding]:
    """All that is asked of names, labels and splits; `records` are those that can be used."""

    def split(some: Sequence[Record]) -> Mapping[str, str]:
        return chosen.split(some, config)

    asker = recording_rules.Asker(FILES, files.stem, split, config.max_refused)
    return recording_rules.check(records, refused, chosen.listing.found, chosen.home, asker) + sound(config)


def check_files(data: Mapping[str, str], config: Config) -> tuple[list[Finding], bool, dict[str, Any]]:
    """The tier `files`: findings, whether any file can be used, and the data's report."""
    chosen, findings = choose(data, config)
    if chosen is None:
        return findings, True, {"found": 0, "used": 0, "refused": [], "tables": []}
    listing = chosen.listing
    findings = check(listing.records, listing.refused, chosen, config)
    return (
        findings,
        bool(listing.records),
        report(listing.found, listing.records, listing.refused, chosen.home),
    )
