"""RWTH-PHOENIX-Weather: corpus files, filter of glosses, and the official cleaning of glosses for WER.

Standard library only. Corpora: PHOENIX-2014 (multi-signer and signer independent SI5) and 2014-T,
https://www-i6.informatik.rwth-aachen.de/~koller/RWTH-PHOENIX/.
"""

import csv
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

PARTS = {"train": "train", "dev": "val", "test": "test"}
"""The corpus's name of each split to the name in this project."""

PATTERNS = {
    "si5": "{part}.SI5.corpus.csv",
    "multisigner": "{part}.corpus.csv",
    "14t": "PHOENIX-2014-T.{part}.corpus.csv",
}
"""Name pattern of the annotation files of each protocol."""

PLACES = ("", "annotations", "annotations/manual")
"""Subfolders of the data folder that may hold the annotations."""

_COLUMNS = {"id": ("id", "name"), "signer": ("signer", "speaker"), "glosses": ("annotation", "orth")}


class BadCorpus(Exception):
    """A corpus file cannot be read; the message names file, line and fault."""


@dataclass(frozen=True)
class Sentence:
    """One line of a corpus: id, split (train, val or test), signer, and all glosses as annotated."""

    id: str
    split: str
    signer: str
    glosses: tuple[str, ...]


def protocols(folder: Path) -> dict[str, dict[str, Path]]:
    """The protocols with files below a folder: name to {train, dev, test: file}, without absent files."""
    protocols: dict[str, dict[str, Path]] = {}
    for name, pattern in PATTERNS.items():
        for place in PLACES:
            files = {part: folder / place / pattern.format(part=part) for part in PARTS}
            existing = {part: path for part, path in files.items() if path.is_file()}
            if existing:
                protocols.setdefault(name, existing)
    return protocols


def read(files: Mapping[str, Path]) -> list[Sentence]:
    """Read all sentences of a protocol's files. Raises BadCorpus, also if an id occurs twice."""
    sentences = [sentence for part, path in files.items() for sentence in _read(path, PARTS[part])]
    homes: dict[str, str] = {}
    for sentence in sentences:
        if homes.setdefault(sentence.id, sentence.split) != sentence.split:
            raise BadCorpus(f"{sentence.id} stands in {homes[sentence.id]} and in {sentence.split}")
    if len(homes) < len(sentences):
        ids = [sentence.id for sentence in sentences]
        twice = next(id for id in ids if ids.count(id) > 1)
        raise BadCorpus(f"{twice} stands twice in {homes[twice]}")
    return sentences


def _read(path: Path, split: str) -> list[Sentence]:
    try:
        with path.open(encoding="utf-8", newline="") as file:
            rows = list(csv.reader(file, delimiter="|", quoting=csv.QUOTE_NONE))
    except (OSError, UnicodeDecodeError) as fault:
        raise BadCorpus(f"{path.name} cannot be read: {fault}") from fault
    if not rows:
        raise BadCorpus(f"{path.name} is empty")
    places = _places(rows[0], path)
    sentences = []
    for number, row in enumerate(rows[1:], 2):
        if len(row) != len(rows[0]):
            raise BadCorpus(f"{path.name}:{number} has {len(row)} columns, the first line {len(rows[0])}")
        id, signer, glosses = (row[places[name]].strip() for name in _COLUMNS)
        if not id or "/" in id or id.startswith("."):
            raise BadCorpus(f"{path.name}:{number}: {id!r} cannot be an id")
        sentences.append(Sentence(id, split, signer, tuple(glosses.split())))
    return sentences


def _places(header: Sequence[str], path: Path) -> dict[str, int]:
    names = [name.strip().lower() for name in header]
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


_MARKER = re.compile(r"__[^ ]*__")
_LETTERS = re.compile(r"[A-Z]|SCH|NN")
_RAUM = re.compile(r"([A-Z][A-Z])RAUM")
_PLAIN = re.compile(r"[A-Z]+")
_STRIPPED_14 = re.compile(r"loc-|cl-|qu-|poss-|lh-|-PLUSPLUS")
_STRIPPED_14T = re.compile(r"^loc-|^cl-|-PLUSPLUS$")


def official(glosses: Sequence[str], protocol: str) -> list[str]:
    """Clean glosses as the corpus's official evaluation does; used for references and hypotheses.

    PHOENIX-2014 (both protocols): removes markers, strips prefixes and -PLUSPLUS, unifies spelling variants,
    joins letters by +, merges equal neighbours. 2014-T strips less and merges all equal neighbours.
    """
    glosses = [gloss for gloss in glosses if not _MARKER.fullmatch(gloss)]
    if protocol == "14t":
        words = [re.sub(r"^([A-Z]+)RAUM$", r"\1", _STRIPPED_14T.sub("", gloss)) for gloss in glosses]
        return _merged([word for word in words if word], re.compile(".+"))
    words = [_STRIPPED_14.sub("", gloss) for gloss in glosses]
    words = [word.replace("S0NNE", "SONNE").replace("HABEN2", "HABEN") for word in words if word]
    words = [f"{word}-BILDSCHIRM" if word.endswith("ZEIGEN") else word for word in _joined(words)]
    return _merged([_RAUM.sub(r"\1", word) for word in words], _PLAIN)


def _joined(words: Sequence[str]) -> list[str]:
    """Join `WIE AUSSEHEN` to one word, and consecutive spelled letters to `A+B`."""
    merged: list[str] = []
    for word in words:
        last = merged[-1] if merged else ""
        if (last, word) == ("WIE", "AUSSEHEN"):
            merged[-1] = "WIE-AUSSEHEN"
        elif _LETTERS.fullmatch(last.rsplit("+", 1)[-1]) and _LETTERS.fullmatch(word.split("+", 1)[0]):
            merged[-1] = f"{last}+{word}"
        else:
            merged.append(word)
    return merged


def _merged(words: Sequence[str], which: "re.Pattern[str]") -> list[str]:
    merged: list[str] = []
    for word in words:
        if not (merged and word == merged[-1] and which.fullmatch(word)):
            merged.append(word)
    return merged
