"""Files on the client: written atomically, locked, read with a clear error; and those of the package."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any, BinaryIO

from orchestrator.core import shell
from orchestrator.errors import GpujobError, UsageError
from orchestrator.onhost import files

_LONGEST_TEXT = 8 << 20  # bytes
_BOM = "\ufeff"
_ALL_IGNORED = "*\n"
_PACKAGE = Path(__file__).parent
Version = tuple[int, int, int] | None


def write(path: Path, content: bytes) -> None:
    """Replaces a file atomically; it is on the disk when this returns, and readable by its owner alone."""
    ensure_private(path.parent)
    files.write(str(path), content)
    sync(path.parent)  # a new name is on the disk once its folder is


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    ensure_private(path.parent)
    files.write_json(str(path), value)
    sync(path.parent)


def write_result(path: Path, content: bytes, shown: str, next_step: str) -> None:
    """A file for the user, replaced atomically. GpujobError, which calls it `shown`, if that fails."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        files.write(str(path), content, 0o644)
    except OSError as error:
        raise GpujobError(f"{shown} cannot be written", error.strerror or "", next_step) from None


def ensure_private(folder: Path) -> None:
    """Creates a folder and its missing parents, which their owner alone may use whatever the umask is."""
    missing = [one for one in (folder, *folder.parents) if not one.exists()]
    for one in reversed(missing):
        one.mkdir(mode=0o700, exist_ok=True)


def write_private(path: Path, content: bytes) -> None:
    """Writes a new file that is not waited for: for what can be written again after a crash."""
    ensure_private(path.parent)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as handle:
        handle.write(content)


def open_to_append(path: Path) -> BinaryIO:
    """A log of gpujob, which its owner alone may read."""
    ensure_private(path.parent)
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600), "ab")


def write_cache(path: Path, value: Mapping[str, Any]) -> None:
    """As write_json; a cache that cannot be written, such as on a read-only disk, is no error."""
    with contextlib.suppress(OSError):
        write_json(path, value)


def remove_cache(path: Path) -> None:
    with contextlib.suppress(OSError):
        path.unlink()


def json_files(folder: Path) -> list[Path]:
    """The JSON files in a folder, by name; none if it cannot be read."""
    try:
        return [folder / name for name in sorted(os.listdir(folder)) if name.endswith(".json")]  # noqa: PTH208 - sorts texts, not paths
    except OSError:
        return []


def load_json(path: Path) -> dict[str, Any] | None:
    """The object in a file; None if there is no such file, or it holds no JSON object."""
    return files.load_json(str(path))


def read_json(path: Path) -> bytes:
    """The content of a file that may be JSON, up to the longest that `load_json` reads; OSError."""
    return files.read(str(path), files.LONGEST_JSON)


def version(path: Path) -> Version:
    """What tells the content of a file that is replaced, not written to, from an earlier one's."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_ino, status.st_mtime_ns, status.st_size


def sync(path: Path) -> None:
    """Waits until a file, or the names in a folder, are on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def lock(path: Path, wait: bool = True) -> Iterator[bool]:
    """One at a time among all processes of this machine. `path` is the lock's file, which stays.

    Yields True once the lock is held; with `wait=False` it yields False if another process holds it.
    """
    with explained_locks(), files.lock(str(path), wait) as is_locked:
        yield is_locked


@contextlib.contextmanager
def explained_locks() -> Iterator[None]:
    """Within it, a file system without locks is a GpujobError that says what to do."""
    try:
        yield
    except files.NoLocks as error:
        why = "without them two commands could write the same file"
        raise GpujobError(
            str(error), why, "use a folder on a local disk: XDG_STATE_HOME, or fetch --to"
        ) from None


@contextlib.contextmanager
def ignored_by_git(path: Path) -> Iterator[None]:
    """What the block creates at `path` is no code: the outermost new folder gets a .gitignore for all of it.

    A folder that held files before stays as it is.
    """
    outermost = path
    while not outermost.parent.exists():
        outermost = outermost.parent
    is_new = not outermost.exists() or (outermost.is_dir() and _is_empty(outermost))
    try:
        yield
    finally:
        rules = outermost / ".gitignore"
        if is_new and outermost.is_dir() and not rules.exists():
            rules.write_text(_ALL_IGNORED, "utf-8")


def keep_out_of_git(folder: Path) -> None:
    """Creates a folder that holds no code; one that holds files of the user stays as it is. GpujobError."""
    make_folder(folder, "--to DIR names another folder")
    if _is_empty(folder):
        (folder / ".gitignore").write_text(_ALL_IGNORED, "utf-8")


def make_folder(folder: Path, next_step: str) -> None:
    """Creates a folder and those above it. GpujobError names what has its place, or that of one above it."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise GpujobError(f"{folder} cannot be created", _why_not(folder, error), next_step) from None


def _why_not(folder: Path, error: OSError) -> str:
    existing = next((one for one in (folder, *folder.parents) if os.path.lexists(one)), folder)
    if existing.is_symlink() and not existing.exists():
        return f"{existing} is a link to {existing.readlink()}, which does not exist"
    return (error.strerror or str(error)) if existing.is_dir() else f"{existing} is no folder"


def _is_empty(folder: Path) -> bool:
    """Nothing is in it, or it was made by `ignored_by_git` and may be made again."""
    rules = folder / ".gitignore"
    return not any(folder.iterdir()) or (rules.is_file() and rules.read_bytes() == _ALL_IGNORED.encode())


def read_text(path: Path, shown: str) -> str:
    """A text that a person wrote. The UsageError calls the file `shown`, and names the line and the byte."""
    try:
        with path.open("rb") as file:
            raw = file.read(_LONGEST_TEXT + 1)
    except OSError as error:
        raise UsageError(f"{shown} cannot be read: {error}") from None
    if len(raw) > _LONGEST_TEXT:
        raise UsageError(f"{shown} is larger than {_LONGEST_TEXT >> 20} MiB", "gpujob reads no larger one")
    try:
        return raw.decode("utf-8").removeprefix(_BOM)
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        guess = "UTF-16" if raw.startswith((b"\xff\xfe", b"\xfe\xff")) else "ISO-8859-1"
        raise UsageError(
            f"{shown}:{line} cannot be read: it is not UTF-8 text",
            f"byte 0x{raw[error.start]:02x} at offset {error.start}",
            f"save it as UTF-8; from {guess}: iconv -f {guess} -t UTF-8 {shell.join([str(path)])}",
        ) from None


def folder(name: str) -> Path:
    """`jobs` or `templates`: below the package in a wheel, in the repository in an editable install."""
    packaged = _PACKAGE / "_share" / name
    return packaged if packaged.is_dir() else _PACKAGE.parent / name


def trainers_folder() -> Path:
    """The package `trainers`, which is located but not imported."""
    spec = find_spec("trainers")
    assert spec is not None, "gpujob is installed without its trainers"
    assert spec.submodule_search_locations
    return Path(next(iter(spec.submodule_search_locations)))


def trainer_names() -> list[str]:
    """Every trainer that comes with gpujob, by its folder."""
    names = {path.parent.name for path in trainers_folder().glob("*/config.py")} - {"engine"}
    return sorted(name.replace("_", "-") for name in names)
