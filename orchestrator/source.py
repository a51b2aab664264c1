"""Reads code folders into trees: the files that git lists, or without git those that .gitignore allows."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import stat
import struct
import zlib
from array import array
from collections.abc import Callable
from pathlib import Path

import msgspec
from msgspec.structs import replace

from orchestrator import files, gitignore
from orchestrator.core.credentials import without_credentials
from orchestrator.core.text import size
from orchestrator.errors import UsageError
from orchestrator.git import Files, Git, GitFailed, NoRepository, list_files
from orchestrator.onhost import folders
from orchestrator.onhost.files import open_regular
from orchestrator.scope import EVERYTHING, Scope, divide, excluded, notes, require_narrow

_LARGEST_PATCH = 1 << 20  # bytes: run.json holds it


class Source(msgspec.Struct, frozen=True):
    """A folder of code as it is now; `patch` is the dirty tree against `commit`.

    `notes`: what is not sent, or larger than expected, for the user.
    """

    folder: Path
    tree: folders.Tree
    commit: str | None = None
    dirty: bool = False
    patch: str = ""
    notes: tuple[str, ...] = ()


def read(folder: Path, digests: Digests | None = None, scope: Scope = EVERYTHING) -> Source:
    """The files of `folder` that git does not ignore and the scope allows, with uncommitted changes.

    UsageError names what cannot be sent. With `digests`, files that did not change
    since the last time are not read.
    """
    if not folder.is_dir():
        what = "is a file" if folder.exists() else "does not exist"
        raise UsageError(f"the code folder {folder} {what}", "", "code: FOLDER in the job file")
    try:
        return _read(folder, digests, scope)
    except PermissionError as error:
        path = os.path.relpath(folder / os.fsdecode(error.filename or ""), folder)
        what = f"{folder} cannot be sent: {path} cannot be read"
        raise UsageError(
            what, error.strerror or "", f"exclude: [{path}] in the job file leaves it out"
        ) from None


def _read(folder: Path, digests: Digests | None, scope: Scope) -> Source:
    own_folder = "put the job and its code into a folder of their own"
    require_narrow(folder, scope.home, "the code folder", own_folder)
    from concurrent.futures import ThreadPoolExecutor  # noqa: PLC0415 - `status` reads no code

    git = Git(folder, scope.env)
    with ThreadPoolExecutor(2) as pool:  # git compares while the files are read
        changes = pool.submit(_changes, git, scope)
        try:
            listed = list_files(git)
        except NoRepository:
            listed = Files(list(gitignore.walk(folder, excluded(scope))))
        nested = [pool.submit(_changes, git, scope, at) for at in listed.repositories]
        listing = divide(folder, listed.paths, scope)
        paths = listing.paths
        entries = digests.entries(folder, paths) if digests else folders.tree_entries(str(folder), paths)
        tree = folders.tree(entries)
        if not tree.entries:
            why = "git ignores all of it" if changes.result().commit else "it is empty"
            raise UsageError(
                f"there is nothing to send in {folder}", why, "name the folder of the code: code: PATH"
            )
        if wrong := folders.refusals(tree):
            raise UsageError(f"{folder} cannot be sent: {wrong[0]}", "; ".join(wrong[1:5]))
        messages = notes(folder, tree, listing, scope)
        together = _joined([changes.result(), *(inner.result() for inner in nested)])
        return _described(Source(folder, tree, notes=messages), together, listed.untracked)


def package(folder: Path) -> Source:
    """A Python package as it is installed: its .py files below its own name."""
    paths = [p.relative_to(folder.parent).as_posix() for p in folder.rglob("*.py")]
    try:
        commit = Git(folder, None).commit()
    except (NoRepository, UsageError):  # installed from no clone, or from that of another user
        commit = None
    return Source(folder.parent, folders.tree(folders.tree_entries(str(folder.parent), paths)), commit)


class _Changes(msgspec.Struct, frozen=True):
    """The commit, and how the folder differs from it. `failure`: why there is no patch."""

    commit: str | None = None
    patch: bytes = b""
    failure: str = ""


def _changes(git: Git, scope: Scope, at: str = "") -> _Changes:
    """Of the repository `at` within that of `git`, or of that one.

    Without the changes of files that are not sent: a patch of a credential holds it.
    """
    commit, folder, prefix = None, git.folder, f"{at}/" if at else ""
    inner = Git(folder / at, git.env)
    try:
        if not (commit := inner.commit()):
            return _Changes()
        changed = inner.changed()
        sent = set(divide(folder, [prefix + path for path in changed], scope).paths)
        patch = inner.patch([path for path in changed if prefix + path not in sent], prefix)
        return _Changes(commit, without_credentials(patch))
    except NoRepository:
        return _Changes()
    except GitFailed as failed:
        return _Changes(commit, failure=f"git cannot compare the code with HEAD: {failed}")


def _joined(changes: list[_Changes]) -> _Changes:
    """Those of a repository, which are the first, and of the repositories within it."""
    failure = next((each.failure for each in changes if each.failure), "")
    patch = b"".join(each.patch for each in changes)
    if len(patch) > _LARGEST_PATCH:
        failure = failure or f"the changes since HEAD have {size(len(patch))}"
    return _Changes(changes[0].commit, b"" if failure else patch, failure)


def _described(source: Source, changes: _Changes, untracked: list[str]) -> Source:
    """With the commit and what differs from it. A git that fails is not taken for a clean tree."""
    if not changes.commit:
        return source
    sent = {entry.path for entry in source.tree.entries}
    dirty = bool(changes.patch or changes.failure or sent.intersection(untracked))
    patch, messages = changes.patch.decode("utf-8", errors="replace"), list(source.notes)
    if changes.failure:
        messages.append(f"the run records no patch: {changes.failure}")
    elif "\ufffd" in patch and "\ufffd".encode() not in changes.patch:
        messages.append("the patch that the run records will not apply: it has text that is not UTF-8")
    return replace(source, commit=changes.commit, dirty=dirty, patch=patch, notes=tuple(messages))


def snapshot(source: Source, to: Path) -> None:
    """Copies the tree as a read-only snapshot to `to`, which appears once it is complete."""
    partial = to.with_name(f"{to.name}.{os.getpid()}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    for entry in source.tree.entries:
        target = partial / entry.path
        target.parent.mkdir(parents=True, exist_ok=True)
        if entry.kind == "link":
            target.symlink_to(entry.target)
        else:
            shutil.copyfile(source.folder / entry.path, target)
            target.chmod(0o555 if entry.kind == "exec" else 0o444)
    partial.mkdir(parents=True, exist_ok=True)
    copied = folders.tree(folders.tree_entries(str(partial), [e.path for e in source.tree.entries]))
    if copied.hash != source.tree.hash:
        shutil.rmtree(partial, ignore_errors=True)
        names = sorted(entry.path for entry in set(copied.entries) ^ set(source.tree.entries))
        why = f"{', '.join(dict.fromkeys(names[:3]))}: a process is writing there"
        raise UsageError(
            f"{source.folder} changed while it was read", why, "list it in .gitignore, or write elsewhere"
        )
    try:
        partial.rename(to)
    except OSError:
        shutil.rmtree(partial, ignore_errors=True)
        if not to.is_dir():  # else another client was first
            raise


SLACK = 2.0  # seconds: the coarsest clock of a file system in use (FAT)
_HEAD = struct.Struct("<8sII")  # magic, crc32 of what follows, number of files
_MAGIC = b"gjdig\0\0\1"
_TYPE = 0o170000  # bits of a file's mode
_POSITIVE = (1 << 63) - 1
_WIDTH = 64  # hexadecimal digits of a sha256
_Stamp = tuple[int, int, int, int]  # bytes, mtime ns, ctime ns, inode
_Digests = dict[str, tuple[_Stamp, str]]  # by path: the stamp of the file when it was hashed, and its digest


class Digests:
    """`folder` may be deleted at any time; a damaged file in it is ignored."""

    def __init__(self, folder: Path, now: Callable[[], float]) -> None:
        self._folder = folder
        self._now = now

    def entries(self, folder: Path, paths: list[str]) -> list[folders.Entry]:
        """As folders.tree_entries, but reads only files that have changed. 20,000 unchanged ones: 0.1 s."""
        cached, entries = self._load(folder), list[folders.Entry]()
        digests: _Digests = {}
        base = os.open(folder, os.O_RDONLY)
        try:
            for path in paths:
                try:
                    status = os.stat(path, dir_fd=base, follow_symlinks=False)
                except (FileNotFoundError, NotADirectoryError):
                    continue  # git also lists files that were deleted
                mode, size = status.st_mode, status.st_size
                if mode & _TYPE != stat.S_IFREG or size > folders.LARGEST:
                    entries += folders.tree_entries(str(folder), [path])
                    continue
                hit, stamp = cached.get(path), _stamp(status)
                if hit and hit[0] == stamp:
                    digests[path] = hit
                    digest = hit[1]
                else:
                    digest, is_stable = self._hash(base, path, stamp)
                    digests |= {path: (stamp, digest)} if is_stable else {}
                entries.append(folders.Entry(path, "exec" if mode & 0o100 else "file", size, digest))
        finally:
            os.close(base)
        if digests != cached:
            self._save(folder, digests)
        return entries

    def forget(self, folder: Path) -> None:
        """Reads all files of a folder again the next time."""
        self._file(folder).unlink(missing_ok=True)

    def _hash(self, base: int, path: str, stamp: _Stamp) -> tuple[str, bool]:
        """The digest, and whether any later change of the file will change its stamp."""
        start = self._now()
        with os.fdopen(os.open(path, os.O_RDONLY, dir_fd=base), "rb") as handle:
            digest = hashlib.sha256(handle.read()).hexdigest()
            after = _stamp(os.fstat(handle.fileno()))
        return digest, after == stamp and max(stamp[1:3]) / 1e9 < start - SLACK

    def _load(self, folder: Path) -> _Digests:
        """A cache that cannot be read back, for whatever reason, is built again."""
        try:
            with open_regular(str(self._file(folder))) as file:
                return _unpack(file.read())
        except (OSError, ValueError, struct.error):
            return {}

    def _save(self, folder: Path, entries: _Digests) -> None:
        """A cache that cannot be written is no error."""
        numbers = array("q", [number for stamp, _ in entries.values() for number in stamp])
        digests = bytes.fromhex("".join(digest for _, digest in entries.values()))
        body = numbers.tobytes() + digests + "\0".join(entries).encode("utf-8", "surrogateescape")
        with contextlib.suppress(OSError):
            files.write(self._file(folder), _HEAD.pack(_MAGIC, zlib.crc32(body), len(entries)) + body)

    def _file(self, folder: Path) -> Path:
        name = os.fsencode(folder.absolute())
        return self._folder / hashlib.sha256(name).hexdigest()[:16]


def _unpack(raw: bytes) -> _Digests:
    """What `Digests._save` wrote. Raises ValueError or struct.error for anything else."""
    magic, crc, count = _HEAD.unpack_from(raw)
    if magic != _MAGIC or crc != zlib.crc32(raw[_HEAD.size :]):
        raise ValueError("damaged, or of another version")
    middle = _HEAD.size + count * 32
    numbers = array("q", raw[_HEAD.size : middle])
    digests = raw[middle : (end := middle + count * 32)].hex()
    paths = raw[end:].decode("utf-8", "surrogateescape").split("\0") if count else []
    stamps = zip(*(numbers[column::4] for column in range(4)), strict=True)
    each = (digests[at : at + _WIDTH] for at in range(0, len(digests), _WIDTH))
    return dict(zip(paths, zip(stamps, each, strict=True), strict=True))


def _stamp(status: os.stat_result) -> _Stamp:
    """The lower 63 bits of the inode, which is what the cache file has room for."""
    return (status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino & _POSITIVE)
