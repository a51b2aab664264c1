"""From a data folder to records: corpus, glosses, feature files. Standard library only.

A sentence, its glosses and its features are one record from here to the batch.
"""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from trainers.data import phoenix
from trainers.data.landmarks import Layout
from trainers.data.refusal import Reasoned
from trainers.data.sign.config import SignConfig

SPLITS = ("train", "val", "test")
SUFFIXES = (".npz", ".npy")
INDEX, LAYOUT = "index.json", "layout.json"
PART = {split: part for part, split in phoenix.PARTS.items()}


@dataclass(frozen=True)
class Record:
    """One sentence; `path` is its feature file, None in a packed folder; `words` went by the filter."""

    id: str
    split: str
    signer: str
    glosses: tuple[str, ...]
    words: tuple[str, ...]
    path: Path | None


@dataclass(frozen=True)
class Refusal(Reasoned):
    """A sentence that is not used. `broken` ones count against max_refused; others an option left out."""

    id: str
    code: str
    reason: str
    detail: str = ""
    broken: bool = True


@dataclass(frozen=True)
class Listing:
    """What names and corpus tell; `packed` is the folder itself where `prepare` made it."""

    protocol: str
    layout: Layout
    found: int
    records: tuple[Record, ...]
    refused: tuple[Refusal, ...]
    packed: Path | None


class BadFolder(Exception):
    """The folder cannot be listed at all: the rule's code, what is wrong, what to do."""

    def __init__(self, code: str, message: str, fix: str) -> None:
        super().__init__(f"{message}: {fix}")
        self.code, self.message, self.fix = code, message, fix


def scan(folder: Path, config: SignConfig) -> Listing:
    """Every sentence of the corpus, as a record or a refusal. Raises BadFolder."""
    protocol, files = _protocol(folder, config.protocol)
    try:
        sentences = phoenix.read(files)
    except phoenix.BadCorpus as fault:
        raise BadFolder("labels.parse", str(fault), "mend the corpus file") from fault
    packed = folder if (folder / INDEX).is_file() else None
    kept: list[Record] = []
    refused: list[Refusal] = []
    for sentence in sorted(sentences, key=lambda s: (SPLITS.index(s.split), s.id)):
        entry = _entry(sentence, folder, packed is not None, config)
        (kept if isinstance(entry, Record) else refused).append(entry)  # type: ignore[arg-type]
    told = _declared(folder, config.layout)
    return Listing(protocol, told, len(sentences), tuple(kept), tuple(refused), packed)


def _protocol(folder: Path, asked: str) -> tuple[str, dict[str, Path]]:
    there = phoenix.protocols(folder)
    if not there:
        names = ", ".join(p.format(part="train") for p in phoenix.PATTERNS.values())
        raise BadFolder(
            "labels.nonempty",
            f"{folder} holds no corpus file",
            f"one of {names} stands in it or in annotations/",
        )
    if asked == "auto" and len(there) > 1:
        seen = f"{folder} holds the corpus files of {' and '.join(there)}"
        raise BadFolder("labels.parse", seen, f"set protocol: {next(iter(there))}")
    name = next(iter(there)) if asked == "auto" else asked
    lacking = [part for part in phoenix.PARTS if part not in there.get(name, {})]
    if lacking:
        seen = f"{folder} holds no {phoenix.PATTERNS[name].format(part=lacking[0])}"
        raise BadFolder("labels.nonempty", seen, "train, dev and test each have a corpus file")
    return name, there[name]


def _entry(sentence: phoenix.Sentence, folder: Path, packed: bool, config: SignConfig) -> Record | Refusal:
    is_kept = phoenix.FILTERS[config.gloss_filter]
    words = tuple(gloss for gloss in sentence.glosses if is_kept(gloss))
    path = None if packed else feature_file(folder, sentence.split, sentence.id)
    if not packed and path is None:
        return Refusal(sentence.id, "schema.keys", "has no feature file")
    if not words and sentence.split == "train":
        reason = f"no gloss is left by gloss_filter: {config.gloss_filter}"
        return Refusal(sentence.id, "labels.parse", reason, " ".join(sentence.glosses), broken=False)
    return Record(sentence.id, sentence.split, sentence.signer, sentence.glosses, words, path)


def feature_file(folder: Path, split: str, id: str) -> Path | None:
    """features/<split>/<id> or <split>/<id>, in the corpus's name of the split; .npz before .npy."""
    for place in (f"features/{PART[split]}", PART[split]):
        for suffix in SUFFIXES:
            path = folder / place / f"{id}{suffix}"
            if path.is_file():
                return path
    return None


def _declared(folder: Path, asked: str) -> Layout:
    """What the data says of itself; else the option; else the public extractor's order."""
    for name in (INDEX, LAYOUT):
        if not (folder / name).is_file():
            continue
        try:
            held = json.loads((folder / name).read_text())
            told = Layout.from_dict(held.get("layout", held))
        except (ValueError, AttributeError, OSError) as fault:
            raise BadFolder("schema.layout", f"{name}: {fault}", "mend it, or remove it") from fault
        if asked not in ("auto", told.name):
            seen = f"{name} says {told.name}, the option layout says {asked}"
            raise BadFolder("schema.layout", seen, "remove the one that is wrong")
        return told
    return Layout.named("pose-face-hands" if asked == "auto" else asked)


def by_split(records: Sequence[Record]) -> dict[str, list[Record]]:
    """Split to its records, in their order."""
    return {split: [record for record in records if record.split == split] for split in SPLITS}


def reasons(refused: Sequence[Refusal]) -> list[tuple[str, int, Refusal]]:
    """Each reason with its count and first sentence, the commonest first."""
    counts = Counter(refusal.reason for refusal in refused)
    first = {refusal.reason: refusal for refusal in reversed(refused)}
    return [(reason, count, first[reason]) for reason, count in counts.most_common()]


def place(data: Mapping[str, str]) -> Path:
    """The folder `phoenix`."""
    return Path(data["phoenix"])
