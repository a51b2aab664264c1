"""Lists recordings of RAVDESS and CREMA-D with labels and splits. Standard library only.

Label and file of a recording stay together in one Record, up to the batch.
"""

import hashlib
import os
import re
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath

from trainers.data import emotions, splits, walk
from trainers.data.refusal import Refusal, Unusable, read_or_stop
from trainers.engine.config import ClassifierConfig, option

_ACTOR = re.compile(r"actor[ _-]?(\d+)", re.ASCII | re.IGNORECASE)

COMPARED = 1 << 20
"""Bytes of each end of two files that `same_bytes` compares."""


@dataclass(frozen=True)
class RecordingConfig(ClassifierConfig):
    """The options of a classifier, and those that select recordings and split them by actor."""

    val_share: float = option(0.15, "fraction of the actors in val", low=0.0, high=0.5)
    test_share: float = option(0.15, "fraction of the actors in test", low=0.0, high=0.5)
    named_splits: str = splits.OPTION
    calm: str = option("drop", "class for `calm` of RAVDESS", choices=("drop", "neutral"))
    surprised: str = option("drop", "class for `surprised` of RAVDESS", choices=("drop", "neutral"))
    song: str = option("drop", "sung recordings of RAVDESS", choices=("drop", "keep"))
    twins: str = option(
        "one", "use one or both of modalities 01 and 02 of a take (same pictures)", choices=("one", "both")
    )
    max_refused: float = option(0.05, "maximum fraction of broken files", low=0.0, high=1.0)


@dataclass(frozen=True)
class Record:
    """One recording: `id` is `<data set>/<name>`, `label` one of the six classes."""

    id: str
    path: Path
    name: emotions.Name
    label: str
    split: str = ""
    """The split that the folders or the file name give, or an empty string."""

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
    for emotion, choice in (("calm", config.calm), ("surprised", config.surprised)):
        if name.emotion_name == emotion:
            return (None, f"{emotion}: drop") if choice == "drop" else (choice, "")
    return name.emotion_name, ""


def scan(
    folders: Mapping[str, Path],
    config: RecordingConfig,
    endings: tuple[str, ...],
    stem: Callable[[str], str] = stem,
) -> Listing:
    """List every file below the folders with one of the suffixes, as a record or a refusal."""
    files, refused = walk.data_files(folders, endings)
    count = len(files) + sum(refusal.broken for refusal in refused)
    kept: list[Record] = []
    for file in files:
        entry = _entry(file, config, stem)
        (kept if isinstance(entry, Record) else refused).append(entry)  # type: ignore[arg-type]
    single, doubles = _without_doubles(kept, config)
    ordered = tuple(sorted(single, key=lambda record: record.id))
    return Listing(count, ordered, (*refused, *doubles))


def _entry(file: walk.Found, config: RecordingConfig, stem: Callable[[str], str]) -> Record | Refusal:
    path = file.path
    try:
        name, split = emotions.parse(stem(path.name)), splits.of_path(file.name)
    except emotions.BadName as fault:
        return Refusal(str(path), "labels.parse", "the name tells no label", str(fault))
    except Unusable as fault:
        return Refusal.of(path, fault)
    bad = emotions.KNOWN_BAD.get(str(name))
    if bad:
        return Refusal(str(path), "labels.parse", "listed as broken by CREMA-D", bad, broken=False)
    label, left_out_by = label_of(name, config)
    if label is None:
        reason = f"left out by the option {left_out_by}"
        return Refusal(str(path), "labels.parse", reason, "", broken=False)
    try:
        _require_label(file, name, label)
        _require_actor(file, name)
        walk.require_file(path)
    except Unusable as fault:
        return Refusal.of(path, fault)
    return Record(f"{name.dataset}/{name}", path, name, label, split)


def _require_label(file: walk.Found, name: emotions.Name, label: str) -> None:
    """Raise Unusable if the folders name one emotion, and it is not that of the file name."""
    folders = {word for part in PurePath(file.name).parts[:-1] if (word := emotions.in_name(part))}
    known = {emotions.meaning(name.emotion_name), emotions.meaning(label)}
    if len(folders) == 1 and not folders & known:
        detail = f"{file.name}: its name says {name.emotion_name}"
        raise Unusable("is in the folder of another emotion", detail, "label.match")


def _require_actor(file: walk.Found, name: emotions.Name) -> None:
    """Raise Unusable if a folder such as RAVDESS's `Actor_03` names another actor than the file name."""
    for part in PurePath(file.name).parts[:-1]:
        match = _ACTOR.fullmatch(part)
        if match and len(match[1]) == len(name.person) and match[1] != name.person:
            detail = f"{file.name}: its name says {name.person}"
            raise Unusable("is in the folder of another actor", detail, "label.match")


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
        if same_bytes(first.path, other.path):
            return Refusal(str(other.path), "labels.parse", "is a copy of another file", detail, broken=False)
        return Refusal(str(other.path), "labels.parse", "the name occurs twice", detail)
    reason = "left out by the option twins: one"
    return Refusal(str(other.path), "labels.parse", reason, f"the take of {first.id}", broken=False)


def same_bytes(one: Path, other: Path) -> bool:
    """Whether two files have the same size, and the same first and last MiB. Raises Unread."""
    contents = []
    for path in (one, other):
        with read_or_stop(path), path.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(0)
            head = file.read(COMPARED)
            file.seek(max(0, size - COMPARED))
            contents.append((size, head, file.read(COMPARED)))
    return contents[0] == contents[1]


def split_records(records: Sequence[Record], config: RecordingConfig) -> dict[str, str]:
    """Assign record ids to splits: those that folders name, else drawn for whole actors by the seed."""

    def draw(strata: dict[str, str], test: float) -> dict[str, str]:
        return splits.by_actor(strata, config.seed, config.val_share, test)

    return named_or_drawn(records, config, draw)


def named_or_drawn(
    records: Sequence[Record],
    config: RecordingConfig,
    draw: Callable[[dict[str, str], float], dict[str, str]],
) -> dict[str, str]:
    """The split of each record id; `draw` assigns actors (to strata) where the records name none."""
    named = {record.id: record.split for record in records}
    drawn, test = splits.to_draw(named, config.named_splits == "ignore", config.test_share)
    strata = {record.actor: record.name.stratum for record in records if record.id in drawn}
    home = draw(strata, test)
    return {r.id: home[r.actor] if r.id in drawn else r.split for r in records}


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
