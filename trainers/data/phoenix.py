"""RWTH-PHOENIX-Weather: corpus files and the filter of glosses.

Standard library only. Corpora: PHOENIX-2014 (multi-signer and signer independent SI5) and 2014-T,
https://www-i6.informatik.rwth-aachen.de/~koller/RWTH-PHOENIX/.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
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

SUBFOLDERS = ("", "annotations", "annotations/manual")
"""Subfolders of the data folder that may hold the annotations."""

_COLUMNS = (("id", "name"), ("signer", "speaker"), ("annotation", "orth"))
"""The spellings of the columns id, signer and annotation."""


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
    for subfolder in SUBFOLDERS:
        here = _corpus_files(folder / subfolder)
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
    earlier: dict[str, tuple[str, str]] = {}
    sentences = []
    for split, path in ordered:
        for number, sentence in _read(path, split):
            location = f"{path.name}:{number}"
            other, other_location = earlier.setdefault(sentence.id, (split, location))
            if other_location != location:
                how = f"appears twice in {split}" if other == split else f"is in {other} and in {split}"
                raise BadCorpus(f"{sentence.id} {how}: {other_location} and {location}")
            sentences.append(sentence)
    return sentences


def _read(path: Path, split: str) -> Iterator[tuple[int, Sentence]]:
    """Yield each line's number and its sentence."""
    try:
        table = tables.read(path, delimiters=("|", *tables.DELIMITERS))
        columns, rows = _columns(table.columns, path), table.rows()
    except tables.BadTable as fault:
        raise BadCorpus(str(fault)) from fault
    except OSError as fault:
        raise BadCorpus(f"{path.name} cannot be read: {fault}") from fault
    for number, row in rows:
        # Two forms of an umlaut are one gloss: macOS and Linux write them differently.
        written, signer, annotation = (walk.nfc(tables.visible(row[name])) for name in columns)
        *folders, id = written.replace("\\", "/").split("/")  # some corpora write the recording's path
        if not id or id.startswith(".") or ".." in folders:
            raise BadCorpus(f"{path.name}:{number}: {written!r} cannot be an id")
        yield number, Sentence(id, split, signer, annotation)


def _columns(header: Sequence[str], path: Path) -> list[str]:
    """The names that the columns of _COLUMNS have in this header, in the order of _COLUMNS."""
    names = {name.lower(): name for name in header}
    columns = []
    for spellings in _COLUMNS:
        name = next((names[word] for word in spellings if word in names), None)
        if name is None:
            raise BadCorpus(f"{path.name}:1 has no column {' or '.join(spellings)}: {'|'.join(header)}")
        columns.append(name)
    return columns


_PREFIXES = ("__", "loc-", "cl-", "lh-", "rh-", "$GEST")
_WORDS = ("IX", "WG", "POS")


def is_sign(gloss: str) -> bool:
    """Whether a gloss is a plain sign: no marker, no pointing, no classifier, no spelled letter."""
    marked = gloss.startswith(_PREFIXES) or "PLUSPLUS" in gloss
    pointing = gloss in _WORDS or gloss.startswith(tuple(f"{word}-" for word in _WORDS))
    return not (marked or pointing or len(gloss) < 2)


FILTERS: dict[str, Callable[[str], bool]] = {"signs": is_sign, "none": bool}
"""Option value to the function that says whether a gloss is kept."""
