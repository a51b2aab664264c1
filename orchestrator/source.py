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
from orchestrator.digests import Digests
from orchestrator.errors import UsageError
from orchestrator.onhost import folders

if TYPE_CHECKING:
    import pathspec

    Rules = tuple[tuple[str, pathspec.GitIgnoreSpec], ...]  # each with the folder of its .gitignore

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
