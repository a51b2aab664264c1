"""git's answers are read the same way whatever the user's configuration and environment are."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from orchestrator import source
from orchestrator.errors import UsageError
from orchestrator.scope import Scope
from tests.unit.test_source import git

HOSTILE = """
[color]
    ui = always
[core]
    quotePath = true
    pager = false
[diff]
    noprefix = true
    mnemonicPrefix = true
    external = false
    context = 0
    relative = true
    renames = copies
    orderFile = /nonexistent
    wsErrorHighlight = all
    colorMoved = zebra
    algorithm = patience
    suppressBlankEmpty = true
[diff "text"]
    command = false
    textconv = false
"""


@pytest.fixture
def code(tmp_path: Path) -> Path:
    folder = tmp_path / "code"
    (folder / "sub").mkdir(parents=True)
    for name in ("a.py", "sub/é b.py", "gone.py", "moved.py"):
        (folder / name).write_text("".join(f"line {n}\n" for n in range(20)) + name + "\n")
    (folder / "bin").write_bytes(b"\0" * 100)
    (folder / ".gitattributes").write_text("*.py diff=text\n")
    git(folder, "init", "-q")
    git(folder, "add", "-A")
    git(folder, "commit", "-qm", "x")
    return folder


def change(folder: Path) -> None:
    (folder / "a.py").write_text((folder / "a.py").read_text().replace("line 9\n", "line 9\n\n"))
    (folder / "sub" / "é b.py").write_text("new\n")
    (folder / "gone.py").unlink()
    (folder / "moved.py").rename(folder / "other.py")
    (folder / "bin").write_bytes(b"\0" * 50 + b"\1" * 50)
    git(folder, "add", "other.py", "moved.py")


def environment(tmp_path: Path, text: str = HOSTILE) -> dict[str, str]:
    (tmp_path / "home").mkdir(exist_ok=True)
    (tmp_path / "home" / ".gitconfig").write_text(text)
    return {"PATH": os.environ["PATH"], "HOME": str(tmp_path / "home")}


@pytest.mark.parametrize("below", ["", "sub"])
def test_the_patch_of_a_run_applies_whatever_the_git_configuration(
    code: Path, tmp_path: Path, below: str
) -> None:
    change(code)
    env = environment(tmp_path)
    env |= {"GIT_DIFF_OPTS": "--unified=0", "GIT_EXTERNAL_DIFF": "false", "LANG": "de_DE.UTF-8"}
    read = source.read(code / below, scope=Scope(env=env))
    again = tmp_path / "again"
    git(tmp_path, "clone", "-q", str(code), str(again))
    subprocess.run(["git", "apply", "-"], cwd=again, input=read.patch.encode(), check=True)
    assert source.read(again / below).tree.hash == read.tree.hash
    assert read.dirty


def test_variables_of_a_git_hook_do_not_name_another_repository(code: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    git(other, "init", "-q")
    env = {**environment(tmp_path), "GIT_DIR": str(other / ".git"), "GIT_INDEX_FILE": str(other / "index")}
    assert source.read(code, scope=Scope(env=env)) == source.read(code)


def test_a_git_that_cannot_compare_is_not_taken_for_a_clean_tree(code: Path, tmp_path: Path) -> None:
    (code / "big.bin").write_text("version https://git-lfs.github.com/spec/v1\n")
    git(code, "add", "big.bin")
    git(code, "commit", "-qm", "x")
    (code / ".gitattributes").write_text("*.bin filter=lfs\n")
    (code / "big.bin").write_text("content\n")
    env = environment(tmp_path, '[filter "lfs"]\nclean = no-such-filter\nrequired = true\n')
    read = source.read(code, scope=Scope(env=env))
    assert (read.dirty, read.patch) == (True, "")
    assert len(read.notes) == 1
    assert "the run records no patch: git cannot compare the code with HEAD: " in read.notes[0]
    assert "lfs" in read.notes[0]


def test_a_git_that_cannot_list_the_files_is_an_error(code: Path) -> None:
    (code / ".git" / "index").write_bytes(b"damaged")
    with pytest.raises(UsageError, match="git cannot list the files of") as error:
        source.read(code)
    assert "index" in error.value.why
    assert error.value.next_step == f"git -C {code} status"


def test_a_repository_without_a_commit_has_no_patch(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text("x")
    git(tmp_path, "init", "-q")
    read = source.read(tmp_path)
    assert (read.commit, read.dirty, read.notes) == (None, False, ())


def test_without_git_installed_the_rules_of_gitignore_apply(code: Path, tmp_path: Path) -> None:
    (code / ".gitignore").write_text("bin\n")
    read = source.read(code, scope=Scope(env={"PATH": str(tmp_path)}))
    assert "bin" not in {entry.path for entry in read.tree.entries}
    assert read.commit is None


def test_text_that_is_not_utf_8_in_the_patch_is_announced(code: Path) -> None:
    (code / "a.py").write_bytes(b"# caf\xe9\n")
    (note,) = source.read(code).notes
    assert note == "the patch that the run records will not apply: it has text that is not UTF-8"


def test_a_patch_too_large_for_the_record_is_announced(code: Path) -> None:
    (code / "a.py").write_text("x\n" * 600_000)
    read = source.read(code)
    assert (read.dirty, read.patch) == (True, "")
    assert read.notes == ("the run records no patch: the changes since HEAD have 1.7 MiB",)
