"""RWTH-PHOENIX-Weather: corpus files and the filter of glosses.

Standard library only. Corpora: PHOENIX-2014 (multi-signer and signer independent SI5) and 2014-T,
https://www-i6.informatik.rwth-aachen.de/~koller/RWTH-PHOENIX/.
"""

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from trainers.data import splits, tables, walk

PART = {"train": "train", "val": "dev", "test": "test"}
"""Each split to the corpus's name of it."""

PATTERNS = {
    "si5": "{part}.SI5.corpus.csv",
    "multisigner": "{part}.corpus.csv",
    "14t": "PHOENIX-2014-T.{part}.corpus.csv",
}
"""Name pattern of the annotation files of each protocol, as the corpora name them."""

_FILE = re.compile(
    r"(?P<t>PHOENIX-2014-T\.)?(?P<part>[a-z]+)(?P<si5>\.SI5)?\.corpus\.[ct]sv(\.gz)?",
    re.ASCII | re.IGNORECASE,
)

PLACES = ("", "annotations", "annotations/manual")
"""Subfolders of the data folder that may hold the annotations."""

_COLUMNS = {"id": ("id", "name"), "signer": ("signer", "speaker"), "annotation": ("annotation", "orth")}


class BadCorpus(Exception):
    """A corpus file cannot be read; the message names file, line and fault."""


@dataclass(frozen=True)
class Sentence:
    """One line of a corpus: id, split (train, val or test), signer, and the annotation with its spaces."""

    id: str
    split: str
    signer: str
    annotation: str

    @property
    def glosses(self) -> tuple[str, ...]:
        """All glosses of the annotation."""
        return tuple(self.annotation.split())


def protocols(folder: Path) -> dict[str, dict[str, Path]]:
    """The protocols with files below a folder: name to {split: file}, without absent files.

    The split in a file's name may be any word of trainers.data.splits, in any case. Raises BadCorpus if two
    files of a folder are of one split.
    """
    files_by_split: dict[str, dict[str, Path]] = {}
    for place in PLACES:
        here = _corpus_files(folder / place)
        for name, files in here.items():
            files_by_split.setdefault(name, files)
    return files_by_split


def _corpus_files(folder: Path) -> dict[str, dict[str, Path]]:
    files_by_split: dict[str, dict[str, Path]] = {}
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        match = _FILE.fullmatch(path.name)
        split = splits.named(match["part"]) if match else ""
        if not match or not split or walk.is_hidden(path.name) or not path.is_file():
            continue
        protocol = "14t" if match["t"] else "si5" if match["si5"] else "multisigner"
        other = files_by_split.setdefault(protocol, {}).setdefault(split, path)
        if other != path:
            raise BadCorpus(f"{other.name} and {path.name} are both of {split}: keep one of them")
    return files_by_split


def read(files: Mapping[str, Path]) -> list[Sentence]:
    """Read all sentences of a protocol's files. Raises BadCorpus, also if an id occurs twice."""
    ordered = sorted(files.items(), key=lambda item: splits.SPLITS.index(item[0]))
    sentences = [sentence for split, path in ordered for sentence in _read(path, split)]
    split_of: dict[str, str] = {}
    for sentence in sentences:
        if split_of.setdefault(sentence.id, sentence.split) != sentence.split:
            raise BadCorpus(f"{sentence.id} is in {split_of[sentence.id]} and in {sentence.split}")
    if len(split_of) < len(sentences):
        twice, _ = Counter(sentence.id for sentence in sentences).most_common(1)[0]
        raise BadCorpus(f"{twice} appears twice in {split_of[twice]}")
    return sentences


def _read(path: Path, split: str) -> list[Sentence]:
    try:
        table = tables.read(path, delimiters=("|", *tables.DELIMITERS))
    except tables.BadTable as fault:
        raise BadCorpus(str(fault)) from fault
    except OSError as fault:
        raise BadCorpus(f"{path.name} cannot be read: {fault}") from fault
    places = _places(table.columns, path)
    sentences = []
    for number, row in table.lines:
        if len(row) != len(table.columns):
            raise BadCorpus(
                f"{path.name}:{number} has {len(row)} columns, the first line {len(table.columns)}"
            )
        # Two forms of an umlaut are one gloss: macOS and Linux write them differently.
        written, signer, annotation = (walk.nfc(row[places[name]].strip()) for name in _COLUMNS)
        *folders, id = written.replace("\\", "/").split("/")  # some corpora write the recording's path
        if not id or id.startswith(".") or ".." in folders:
            raise BadCorpus(f"{path.name}:{number}: {written!r} cannot be an id")
        sentences.append(Sentence(id, split, signer, annotation))
    return sentences


def _places(header: Sequence[str], path: Path) -> dict[str, int]:
    names = [name.lower() for name in header]
    places = {}
    for column, spellings in _COLUMNS.items():
        place = next((names.index(word) for word in spellings if word in names), None)
        if place is None:
            raise BadCorpus(f"{path.name}:1 has no column {' or '.join(spellings)}: {'|'.join(header)}")
        places[column] = place
    return places


_PREFIXES = ("__", "loc-", "cl-", "lh-", "rh-", "$GEST")
_WORDS = ("IX", "WG", "POS")


def is_sign(gloss: str) -> bool:
    """Whether a gloss is a plain sign: no marker, no pointing, no classifier, no spelled letter."""
    marked = gloss.startswith(_PREFIXES) or "PLUSPLUS" in gloss
    pointing = gloss in _WORDS or gloss.startswith(tuple(f"{word}-" for word in _WORDS))
    return not (marked or pointing or len(gloss) < 2)


FILTERS: dict[str, Callable[[str], bool]] = {"signs": is_sign, "none": bool}
"""Option value to the function that says whether a gloss is kept."""
