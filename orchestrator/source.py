"""Reads code folders into trees: the files that git lists, or without git those that .gitignore allows."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator import process
from orchestrator.core import shell
from orchestrator.errors import UsageError
from orchestrator.onhost import folders

if TYPE_CHECKING:
    import pathspec

    Rules = tuple[tuple[str, pathspec.GitIgnoreSpec], ...]  # each with the folder of its .gitignore


import contextlib
import hashlib
import stat
import struct
import zlib
from array import array
from collections.abc import Callable

from orchestrator import files

_NEVER = (".git", "__pycache__")
_LISTS = (
    ("ls-files", "-z", "--stage", "--", "."),
    ("ls-files", "-z", "-o", "--exclude-standard", "--", "."),
    ("rev-parse", "HEAD"),
    ("diff", "--binary", "HEAD", "--", "."),
)


@dataclass(frozen=True)
class Source:
    """A folder of code as it is now; `patch` is the dirty tree against `commit`."""

    folder: Path
    tree: folders.Tree
    commit: str | None = None
    dirty: bool = False
    patch: str = ""


def read(folder: Path, digests: Digests | None = None) -> Source:
    """Tracked and not ignored files of `folder`, the dirty tree too. UsageError names what cannot be sent.

    With `digests`, files that did not change since the last time are not read.
    """
    if not folder.is_dir():
        raise UsageError(f"the code folder {folder} does not exist")
    with ThreadPoolExecutor(len(_LISTS)) as pool:  # git's commands run while the files are read
        staged, others, head, diff = (pool.submit(_git, folder, *words) for words in _LISTS)
        paths = _listed(folder, staged.result(), others.result() or b"")
        entries = digests.entries(folder, paths) if digests else folders.tree_entries(str(folder), paths)
        tree = folders.tree(entries)
        commit = _text(head.result())
        if not tree.entries:
            why = "git ignores all of it" if commit else "it is empty"
            raise UsageError(
                f"there is nothing to send in {folder}", why, "name the folder of the code: code: PATH"
            )
        wrong = folders.refusals(tree)
        if wrong:
            raise UsageError(f"{folder} cannot be sent: {wrong[0]}", "; ".join(wrong[1:5]))
        patch = diff.result() if commit else None
        dirty = bool(patch) or bool(commit and others.result())
        return Source(folder, tree, commit, dirty, _text(patch, strip=False) or "")


def package(folder: Path) -> Source:
    """A Python package as it is installed: its .py files below its own name."""
    paths = [p.relative_to(folder.parent).as_posix() for p in folder.rglob("*.py")]
    commit = _text(_git(folder, "rev-parse", "HEAD"))
    return Source(folder.parent, folders.tree(folders.tree_entries(str(folder.parent), paths)), commit)


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


def _listed(folder: Path, staged: bytes | None, others: bytes) -> list[str]:
    if staged is None:
        return list(_walked(folder))
    tracked, submodules = folders.parse_git_list(staged)
    new = [name.decode("utf-8", "surrogateescape") for name in others.split(b"\0") if name]
    _require_no_repositories(folder, submodules, [name[:-1] for name in new if name.endswith("/")])
    return sorted({*tracked, *new})


def _require_no_repositories(folder: Path, submodules: list[str], nested: list[str]) -> None:
    """Repositories within this one: git does not list what is in them."""
    wrong = [f"{path} is a submodule" for path in submodules]
    wrong += [f"{path} is a git repository of its own" for path in nested]
    if wrong:
        untrack = f"git rm --cached {shell.join(submodules[:1])}, then " if submodules else ""
        path = shell.join([f"{(submodules + nested)[0]}/.git"])
        leave = f"{untrack}a line in .gitignore leaves it out; to send its files, move {path} away"
        raise UsageError(f"{folder} cannot be sent: {wrong[0]}", "; ".join(wrong[1:5]), leave)


def _walked(folder: Path) -> Iterator[str]:
    """Files and links below `folder` that no .gitignore excludes."""
    pending: list[tuple[str, Rules]] = [("", ())]
    while pending:
        at, rules = pending.pop()
        with os.scandir(folder / at) as scan:
            entries = sorted(scan, key=lambda entry: entry.name)
        rules += tuple((at, _rules(entry.path)) for entry in entries if entry.name == ".gitignore")
        for entry in entries:
            path, is_folder = at + entry.name, entry.is_dir(follow_symlinks=False)
            if entry.name in _NEVER or _ignored(path + "/" * is_folder, rules):
                continue
            if is_folder:
                pending.append((path + "/", rules))
            else:
                yield path


def _rules(path: str) -> pathspec.GitIgnoreSpec:
    import pathspec  # noqa: PLC0415 - 43 ms that a folder under git does not need

    lines = Path(path).read_bytes().removeprefix(b"\xef\xbb\xbf").splitlines()
    return pathspec.GitIgnoreSpec.from_lines(os.fsdecode(line) for line in lines)


def _ignored(path: str, rules: Rules) -> bool:
    return any(rule.match_file(path[len(base) :]) for base, rule in rules)


def _git(folder: Path, *words: str) -> bytes | None:
    """stdout; None if git fails (no repository) or is not installed."""
    try:
        done = process.capture(["git", "-C", str(folder), *words])
    except FileNotFoundError:
        return None
    if "dubious ownership" in done.err:
        raise UsageError(f"git refuses {folder}", done.reason)
    return done.out if done.code == 0 else None


def _text(raw: bytes | None, strip: bool = True) -> str | None:
    if raw is None:
        return None
    text = raw.decode("utf-8", errors="replace")
    return text.strip() if strip else text


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
        try:
            raw = self._file(folder).read_bytes()
            magic, crc, count = _HEAD.unpack_from(raw)
        except (OSError, struct.error):
            return {}
        if magic != _MAGIC or crc != zlib.crc32(raw[_HEAD.size :]):
            return {}
        middle = _HEAD.size + count * 32
        numbers = array("q", raw[_HEAD.size : middle])
        digests = raw[middle : (end := middle + count * 32)].hex()
        paths = raw[end:].decode("utf-8", "surrogateescape").split("\0")
        stamps = zip(*(numbers[column::4] for column in range(4)), strict=True)
        each = (digests[at : at + _WIDTH] for at in range(0, len(digests), _WIDTH))
        return dict(zip(paths, zip(stamps, each, strict=True), strict=True))

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


def _stamp(status: os.stat_result) -> _Stamp:
    """The lower 63 bits of the inode, which is what the cache file has room for."""
    return (status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino & _POSITIVE)
