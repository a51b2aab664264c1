"""Reading code folders with git's list or .gitignore, and refused content."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from orchestrator import source
from orchestrator.errors import UsageError
from orchestrator.scope import Scope


def git(folder: Path, *words: str) -> None:
    who = ["-c", "user.name=t", "-c", "user.email=t@example.com", "-c", "protocol.file.allow=always"]
    subprocess.run(["git", *who, *words], cwd=folder, check=True, capture_output=True)


def names(folder: Path) -> set[str]:
    return {entry.path for entry in source.read(folder).tree.entries}


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    folder = tmp_path / "r"
    (folder / "sub").mkdir(parents=True)
    (folder / ".gitignore").write_text("*.log\n!keep.log\n/build\n")
    for name in ("a.py", "x.log", "keep.log", "sub/b c.py", "sub/é.py"):
        (folder / name).write_text(name)
    (folder / "build").mkdir()
    (folder / "build" / "out").write_text("")
    return folder


EXPECTED = {".gitignore", "a.py", "keep.log", "sub/b c.py", "sub/é.py"}


def test_gitignore_rules_apply_without_git(repository: Path) -> None:
    assert names(repository) == EXPECTED


def test_ignore_rules_of_subfolders_apply_too(repository: Path) -> None:
    (repository / "sub" / ".gitignore").write_text("b*\n")
    assert names(repository) == {*EXPECTED - {"sub/b c.py"}, "sub/.gitignore"}


def test_rules_and_names_that_are_not_utf_8_are_compared_as_bytes(tmp_path: Path) -> None:
    for name in (b".gitignore", b"f\xfcr.bin", b"f\xf6r.bin"):
        Path(os.fsdecode(bytes(tmp_path) + b"/" + name)).write_bytes(b"f\xfc*\n")
    assert names(tmp_path) == {".gitignore", os.fsdecode(b"f\xf6r.bin")}


def test_git_decides_what_is_ignored_also_by_anchors_and_exceptions(tmp_path: Path) -> None:
    folder = tmp_path / "a folder"
    for name in ("data/big.bin", "src/data/__init__.py", "run/a.sh", "run/entry.sh", "secret.txt"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("")
    git(folder, "init", "-q")
    (folder / ".gitignore").write_text("/data/*\nrun/*\n!run/entry.sh\n")
    (folder / ".git" / "info" / "exclude").write_text("secret*\n")
    assert names(folder) == {".gitignore", "src/data/__init__.py", "run/entry.sh"}


def test_a_tree_read_with_git_has_changed_and_untracked_files(repository: Path) -> None:
    git(repository, "init", "-q")
    git(repository, "add", "a.py", ".gitignore")
    git(repository, "commit", "-qm", "x")
    (repository / "a.py").write_text("changed")
    code = source.read(repository)
    assert {e.path for e in code.tree.entries} == EXPECTED
    assert code.dirty
    assert "+changed" in code.patch


def test_a_tracked_file_that_was_deleted_is_not_sent(repository: Path) -> None:
    git(repository, "init", "-q")
    git(repository, "add", "-A")
    (repository / "a.py").unlink()
    assert "a.py" not in names(repository)


def test_a_folder_within_a_repository_is_a_separate_tree(repository: Path) -> None:
    git(repository, "init", "-q")
    git(repository, "add", "-A")
    assert names(repository / "sub") == {"b c.py", "é.py"}


def test_a_folder_that_git_ignores_entirely_is_refused(repository: Path) -> None:
    git(repository, "init", "-q")
    (repository / ".gitignore").write_text("sub/\n")
    git(repository, "add", "-A")
    git(repository, "commit", "-qm", "x")
    with pytest.raises(UsageError, match="nothing to send") as error:
        source.read(repository / "sub")
    assert error.value.why == "git ignores all of it"


@pytest.fixture
def with_submodule(repository: Path, tmp_path: Path) -> Path:
    """`repository` with the submodule `lib`, which has f.py, an ignored file and a submodule `deep`."""
    for name, inner in (("deep", None), ("lib", "deep")):
        (tmp_path / name).mkdir()
        git(tmp_path / name, "init", "-q")
        (tmp_path / name / "f.py").write_text("1\n")
        (tmp_path / name / ".gitignore").write_text("*.o\n")
        if inner:
            git(tmp_path / name, "submodule", "add", "-q", str(tmp_path / inner), inner)
        git(tmp_path / name, "add", "-A")
        git(tmp_path / name, "commit", "-qm", "x")
    git(repository, "init", "-q")
    git(repository, "submodule", "add", "-q", str(tmp_path / "lib"), "lib")
    git(repository, "submodule", "update", "-q", "--init", "--recursive")
    git(repository, "add", "-A")
    git(repository, "commit", "-qm", "x")
    return repository


def test_submodules_are_sent_as_their_own_git_lists_them(with_submodule: Path) -> None:
    (with_submodule / "lib" / "built.o").write_text("")
    (with_submodule / "lib" / "new.py").write_text("")
    inside = {name for name in names(with_submodule) if name.startswith("lib/")}
    own = {"lib/.gitignore", "lib/.gitmodules", "lib/f.py", "lib/new.py"}
    assert inside == own | {"lib/deep/.gitignore", "lib/deep/f.py"}
    assert source.read(with_submodule).dirty


def test_changes_in_submodules_are_part_of_the_patch(with_submodule: Path, tmp_path: Path) -> None:
    assert not source.read(with_submodule).dirty
    for path in ("lib/f.py", "lib/deep/f.py", "a.py"):
        (with_submodule / path).write_text("changed\n")
    code = source.read(with_submodule)
    assert code.dirty
    for command in (
        ["checkout", "-q", "."],
        ["submodule", "-q", "foreach", "--recursive", "git checkout -q ."],
    ):
        git(with_submodule, *command)
    (tmp_path / "patch").write_text(code.patch)
    git(with_submodule, "apply", str(tmp_path / "patch"))
    assert source.read(with_submodule).tree == code.tree


def test_a_submodule_that_was_not_cloned_is_refused_by_name(with_submodule: Path, tmp_path: Path) -> None:
    git(tmp_path, "clone", "-q", str(with_submodule), "copy")
    with pytest.raises(UsageError, match="the submodule lib is empty") as error:
        source.read(tmp_path / "copy")
    assert error.value.next_step.startswith("git submodule update --init lib; to leave it out: git rm")


def test_a_repository_within_the_folder_is_sent_unless_git_ignores_it(repository: Path) -> None:
    git(repository, "init", "-q")
    for name in ("my lib", "other"):
        (repository / name).mkdir()
        (repository / name / "f.py").write_text("x")
        git(repository / name, "init", "-q")
    (repository / ".gitignore").write_text("/other/\n*.log\n/build\n")
    assert names(repository) == {*EXPECTED, "my lib/f.py"} - {"keep.log"}


def test_a_link_that_leaves_the_folder_is_refused_by_name(repository: Path) -> None:
    (repository / "out").symlink_to("../../etc/passwd")
    with pytest.raises(UsageError, match="out is a link that leaves"):
        source.read(repository)


def test_a_file_that_changes_while_it_is_read_gets_no_final_name(repository: Path, tmp_path: Path) -> None:
    read = source.read(repository)
    (repository / "a.py").write_text("other")
    with pytest.raises(UsageError, match="changed while it was read"):
        source.snapshot(read, tmp_path / "snapshot")
    assert [p for p in tmp_path.iterdir() if "snapshot" in p.name] == []


def test_names_with_newlines_and_invalid_utf_8_are_preserved(tmp_path: Path) -> None:
    folder = tmp_path / "odd"
    folder.mkdir()
    for name in (b"a\nb", b"caf\xe9"):
        Path(os.fsdecode(bytes(folder) + b"/" + name)).write_text("x")
    read = source.read(folder)
    source.snapshot(read, tmp_path / "snapshot")
    assert source.read(tmp_path / "snapshot").tree.hash == read.tree.hash


def test_rules_of_a_deeper_gitignore_come_first_as_in_git(repository: Path) -> None:
    (repository / "sub" / ".gitignore").write_text("!x.log\nb*\n!b c.py\n")
    (repository / "sub" / "x.log").write_text("")
    without = names(repository)
    git(repository, "init", "-q")
    assert names(repository) == without == {*EXPECTED, "sub/x.log", "sub/.gitignore"}


def test_lines_that_are_no_pattern_match_nothing_as_in_git(repository: Path) -> None:
    (repository / ".gitignore").write_text("\\\n!\n[\n/\n*.log\n!keep.log\n/build\n")
    (repository / "sub" / ".gitignore").mkdir()
    (repository / "sub" / ".gitignore" / "f").write_text("")
    without = names(repository)
    git(repository, "init", "-q")
    assert names(repository) == without == {*EXPECTED, "sub/.gitignore/f"}


def test_a_file_that_cannot_be_read_is_named_with_the_way_out(
    repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.scandir

    def scandir(path: Path) -> object:
        if str(path).endswith("/locked/"):
            raise PermissionError(13, "Permission denied", str(path))
        return real(path)

    (repository / "locked").mkdir()
    monkeypatch.setattr(os, "scandir", lambda path: scandir(path if isinstance(path, str) else f"{path}/"))
    with pytest.raises(UsageError, match="locked cannot be read") as error:
        source.read(repository)
    assert error.value.next_step == "exclude: [locked] in the job file leaves it out"
    assert "a.py" in {e.path for e in source.read(repository, scope=Scope(exclude=("locked",))).tree.entries}


def test_a_code_folder_that_is_a_file_is_named_as_that(repository: Path) -> None:
    with pytest.raises(UsageError, match=r"a\.py is a file"):
        source.read(repository / "a.py")
