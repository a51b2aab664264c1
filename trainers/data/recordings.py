"""Lists recordings of RAVDESS and CREMA-D with labels and splits. Standard library only.

Label and file of a recording stay together in one Record, up to the batch.
"""

import hashlib
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from trainers.data import emotions, splits, walk
from trainers.data.recording_options import RecordingConfig
from trainers.data.refusal import Refusal


@dataclass(frozen=True)
class Record:
    """One recording: `id` is `<data set>/<name>`, `label` one of the six classes."""

    id: str
    path: Path
    name: emotions.Name
    label: str

    @property
    def actor(self) -> str:
        """The actor, with the data set as prefix."""
        return self.name.actor

    @property
    def group(self) -> str:
        """The actor, whose recordings must be in one split."""
        return self.actor

    @property
    def take(self) -> str:
        """The performance, regardless of its modality."""
        return f"{self.name.dataset}/{self.name.take}"


@dataclass(frozen=True)
class Listing:
    """The files found: usable `records` sorted by id, and `refused` ones."""

    count: int
    records: tuple[Record, ...]
    refused: tuple[Refusal, ...]


def stem(path: str) -> str:
    """The recording's name: the file name without folder and suffix."""
    return path.replace("\\", "/").rsplit("/", 1)[-1].rsplit(".", 1)[0]


def label_of(name: emotions.Name, config: RecordingConfig) -> tuple[str | None, str]:
    """The class of a name and an empty string, or None and the option that excludes it."""
    sung = isinstance(name, emotions.Ravdess) and name.vocal == "02"
    if config.song == "drop" and sung:
        return None, "song: drop"
    for feeling, choice in (("calm", config.calm), ("surprised", config.surprised)):
        if name.feeling == feeling:
            return (None, f"{feeling}: drop") if choice == "drop" else (choice, "")
    return name.feeling, ""


def scan(
    folders: Mapping[str, Path],
    config: RecordingConfig,
    endings: tuple[str, ...],
    stem: Callable[[str], str] = stem,
) -> Listing:
    """List every file below the folders with one of the suffixes, as a record or a refusal."""
    paths = sorted(
        path for folder in folders.values() for path in walk.files(folder) if path.suffix.lower() in endings
    )
    kept: list[Record] = []
    refused: list[Refusal] = []
    for path in paths:
        entry = _entry(path, config, stem)
        (kept if isinstance(entry, Record) else refused).append(entry)  # type: ignore[arg-type]
    single, doubles = _without_doubles(kept, config)
    ordered = tuple(sorted(single, key=lambda record: record.id))
    return Listing(len(paths), ordered, (*refused, *doubles))


def _entry(path: Path, config: RecordingConfig, stem: Callable[[str], str]) -> Record | Refusal:
    try:
        name = emotions.parse(stem(path.name))
    except emotions.BadName as fault:
        return Refusal(str(path), "labels.parse", "the name tells no label", str(fault))
    bad = emotions.KNOWN_BAD.get(str(name))
    if bad:
        return Refusal(str(path), "labels.parse", "listed as broken by CREMA-D", bad, broken=False)
    label, left_out_by = label_of(name, config)
    if label is None:
        reason = f"left out by the option {left_out_by}"
        return Refusal(str(path), "labels.parse", reason, "", broken=False)
    if not path.is_file():
        what, whither = ("a link to nothing", str(path.readlink())) if path.is_symlink() else ("no file", "")
        return Refusal(str(path), "files.there", f"is {what}", whither)
    return Record(f"{name.dataset}/{name}", path, name, label)


def _without_doubles(
    records: Sequence[Record], config: RecordingConfig
) -> tuple[list[Record], list[Refusal]]:
    """Keep one record per id or, with `twins: one`, per take (video only before audio-video)."""
    single = config.twins == "one"
    groups: dict[str, list[Record]] = defaultdict(list)
    for record in records:
        groups[record.take if single else record.id].append(record)
    kept, refused = [], []
    for group in groups.values():
        first, *rest = sorted(group, key=_preference)
        kept.append(first)
        refused += [_double(first, other) for other in rest]
    return kept, refused


def _preference(record: Record) -> tuple[bool, str, str]:
    modality = getattr(record.name, "modality", "")
    return modality != "02", record.id, str(record.path)


def _double(first: Record, other: Record) -> Refusal:
    if first.id == other.id:
        detail = f"{first.path} has the same name"
        return Refusal(str(other.path), "labels.parse", "the name occurs twice", detail)
    reason = "left out by the option twins: one"
    return Refusal(str(other.path), "labels.parse", reason, f"the take of {first.id}", broken=False)


def split_records(records: Sequence[Record], config: RecordingConfig) -> dict[str, str]:
    """Assign record ids to splits, by whole actors; depends only on their names and the seed."""
    strata = {record.actor: record.name.stratum for record in records}
    split_of = splits.by_actor(strata, config.seed, config.val_share, config.test_share)
    return {record.id: split_of[record.actor] for record in records}


def by_split(records: Sequence[Record], split_of: Mapping[str, str]) -> dict[str, list[Record]]:
    """The records of each split, in their order."""
    members: dict[str, list[Record]] = {split: [] for split in splits.SPLITS}
    for record in records:
        members[split_of[record.id]].append(record)
    return members


def fingerprint(records: Sequence[Record], split_of: Mapping[str, str], digests: Mapping[str, str]) -> str:
    """A hash of split, label and content (`digests`, by id) of every record; it does not depend on paths."""
    lines = sorted(f"{r.id} {split_of[r.id]} {r.label} {digests[r.id]}" for r in records)
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()
