"""Reads a data folder: corpus, glosses and paths of feature files. Standard library only.

Glosses and feature file of a sentence stay together in one Record, up to the batch.
"""

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from trainers.data import phoenix, refusal_checks, splits, walk
from trainers.data.landmarks import Layout
from trainers.data.refusal import Refusal, Unusable
from trainers.data.sign.config import SignConfig
from trainers.data.splits import SPLITS
from trainers.engine import health
from trainers.engine.health import DataUnusable

SUFFIXES = (".npz", ".npy")
INDEX, LAYOUT = "index.json", "layout.json"


@dataclass(frozen=True)
class Record:
    """One sentence: `words` are the glosses that pass the option gloss_filter; `path` is its feature file, or
    None in a packed folder."""

    id: str
    split: str
    signer: str
    annotation: str
    words: tuple[str, ...]
    path: Path | None

    @property
    def glosses(self) -> tuple[str, ...]:
        """All glosses of the annotation."""
        return tuple(self.annotation.split())

    @property
    def group(self) -> str:
        """The id: each sentence is in one split, while signers may be in several by design."""
        return self.id


@dataclass(frozen=True)
class Listing:
    """The sentences of a data folder; `packed` is the folder if `prepare` packed it, else None."""

    protocol: str
    layout: Layout
    count: int
    records: tuple[Record, ...]
    refused: tuple[Refusal, ...]
    packed: Path | None
    config: SignConfig

    noun = "sentences"
    needed = "each sentence has features in features/<split>/<id>.npz or .npy below the data folder"

    @property
    def max_refused(self) -> float:
        """The maximum fraction of broken sentences."""
        return self.config.max_refused

    @cached_property
    def splits(self) -> dict[str, list[Record]]:
        """The records of each split, in their order."""
        return {split: [record for record in self.records if record.split == split] for split in SPLITS}

    def report(self) -> dict[str, Any]:
        """The `data` of the check report: counts, refused sentences, tables."""
        return refusal_checks.report(self, [self._split_table()])

    def _split_table(self) -> dict[str, Any]:
        rows = []
        for split, records in self.splits.items():
            glosses = Counter(word for record in records for word in record.words)
            once = sum(count == 1 for count in glosses.values())
            counts = [str(n) for n in (len(records), glosses.total(), len(glosses), once)]
            signers = sorted({record.signer for record in records})
            rows.append([split, *counts, health.first(signers, 6) or "-"])
        columns = ("split", "sentences", "glosses", "different", "seen once", "signers")
        return refusal_checks.table("Sentences by split", columns, rows)


def _unusable(code: str, message: str, fix: str) -> DataUnusable:
    return DataUnusable([health.error(code, message, fix)])


def scan(folders: Mapping[str, Path], config: SignConfig) -> Listing:
    """List every sentence of the corpus as a record or a refusal. Raises DataUnusable."""
    if "phoenix" not in folders:
        raise _unusable("data.folders", "no folder `phoenix` is given", "--data phoenix=DIR")
    try:
        return _scan(folders["phoenix"], config)
    except phoenix.BadCorpus as fault:
        raise _unusable("labels.parse", str(fault), "correct the corpus file") from fault


def _scan(folder: Path, config: SignConfig) -> Listing:
    protocol, files = _protocol(folder, config.protocol)
    sentences = phoenix.read(files)
    packed = folder if (folder / INDEX).is_file() else None
    paths = {} if packed else feature_files(folder)
    kept: list[Record] = []
    refused: list[Refusal] = []
    for sentence in sorted(sentences, key=lambda s: (SPLITS.index(s.split), s.id)):
        entry = _entry(sentence, paths.get((sentence.split, sentence.id)), packed is not None, config)
        (kept if isinstance(entry, Record) else refused).append(entry)  # type: ignore[arg-type]
    unused = paths.keys() - {(sentence.split, sentence.id) for sentence in sentences}
    reason = "belongs to no sentence of the corpus"
    refused += [Refusal(str(paths[key]), "files.there", reason, "", broken=False) for key in sorted(unused)]
    layout = _declared(folder, config.layout)
    return Listing(protocol, layout, len(sentences), tuple(kept), tuple(refused), packed, config)


def _protocol(folder: Path, choice: str) -> tuple[str, dict[str, Path]]:
    """The protocol (by the option, or the only one present) and its corpus files. Raises DataUnusable."""
    available = phoenix.protocols(folder)
    if not available:
        names = ", ".join(pattern.format(part="train") for pattern in phoenix.PATTERNS.values())
        fix = f"put one of {names} into it or into annotations/"
        if inner := [part for part in walk.folders(folder) if phoenix.protocols(part)]:
            fix = f"{inner[0]} does: give the folder that holds corpus files and features"
        raise _unusable("labels.nonempty", f"{folder} holds no corpus file", fix)
    if choice == "auto" and len(available) > 1:
        message = f"{folder} holds the corpus files of {' and '.join(available)}"
        raise _unusable("labels.parse", message, f"set protocol: {next(iter(available))}")
    name = next(iter(available)) if choice == "auto" else choice
    missing = [phoenix.PART[split] for split in SPLITS if split not in available.get(name, {})]
    if missing:
        message = f"{folder} holds no {phoenix.PATTERNS[name].format(part=missing[0])}"
        raise _unusable("labels.nonempty", message, "train, dev and test each have a corpus file")
    return name, available[name]


def _entry(
    sentence: phoenix.Sentence, path: Path | None, packed: bool, config: SignConfig
) -> Record | Refusal:
    is_kept = phoenix.FILTERS[config.gloss_filter]
    words = tuple(gloss for gloss in sentence.glosses if is_kept(gloss))
    if not packed and path is None:
        return Refusal(sentence.id, "schema.keys", "has no feature file")
    if not words and sentence.split == "train":
        reason = f"no gloss is left by gloss_filter: {config.gloss_filter}"
        return Refusal(sentence.id, "labels.parse", reason, sentence.annotation, broken=False)
    try:
        if path is not None:
            walk.require_file(path)
    except Unusable as fault:
        return Refusal.of(path or sentence.id, fault)
    return Record(sentence.id, sentence.split, sentence.signer, sentence.annotation, words, path)


def feature_files(folder: Path) -> dict[tuple[str, str], Path]:
    """The feature file of each split and id, from features/<split>/ and <split>/; .npz before .npy.

    The folders may have any name of the split, and the suffix may be in capitals. A file that stands in for
    a feature file, as a download that did not finish, is there for require_file to refuse.
    """
    found: dict[tuple[str, str], Path] = {}
    for parent in (folder / "features", folder):
        for part in sorted(parent.iterdir()) if parent.is_dir() else ():
            split = splits.named(part.name)
            if not split or walk.is_hidden(part.name) or not part.is_dir():
                continue
            for path in sorted(part.iterdir(), key=_preference):
                name = walk.stand_in(path.name)[0] or path.name
                if name.lower().endswith(SUFFIXES) and not walk.is_hidden(name):
                    found.setdefault((split, walk.nfc(name.rpartition(".")[0])), path)
    return found


def _preference(path: Path) -> tuple[int, str]:
    """Files of SUFFIXES in their order, then others."""
    suffix = path.suffix.lower()
    return SUFFIXES.index(suffix) if suffix in SUFFIXES else len(SUFFIXES), path.name


def _declared(folder: Path, choice: str) -> Layout:
    """The layout in index.json or layout.json, else of the option, else the public extractor's order."""
    for name in (INDEX, LAYOUT):
        if not (folder / name).is_file():
            continue
        try:
            value = json.loads((folder / name).read_text())
            layout = Layout.from_dict(value.get("layout", value))
        except (ValueError, AttributeError, OSError) as fault:
            raise _unusable("schema.layout", f"{name}: {fault}", "correct or remove it") from fault
        if choice not in ("auto", layout.name):
            message = f"{name} says {layout.name}, the option layout says {choice}"
            raise _unusable("schema.layout", message, "remove the one that is wrong")
        return layout
    return Layout.named("pose-face-hands" if choice == "auto" else choice)
