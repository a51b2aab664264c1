"""What `check` asks of names, labels and splits, and the data's report. Standard library only."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from trainers.data import recording_rules, recordings
from trainers.data.recording_rules import CODES, Splits, report
from trainers.data.recordings import Listing, Record, Refusal
from trainers.engine.health import Finding
from trainers.facenet_lstm import files
from trainers.facenet_lstm.config import DATA, Config

__all__ = ["CODES", "check", "check_files", "folders", "nonempty", "nothing", "report", "scan"]

FILES = "NPZ files"


def folders(data: Mapping[str, str], look: bool) -> list[Finding]:
    """The data folders by name; with `look`, also that at least one is there."""
    return recording_rules.folders(DATA, data, look)


def scan(data: Mapping[str, str], config: Config) -> Listing:
    """The files of the folders that are there."""
    there = {name: Path(path) for name, path in data.items() if name in DATA}
    return files.scan({name: path for name, path in there.items() if path.is_dir()}, config)


def nothing(split: str, refused: Sequence[Refusal], found: int) -> list[Finding]:
    """A split without a sample, and why."""
    return recording_rules.nothing(split, refused, found, FILES)


def nonempty(splits: Splits, refused: Sequence[Refusal], found: int) -> list[Finding]:
    """Train and val hold samples."""
    return recording_rules.nonempty(splits, refused, found, FILES)


def check(
    records: Sequence[Record],
    refused: Sequence[Refusal],
    found: int,
    home: Mapping[str, str],
    config: Config,
) -> list[Finding]:
    """All of it."""

    def split(records: Sequence[Record]) -> Mapping[str, str]:
        return recordings.split_records(records, config)

    asker = recording_rules.Asker(FILES, files.stem, split, config.max_refused)
    return recording_rules.check(records, refused, found, home, asker)


def check_files(data: Mapping[str, str], config: Config) -> tuple[list[Finding], bool, dict[str, Any]]:
    """The tier `files`: findings, whether any file can be used, and the data's report."""
    listing = scan(data, config)
    home = recordings.split_records(listing.records, config)
    findings = check(listing.records, listing.refused, listing.found, home, config)
    table = report(listing.found, listing.records, listing.refused, home)
    return findings, bool(listing.records), table
