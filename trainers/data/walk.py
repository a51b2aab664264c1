"""Lists the data files below a folder: one rule for all trainers. Standard library only.

What editors, file managers and archives leave beside data is hidden: names that begin with a dot
(`.ipynb_checkpoints`, AppleDouble's `._name`), `__MACOSX`, Thumbs.db and the like.
"""

import os
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from trainers.data.refusal import Refusal, Unusable, read_or_stop

LITTER = frozenset(
    {"__macosx", "@eadir", "$recycle.bin", "lost+found", "system volume information", "__pycache__"}
    | {"thumbs.db", "desktop.ini"}
)
"""Names, in lower case, of folders and files that no user puts among data."""

POINTERS, SMALL = (
    {
        b"version https://git-lfs.github.com/spec/": ("is a git-lfs pointer, not the file", "git lfs pull"),
        b"/annex/objects/": ("is a git-annex pointer, not the file", "git annex get"),
    },
    1024,
)
"""How the text, below SMALL bytes, begins that a clone without git-lfs or git-annex holds in place of a file;
and what to say of it and to run."""

STAND_INS = {
    **dict.fromkeys(
        (".part", ".partial", ".crdownload", ".download", ".aria2", ".filepart", ".opdownload"),
        ("is a download that did not finish", "download it again"),
    ),
    ".dvc": ("is a pointer of DVC, not the file", "run dvc pull in its repository"),
    ".icloud": ("is in iCloud, not on this disk", "download it in the Finder"),
}
"""What programs append to the name of a file that is not there (yet); what to say of it, and the fix."""

CONTAINERS = (
    *(".zip", ".tar", ".tgz", ".tar.gz", ".tar.bz2", ".tar.xz", ".7z", ".rar"),
    *(".parquet", ".feather", ".arrow", ".xlsx", ".xls", ".ods", ".pkl", ".pickle", ".joblib"),
    *(".h5", ".hdf5", ".mat", ".tfrecord", ".lmdb", ".sqlite", ".npy", ".npz", ".pt", ".pth"),
)
TEXTS = (".txt", ".json", ".jsonl", ".ndjson", ".arff")
"""Suffixes of files that may hold samples, and of texts that may hold tables. A trainer that does not read
them lists them as not used, and files with a further suffix (`faces.csv.xz`, `faces.csv.bak`)."""


@dataclass(frozen=True)
class Found:
    """A data file: its path, the path below the data folder in NFC, and whether the rule hides it."""

    path: Path
    name: str
    hidden: bool


def is_hidden(name: str) -> bool:
    """Whether a folder or file of this name is not data."""
    return name.startswith(".") or name.lower() in LITTER


def files(folder: Path) -> Iterator[Path]:
    """Yield all files below `folder` that are not hidden, sorted by name; follows links except cycles.

    Raises Unread if a folder cannot be listed.
    """
    return (path for path, hidden in _below(folder, frozenset(), False) if not hidden)


def folders(folder: Path) -> list[Path]:
    """The folders in `folder` that are not hidden, sorted by name; none if it cannot be listed."""
    try:
        return sorted(path for path in folder.iterdir() if path.is_dir() and not is_hidden(path.name))
    except OSError:
        return []


def data_files(folders: Mapping[str, Path], suffixes: Iterable[str]) -> tuple[list[Found], list[Refusal]]:
    """The files below data folders with one of the suffixes, in any case, by path; and what is not used.

    That is what is hidden, what stands in for a file that is not there (STAND_INS), and CONTAINERS of another
    kind. Only stand-ins are `broken`.
    """
    endings = tuple(suffix.lower() for suffix in suffixes)
    listed: list[Found] = []
    refused: list[Refusal] = []
    for folder in folders.values():
        for path, hidden in _below(folder, frozenset(), False):
            file = Found(path, nfc(path.relative_to(folder).as_posix()), hidden)
            if path.name.lower().endswith(endings):
                listed.append(file)
            elif refusal := _not_read(file, endings):
                refused.append(refusal)
    listed.sort(key=lambda file: (file.path, file.name))
    refused += [
        Refusal(str(file.path), "files.hidden", "is hidden or left by the system", file.name, broken=False)
        for file in listed
        if file.hidden
    ]
    return [file for file in listed if not file.hidden], refused


def _not_read(file: Found, endings: Sequence[str]) -> Refusal | None:
    """Why a file without one of the endings is listed as not used; None for one that holds no samples."""
    original, suffix = stand_in(file.path.name)
    if original.lower().endswith(tuple(endings)):
        if (file.path.parent / original).exists():
            return None
        what, how = STAND_INS[suffix]
        return Refusal(str(file.path), "files.there", what, how)
    kinds = (*CONTAINERS, *TEXTS) if ".csv" in endings else CONTAINERS
    if file.hidden or not (file.path.name.lower().endswith(kinds) or _has_more(file.path, endings)):
        return None
    how = f"unpack or convert it to {' or '.join(endings)}"
    return Refusal(str(file.path), "files.there", "is of a kind that is not read", how, broken=False)


def _has_more(path: Path, endings: Sequence[str]) -> bool:
    """Whether a name has a suffix, or an editor's `~`, after one of the endings."""
    return any(name.lower().endswith(tuple(endings)) for name in (path.stem, path.name.removesuffix("~")))


def stand_in(name: str) -> tuple[str, str]:
    """The file that one of this name stands in for, and the key of STAND_INS; empty for other names."""
    suffix = Path(name).suffix.lower()
    if suffix not in STAND_INS:
        return "", ""
    stem = Path(name).stem
    return stem.removeprefix(".") if suffix == ".icloud" else stem, suffix


def nfc(name: str) -> str:
    """A name with composed letters: macOS writes them decomposed, other systems as they were typed."""
    return unicodedata.normalize("NFC", name)


def require_file(path: Path) -> None:
    """Raise Unusable unless the path is a regular file or a link to one, or as `require_content` does.

    A file whose name is that of a stand-in is refused as such.
    """
    if suffix := stand_in(path.name)[1]:
        raise Unusable(*STAND_INS[suffix], "files.there")
    with read_or_stop(path):
        is_file, is_folder = path.is_file(), path.is_dir()
    if is_folder:
        raise Unusable("is a folder, not a file", "", "files.there")
    if not is_file and path.is_symlink():
        target = str(path.readlink())
        fix = "; run git annex get in its repository" if "annex/objects/" in target else ""
        raise Unusable("is a link to nothing", target + fix, "files.there")
    if not is_file:
        what = "is no regular file" if path.exists() else "does not exist"
        raise Unusable(what, "", "files.there")
    require_content(path)


def require_content(path: Path) -> None:
    """Raise Unusable if the file is empty, or holds one of POINTERS instead of the content; or Unread."""
    with read_or_stop(path):
        if path.stat().st_size >= SMALL:
            return
        with path.open("rb") as file:
            head = file.read(SMALL)
    if not head:
        raise Unusable("is empty", "0 bytes", "files.there")
    for start, (what, command) in POINTERS.items():
        if head.startswith(start):
            raise Unusable(what, f"run {command} in its repository", "files.there")


def _below(folder: Path, above: frozenset[tuple[int, int]], hidden: bool) -> Iterator[tuple[Path, bool]]:
    with read_or_stop(folder):
        about = folder.stat()
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    here = (about.st_dev, about.st_ino)
    if here in above:
        return
    for entry in entries:
        path, out = Path(entry.path), hidden or is_hidden(entry.name)
        is_folder = path.is_dir() if entry.is_symlink() else entry.is_dir()  # a link may loop
        if is_folder:
            yield from _below(path, above | {here}, out)
        else:
            yield path, out
