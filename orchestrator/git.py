"""What git says of a folder, whatever the user's configuration: its files, its commit, its changes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec

from orchestrator import process
from orchestrator.core import shell
from orchestrator.errors import UsageError
from orchestrator.onhost import folders

# What would change the format of a patch, or the files that a command is about.
_NEUTRAL = (
    "color.ui=false",
    "diff.algorithm=default",
    "diff.context=3",
    "diff.ignoreSubmodules=dirty",  # their own git compares them
    "diff.interHunkContext=0",
    "diff.mnemonicPrefix=false",
    "diff.noprefix=false",
    "diff.orderFile=/dev/null",
    "diff.relative=false",
    "diff.renames=false",
    "diff.submodule=short",
    "diff.suppressBlankEmpty=false",
)
_PATCH = ("--binary", "--no-color", "--no-ext-diff", "--no-textconv")
# Variables that name another repository than the folder's (a hook has them), or change what is printed.
_FOREIGN = """
    GIT_ALTERNATE_OBJECT_DIRECTORIES GIT_COMMON_DIR GIT_DIFF_OPTS GIT_DIR GIT_EXTERNAL_DIFF GIT_GLOB_PATHSPECS
    GIT_GRAFT_FILE GIT_ICASE_PATHSPECS GIT_IMPLICIT_WORK_TREE GIT_INDEX_FILE GIT_INTERNAL_SUPER_PREFIX
    GIT_LITERAL_PATHSPECS GIT_NAMESPACE GIT_NOGLOB_PATHSPECS GIT_OBJECT_DIRECTORY GIT_PREFIX GIT_SHALLOW_FILE
    GIT_TRACE GIT_WORK_TREE
"""
_ABSENT = ("not a git repository", "must be run in a work tree")


class NoRepository(Exception):
    """The folder is in no work tree, or git is not installed."""


class GitFailed(Exception):
    """git failed; the text is its own reason."""


class Git(msgspec.Struct, frozen=True):
    """Reads the repository that `folder` is in. `env`: git's environment, None for that of this process.

    All methods raise NoRepository, GitFailed, or UsageError where git distrusts the folder's owner.
    """

    folder: Path
    env: Mapping[str, str] | None

    def tracked(self) -> bytes:
        """As `git ls-files -z --stage` prints it, below `folder`."""
        return self._output("ls-files", "-z", "--stage", "--", ".")

    def untracked(self) -> list[str]:
        """Files that git does not ignore; a repository within this one ends with `/`."""
        return _names(self._output("ls-files", "-z", "-o", "--exclude-standard", "--", "."))

    def commit(self) -> str | None:
        """None where there is no commit yet."""
        try:
            return self._output("rev-parse", "--verify", "--quiet", "HEAD").decode("ascii", "replace").strip()
        except GitFailed:
            return None

    def changed(self) -> list[str]:
        """Files below `folder` that differ from the commit, deleted ones too."""
        return _names(
            self._output("diff", "--name-only", "-z", "--relative", "--no-ext-diff", "HEAD", "--", ".")
        )

    def patch(self, without: Sequence[str] = (), at: str = "") -> bytes:
        """The changes below `folder` since the commit, as `git apply` reads them.

        `at`: the path of this repository within the folder where the patch is to be applied, with a `/`.
        """
        left_out = [f":(exclude,literal){path}" for path in without]
        prefixes = [f"--src-prefix=a/{at}", f"--dst-prefix=b/{at}"]
        return self._output("diff", *_PATCH, *prefixes, "HEAD", "--", ".", *left_out)

    def _output(self, *words: str) -> bytes:
        settings = [word for setting in _NEUTRAL for word in ("-c", setting)]
        try:
            done = process.capture(["git", "-C", str(self.folder), *settings, *words], env=self._env())
        except FileNotFoundError:
            raise NoRepository from None
        if done.code == 0:
            return done.out
        if "dubious ownership" in done.err:
            raise UsageError(f"git refuses {self.folder}", "it belongs to another user", done.reason.strip())
        if any(text in done.err for text in _ABSENT):
            raise NoRepository
        raise GitFailed(done.reason)

    def _env(self) -> dict[str, str] | None:
        if self.env is None:
            return None
        foreign = _FOREIGN.split()
        env = {name: value for name, value in self.env.items() if name not in foreign}
        return env | {"LC_ALL": "C", "GIT_OPTIONAL_LOCKS": "0"}


def _names(output: bytes) -> list[str]:
    return [name.decode("utf-8", "surrogateescape") for name in output.split(b"\0") if name]


class Files(msgspec.Struct):
    """Of a folder: the paths to send, those of the repositories within it, and what no commit has."""

    paths: list[str]
    repositories: list[str] = msgspec.field(default_factory=list)
    untracked: list[str] = msgspec.field(default_factory=list)

    def add(self, path: str, inner: Files, is_submodule: bool) -> None:
        """Add the files of the repository at `path`, which its own git lists."""
        untracked = inner.untracked if is_submodule else inner.paths
        self.paths += [f"{path}/{name}" for name in inner.paths]
        self.untracked += [f"{path}/{name}" for name in untracked]
        self.repositories += [path, *(f"{path}/{name}" for name in inner.repositories)]


def list_files(git: Git) -> Files:
    """The files below git's folder. NoRepository; UsageError if git fails or a submodule was not cloned."""
    folder = git.folder
    try:
        tracked, submodules = folders.parse_git_list(git.tracked())
        new = git.untracked()
    except GitFailed as failed:
        raise _cannot_list(folder, str(failed)) from None
    new_files = [name for name in new if not name.endswith("/")]
    files = Files([*tracked, *new_files], untracked=new_files)
    for path in submodules:
        _require_cloned(folder, path)
    for path in [*submodules, *(name[:-1] for name in new if name.endswith("/"))]:
        try:
            inner = list_files(Git(folder / path, git.env))
        except NoRepository:
            raise _cannot_list(folder / path, "its .git is not a repository") from None
        files.add(path, inner, path in submodules)
    return files


def _cannot_list(folder: Path, why: str) -> UsageError:
    status = shell.join(["git", "-C", str(folder), "status"])
    return UsageError(f"git cannot list the files of {folder}", why, status)


def _require_cloned(folder: Path, submodule: str) -> None:
    if not (folder / submodule / ".git").exists():  # git would list the files of the outer repository
        fetch = f"git submodule update --init {shell.join([submodule])}"
        leave = f"to leave it out: git rm --cached {shell.join([submodule])}, and a line in .gitignore"
        raise UsageError(
            f"{folder} cannot be sent: the submodule {submodule} is empty", "", f"{fetch}; {leave}"
        )
