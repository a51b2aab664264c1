"""Reads code folders into trees. Git's own list where there is git, else the rules of .gitignore."""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from orchestrator.core import codetree
from orchestrator.errors import UsageError
from orchestrator.onhost import trees

_ALWAYS = [".git/", "__pycache__/"]


@dataclass(frozen=True)
class Source:
    """A folder of code as it is now; `patch` is the dirty tree against `commit`."""

    folder: Path
    tree: codetree.Tree
    commit: str | None = None
    dirty: bool = False
    patch: str = ""


def read(folder: Path) -> Source:
    """Tracked and not ignored files of `folder`, the dirty tree too. UsageError names what cannot be sent."""
    if not folder.is_dir():
        raise UsageError(f"the code folder {folder} does not exist")
    paths, submodules = _listed(folder)
    tree = codetree.tree(trees.entries(str(folder), paths))
    if not tree.entries:
        why = "git ignores all of it" if _git(folder, "rev-parse", "HEAD") is not None else "it is empty"
        raise UsageError(
            f"there is nothing to send in {folder}", why, "name the folder of the code: code: PATH"
        )
    wrong = [f"{path} is a submodule" for path in submodules] + codetree.refusals(tree)
    if wrong:
        raise UsageError(f"{folder} cannot be sent: {wrong[0]}", "; ".join(wrong[1:5]))
    commit = _git(folder, "rev-parse", "HEAD")
    patch = _git(folder, "diff", "--binary", "HEAD", "--", ".") if commit else None
    dirty = bool(patch) or bool(commit and _git(folder, "ls-files", "-o", "--exclude-standard"))
    return Source(folder, tree, _text(commit), dirty, _text(patch, strip=False) or "")


def package(folder: Path) -> Source:
    """A Python package as it is installed: its .py files below its own name."""
    paths = [p.relative_to(folder.parent).as_posix() for p in folder.rglob("*.py")]
    commit = _text(_git(folder, "rev-parse", "HEAD"))
    return Source(folder.parent, codetree.tree(trees.entries(str(folder.parent), paths)), commit)


def lay_out(source: Source, to: Path) -> None:
    """The tree as a read-only snapshot at `to`, which appears when it is whole."""
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
    copied = codetree.tree(trees.entries(str(partial), [e.path for e in source.tree.entries]))
    if copied.hash != source.tree.hash:
        shutil.rmtree(partial, ignore_errors=True)
        names = sorted(entry.path for entry in set(copied.entries) ^ set(source.tree.entries))
        why = f"{', '.join(dict.fromkeys(names[:3]))}: something writes there now"
        raise UsageError(
            f"{source.folder} changed while it was read", why, "write it elsewhere, or to .gitignore"
        )
    try:
        partial.rename(to)
    except OSError:
        shutil.rmtree(partial, ignore_errors=True)
        if not to.is_dir():  # else another client was first
            raise


def _listed(folder: Path) -> tuple[list[str], list[str]]:
    staged = _git(folder, "ls-files", "-z", "--stage", "--", ".")
    if staged is None:
        return _walked(folder), []
    tracked, submodules = codetree.parse_git_list(staged)
    others = _git(folder, "ls-files", "-z", "-o", "--exclude-standard", "--", ".") or b""
    new = [name.decode("utf-8", "surrogateescape") for name in others.split(b"\0") if name]
    return sorted({*tracked, *new}), submodules


def _walked(folder: Path) -> list[str]:
    import pathspec  # noqa: PLC0415 - 43 ms that a folder under git does not need

    rules = {folder: pathspec.GitIgnoreSpec.from_lines(_ALWAYS)}

    def ignored(path: Path, slash: str = "") -> bool:
        above = (base for base in path.parents if base in rules)
        return any(rules[base].match_file(path.relative_to(base).as_posix() + slash) for base in above)

    found = []
    for at, folders, names in os.walk(folder):
        here = Path(at)
        if ".gitignore" in names:
            lines = (here / ".gitignore").read_text("utf-8").splitlines()
            rules[here] = pathspec.GitIgnoreSpec.from_lines([*lines, *_ALWAYS])
        folders[:] = [d for d in folders if not ignored(here / d, "/")]
        linked = [d for d in folders if (here / d).is_symlink()]
        found += [here / name for name in [*names, *linked] if not ignored(here / name)]
    return sorted(path.relative_to(folder).as_posix() for path in found)


def _git(folder: Path, *words: str) -> bytes | None:
    """stdout, or None where git says no (no repository) or is not installed."""
    try:
        done = subprocess.run(["git", "-C", str(folder), *words], capture_output=True, check=False)
    except FileNotFoundError:
        return None
    if b"dubious ownership" in done.stderr:
        raise UsageError(
            f"git refuses {folder}", done.stderr.decode(errors="replace").strip().splitlines()[-1]
        )
    return done.stdout if done.returncode == 0 else None


def _text(raw: bytes | None, strip: bool = True) -> str | None:
    if raw is None:
        return None
    text = raw.decode("utf-8", errors="replace")
    return text.strip() if strip else text
