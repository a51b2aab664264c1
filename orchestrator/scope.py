"""Which files of a code folder are sent: never credentials, gpujob's own files, or what the job excludes."""

from __future__ import annotations

import contextlib
import os
import posixpath
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from orchestrator import gitignore
from orchestrator.core import credentials, tokens
from orchestrator.core.text import counted, size
from orchestrator.core.variables import lists_secret
from orchestrator.errors import UsageError
from orchestrator.onhost import folders

if TYPE_CHECKING:
    import pathspec

_SYSTEM = "/bin /boot /dev /etc /lib /lib64 /opt /proc /run /sbin /srv /sys /tmp /usr /var"
_LARGE = 50 << 20  # bytes of code above which a deploy names the largest files
_MANY = 10_000  # files
_LARGEST_SHOWN = 10
_NAMES_SHOWN = 5
_POINTER = b"version https://git-lfs.github.com/spec/"
_LARGEST_POINTER = 1024  # bytes
_RULES_READ = 1 << 16

FileId = tuple[int, int]  # device and inode


class Scope(msgspec.Struct, frozen=True):
    """What a code folder may not send.

    `exclude`: patterns as in .gitignore, relative to the folder. `send_credentials`: paths that are sent
    although they look like credentials. `outputs`: the files that gpujob itself writes its output to.
    `own`: folders and files of gpujob on the client. `home`: the user's home. `env`: git's
    environment.
    """

    exclude: tuple[str, ...] = ()
    send_credentials: tuple[str, ...] = ()
    outputs: frozenset[FileId] = frozenset()
    own: tuple[Path, ...] = ()
    home: Path | None = None
    env: Mapping[str, str] | None = None


EVERYTHING = Scope()
"""All that git does not ignore, but for credentials."""


class Listing(msgspec.Struct, frozen=True):
    """Files to send, and those that are not: `credentials` are named to the user, the others are not."""

    paths: list[str]
    credentials: list[str]
    others: list[str]


def require_narrow(folder: Path, home: Path | None, what: str, fix: str) -> None:
    """UsageError where a folder is the home, contains it, is one of the system's, or keeps credentials."""
    real = Path(os.path.realpath(folder))
    homes = [Path(os.path.realpath(home))] if home and str(home) else []
    if real == Path("/") or str(real) in _SYSTEM.split():
        raise UsageError(f"{what} is {real}: a system folder is not sent", "", fix)
    if credentials.is_of_credentials(str(real)):
        raise UsageError(f"{what} is a folder of credentials ({folder}): it is not sent", "", fix)
    if any(one == real or real in one.parents for one in homes):
        relation = "is your home" if real in homes else "contains your home"
        raise UsageError(
            f"{what} {relation} ({folder}): it is not sent", "it holds keys and private files", fix
        )


def divide(folder: Path, paths: Iterable[str], scope: Scope) -> Listing:
    """The listed files by what becomes of them; UsageError where one that is to be sent does not exist."""
    for path in scope.send_credentials:
        if not (folder / path).is_file():
            raise UsageError(f"send_credentials: there is no file {path} in {folder}")
    rules, own = excluded(scope), tuple(_below(folder, scope.own))
    listing = Listing([], [], [])
    for path in sorted({*paths, *scope.send_credentials}):
        if path in scope.send_credentials:
            listing.paths.append(path)
        elif rules and rules.match_file(path):
            listing.others.append(path)
        elif is_credential(folder, path):
            listing.credentials.append(path)
        elif f"{path}/".startswith(own) or _is_output(folder, path, scope.outputs):
            listing.others.append(path)
        else:
            listing.paths.append(path)
    return listing


def excluded(scope: Scope) -> pathspec.GitIgnoreSpec | None:
    """The patterns of `exclude`, which are valid; None without any."""
    return gitignore.patterns(scope.exclude) if scope.exclude else None


def is_credential(folder: Path, path: str) -> bool:
    """By its name, or for the names that keys and settings have, by its first bytes."""
    if credentials.has_credential_name(path):
        return True
    is_env = credentials.is_environment(path)
    if not is_env and not credentials.may_hold_credential(path):
        return False
    head = _head(folder / path, credentials.HEAD)
    if credentials.is_bundle(head):
        head = _head(folder / path, credentials.BUNDLE)
    return credentials.holds_credential(head) or (is_env and lists_secret(head.decode("utf-8", "replace")))


def _require_complete_links(folder: Path, tree: folders.Tree) -> list[str]:
    """The links that lead nowhere. UsageError for one to a file that exists and is not sent."""
    links = {entry.path: entry.target for entry in tree.entries if entry.kind == "link"}
    if not links:
        return []
    present = {entry.path for entry in tree.entries}
    present |= {parent for path in present for parent in _parents(path)} | {"."}
    lost = {path: aim for path in links if (aim := _aim(path, links)) not in present}
    for path, aim in lost.items():
        annex = ".git" in aim.split("/")
        if annex or (folder / aim).exists():
            why = "files in .git are not sent" if annex else "git ignores it, or gpujob does not send it"
            copy = "git annex unlock" if annex else "replace the link by the file"
            raise UsageError(
                f"{folder} cannot be sent: {path} is a link to {aim}, which is not sent",
                why,
                f"{copy}, name the folder under data:, or leave the link out: exclude: [{path}]",
            )
    return [path for path in lost if not posixpath.basename(path).startswith(".#")]  # Emacs locks are such


def notes(folder: Path, tree: folders.Tree, listing: Listing, scope: Scope) -> tuple[str, ...]:
    """What the user should know before the code is sent. UsageError for a link that would break."""
    messages, lost_links = [], _require_complete_links(folder, tree)
    if listing.credentials:
        names = _first(_by_folder(listing.credentials))
        messages.append(
            f"not sent, since they look like credentials: {names} (job key send_credentials sends one)"
        )
    if sent := [path for path in listing.paths if path in scope.send_credentials]:
        messages.append(f"send_credentials: {_first(sent)} will be readable on the host")
    if suspects := _tokens(folder, tree, scope):
        messages.append(
            f"the code that is sent holds what looks like credentials: {_first(suspects)} "
            "(job key pass_env passes one from your shell instead)"
        )
    if lost_links:
        messages.append(f"links in the code that lead nowhere: {_first(lost_links)}")
    if pointers := _lfs_pointers(folder, tree):
        messages.append(
            f"Git LFS pointers instead of files: {_first(pointers)} (git lfs pull gets the files)"
        )
    if tree.size > _LARGE or len(tree.entries) > _MANY:
        largest = sorted(tree.entries, key=lambda entry: -entry.size)[:_LARGEST_SHOWN]
        names = ", ".join(f"{entry.path} ({size(entry.size)})" for entry in largest)
        messages.append(
            f"the code has {counted(len(tree.entries), 'file')}, {size(tree.size)}; the largest: {names}. "
            "The job key exclude, or .gitignore, leaves files out"
        )
    return tuple(messages)


def _tokens(folder: Path, tree: folders.Tree, scope: Scope) -> list[str]:
    """`train.py:12 a GitHub token` for each in the text that is sent; the search is bounded."""
    suspects: list[str] = []
    files = [one for one in tree.entries if one.kind != "link" and tokens.may_hold(one.path, one.size)]
    left = tokens.MOST_BYTES
    for entry in files[: tokens.MOST_FILES]:
        left -= entry.size
        if left < 0:
            break
        if entry.path not in scope.send_credentials:
            content = _head(folder / entry.path, tokens.LARGEST)
            suspects += [f"{entry.path}:{one.line} {one.kind}" for one in tokens.find(content)]
    return suspects


def _lfs_pointers(folder: Path, tree: folders.Tree) -> list[str]:
    """Files of which this clone has only the reference that git stores."""
    rules = [entry.path for entry in tree.entries if entry.path.endswith(".gitattributes")]
    if not any(b"filter=lfs" in _head(folder / path, _RULES_READ) for path in rules):
        return []
    small = (entry.path for entry in tree.entries if entry.kind != "link" and entry.size <= _LARGEST_POINTER)
    return [path for path in small if _head(folder / path, len(_POINTER)) == _POINTER]


def _head(path: Path, count: int) -> bytes:
    """The first bytes of a file; none of one that cannot be read. A pipe does not block."""
    with contextlib.suppress(OSError):
        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
        try:
            return os.read(handle, count)
        finally:
            os.close(handle)
    return b""


def _aim(path: str, links: Mapping[str, str]) -> str:
    """What a link leads to, relative to the folder; the way may lead through other links of the folder."""
    aim = path
    for _ in range(40):
        through = next((one for one in (aim, *_parents(aim)) if one in links), None)
        if through is None:
            return aim
        rest = aim[len(through) :].lstrip("/")
        aim = posixpath.normpath(posixpath.join(posixpath.dirname(through), links[through], rest))
    return f"{links[path]}/"  # a loop; no file has such a name


def _parents(path: str) -> Iterator[str]:
    while path := posixpath.dirname(path):
        if path == "/":
            return
        yield path


def _below(folder: Path, own: Iterable[Path]) -> Iterator[str]:
    real = os.path.realpath(folder)
    for path in own:
        relative = os.path.relpath(os.path.realpath(path), real)
        if relative != "." and not relative.startswith(".."):
            yield f"{relative}/"


def _is_output(folder: Path, path: str, outputs: frozenset[FileId]) -> bool:
    if not outputs:
        return False
    with contextlib.suppress(OSError):
        status = os.lstat(folder / path)
        return (status.st_dev, status.st_ino) in outputs
    return False


def _by_folder(paths: Sequence[str]) -> list[str]:
    """`.ssh/` once instead of each file in it."""
    groups = ((path, f"{posixpath.dirname(path)}/") for path in paths)
    return list(dict.fromkeys(at if credentials.is_of_credentials(at) else path for path, at in groups))


def _first(names: Sequence[str]) -> str:
    more = len(names) - _NAMES_SHOWN
    return ", ".join(names[:_NAMES_SHOWN]) + (f" and {more} more" if more > 0 else "")
