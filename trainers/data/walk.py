"""Lists the data files below a folder: one rule for all trainers. Standard library only.

What editors, file managers and archives leave beside data is hidden: names that begin with a dot
(`.ipynb_checkpoints`, AppleDouble's `._name`), `__MACOSX`, Thumbs.db and the like.
"""

import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from trainers.data.refusal import Refusal, Unusable, read_or_stop

LITTER = frozenset(
    {"__macosx", "@eadir", "$recycle.bin", "lost+found", "system volume information", "__pycache__"}
    | {"thumbs.db", "desktop.ini"}
)
"""Names, in lower case, of folders and files that no user puts among data."""

LFS_POINTER, SMALL = b"version https://git-lfs.github.com/spec/", 1024
"""How the text, below SMALL bytes, begins that a clone without git-lfs holds in place of a file."""


@dataclass(frozen=True)
class Found:
    """A data file, and its path relative to the data folder; `hidden` if it lies in what the rule hides."""

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


def data_files(folders: Mapping[str, Path], suffixes: Iterable[str]) -> tuple[list[Found], list[Refusal]]:
    """The files below data folders with one of the suffixes, in any case, sorted by path; and hidden ones."""
    endings = tuple(suffix.lower() for suffix in suffixes)
    found = sorted(
        (
            Found(path, path.relative_to(folder).as_posix(), hidden)
            for folder in folders.values()
            for path, hidden in _below(folder, frozenset(), False)
            if path.name.lower().endswith(endings)
        ),
        key=lambda file: (file.path, file.name),
    )
    refused = [
        Refusal(str(file.path), "files.hidden", "is hidden or left by the system", file.name, broken=False)
        for file in found
        if file.hidden
    ]
    return [file for file in found if not file.hidden], refused


def require_file(path: Path) -> None:
    """Raise Unusable unless the path is a regular file or a link to one, or as `require_content` does."""
    with read_or_stop(path):
        is_file, is_folder = path.is_file(), path.is_dir()
    if is_folder:
        raise Unusable("is a folder, not a file", "", "files.there")
    if not is_file and path.is_symlink():
        raise Unusable("is a link to nothing", str(path.readlink()), "files.there")
    if not is_file:
        what = "is no regular file" if path.exists() else "does not exist"
        raise Unusable(what, "", "files.there")
    require_content(path)


def require_content(path: Path) -> None:
    """Raise Unusable if the file is empty, or a pointer of git-lfs instead of the content; or Unread."""
    with read_or_stop(path):
        if path.stat().st_size >= SMALL:
            return
        with path.open("rb") as file:
            head = file.read(len(LFS_POINTER))
    if not head:
        raise Unusable("is empty", "0 bytes", "files.there")
    if head == LFS_POINTER:
        how = "run git lfs pull in its repository"
        raise Unusable("is a git-lfs pointer, not the file", how, "files.there")


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
