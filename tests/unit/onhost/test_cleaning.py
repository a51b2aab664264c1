"""What a run wrote is counted in any format, and what is deleted is gone or named."""

from __future__ import annotations

import contextlib
import mmap
import os
import secrets
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from orchestrator.core.layout import Layout
from orchestrator.onhost import cleaning, copies, elsewhere, files, inventory, run_facts, staging

RUN = "job-20261121T101112-1a2b"
TREE = "0" * 32
NOBODY = 65534


@pytest.fixture
def layout() -> Iterator[Layout]:
    folder = tempfile.mkdtemp(prefix="gj-")  # not pytest's, which only root may enter
    Path(folder).chmod(0o755)
    root = Layout(folder)
    paths = root.run(RUN)
    for below in (paths.checkpoints, paths.work, root.tree(TREE)):
        Path(below).mkdir(parents=True)
    record = {
        "id": RUN,
        "job": "job",
        "mark": secrets.token_hex(16),
        "outputs": ["out"],
        "code": {"tree": TREE},
    }
    files.write_json(paths.run_json, record)
    files.write_json(paths.state, {"id": RUN, "ended": 2.0, "reason": "exit", "exit_code": 0})
    yield root
    shutil.rmtree(folder)


def write(path: str, content: str = "x") -> None:
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Path(path).write_text(content)


def unfetched(layout: Layout) -> dict[str, list[str]]:
    return {name: group["unfetched"]["largest"] for name, group in inventory.written(layout, RUN).items()}


def test_files_of_a_script_are_counted_below_checkpoints_and_outputs(layout: Layout) -> None:
    paths = layout.run(RUN)
    write(paths.checkpoints + "/model.pt", "12345")
    write(paths.checkpoints + "/7/model.safetensors", "123")
    write(paths.work + "/out/deep/table.csv", "12")
    written = inventory.written(layout, RUN)
    assert [(group["files"], group["bytes"]) for group in written.values()] == [(2, 8), (1, 2), (0, 0)]
    assert written["checkpoints"]["unfetched"]["largest"] == [
        "checkpoints/model.pt",
        "checkpoints/7/model.safetensors",
    ]


def test_files_that_no_output_declares_are_counted_and_fetched_with_all(layout: Layout) -> None:
    paths = layout.run(RUN)
    for name in ("train.py", "same.txt"):
        write(f"{layout.tree(TREE)}/{name}", "sent")
        write(f"{paths.work}/{name}", "sent")
        os.utime(f"{layout.tree(TREE)}/{name}", (1, 1))
        os.utime(f"{paths.work}/{name}", (1, 1))
    write(paths.work + "/same.txt", "edited")
    write(paths.work + "/model.pt")
    write(paths.work + "/__pycache__/train.pyc")
    Path(paths.work, "link").symlink_to("/etc/passwd")
    assert sorted(unfetched(layout)["others"]) == ["work/model.pt", "work/same.txt"]
    best = [file["path"] for file in staging.stage(layout, RUN, "best")["files"]]
    every = [file["path"] for file in staging.stage(layout, RUN, "all")["files"]]
    assert sorted(set(every) - set(best)) == ["work/model.pt", "work/same.txt"]


def test_a_file_counts_as_fetched_until_it_is_written_again(layout: Layout) -> None:
    model = layout.run(RUN).checkpoints + "/model.pt"
    write(model, "one")
    staged = staging.stage(layout, RUN, "all")
    staging.unstage(layout, RUN, staged["token"])
    assert unfetched(layout)["checkpoints"] == ["checkpoints/model.pt"]  # the client did not complete it
    staged = staging.stage(layout, RUN, "all")
    staging.unstage(layout, RUN, staged["token"], fetched=True)
    assert unfetched(layout) == {"checkpoints": [], "outputs": [], "others": []}
    write(model, "two")
    os.utime(model, (5, 5))
    assert unfetched(layout)["checkpoints"] == ["checkpoints/model.pt"]


@contextlib.contextmanager
def plain_user(folder: str) -> Iterator[None]:
    """Root may delete anything: within the block this process is another user, who owns `folder`."""
    if os.geteuid():
        yield
        return
    for at, _, names in os.walk(folder):
        for path in [at, *(f"{at}/{name}" for name in names)]:
            os.chown(path, NOBODY, NOBODY)
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)


def test_folders_without_write_permission_are_deleted(layout: Layout) -> None:
    paths = layout.run(RUN)
    write(paths.work + "/a/b/file")
    write(paths.checkpoints + "/3/file")
    for folder in ("work/a/b", "work/a", "work", "checkpoints/3", "checkpoints"):
        Path(paths.folder, folder).chmod(0o555)
    with plain_user(layout.root):
        assert cleaning.clean(layout, RUN, False)["left"] == []
        assert not Path(paths.work).exists()
        assert cleaning.clean(layout, RUN, True)["left"] == []
        assert not Path(paths.folder).exists()


def test_what_cannot_be_deleted_is_named_and_the_run_keeps_its_state(
    layout: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = layout.run(RUN)
    write(paths.work + "/mine")
    write(paths.work + "/of-root")
    unlink = os.unlink

    def refuse(path: str, **more: Any) -> None:
        if path.endswith("of-root"):
            raise PermissionError(1, "Operation not permitted", path)
        unlink(path, **more)

    monkeypatch.setattr(os, "unlink", refuse)
    result = cleaning.clean(layout, RUN, True)
    assert result["left"] == [f"{paths.work}/of-root: Operation not permitted"]
    assert paths.folder not in result["removed"]
    run = run_facts.find(layout, RUN, 0)
    assert run
    assert run.state
    assert run.state.ended == 2.0
    monkeypatch.undo()
    assert cleaning.clean(layout, RUN, True) == {"removed": [paths.work, paths.folder], "left": []}


def test_a_link_among_the_files_of_a_run_is_deleted_and_not_followed(layout: Layout, tmp_path: Path) -> None:
    write(str(tmp_path / "elsewhere" / "kept"))
    Path(layout.run(RUN).work, "link").symlink_to(tmp_path / "elsewhere")
    cleaning.clean(layout, RUN, True)
    assert (tmp_path / "elsewhere" / "kept").exists()


def test_folders_that_cannot_even_be_listed_are_deleted(layout: Layout) -> None:
    paths = layout.run(RUN)
    write(paths.work + "/a/b/file")
    for folder in ("a/b", "a"):
        Path(paths.work, folder).chmod(0o311)
    with plain_user(layout.root):
        assert cleaning.clean(layout, RUN, True)["left"] == []
        assert not Path(paths.folder).exists()


def test_what_the_user_may_not_read_is_named_and_the_rest_fetched(layout: Layout) -> None:
    """As what a command wrote as root, with sudo or in a container."""
    paths = layout.run(RUN)
    for name in ("result", "private", "closed/in", "no-search/in"):
        write(f"{paths.work}/{name}")
    for name in ("7/a", "8/a"):
        write(f"{paths.checkpoints}/{name}")
    closed = [
        Path(paths.folder, name)
        for name in ("work/private", "work/closed", "work/no-search", "checkpoints/8")
    ]
    for path in closed:
        path.chmod(0o400 if path.name == "no-search" else 0)
    try:
        with plain_user(layout.root):
            staged = staging.stage(layout, RUN, "all")
            others = set(unfetched(layout)["others"])
    finally:
        for path in closed:
            path.chmod(0o700)
    denied = {"work/private", "work/closed", "work/no-search/in"}
    assert others == denied | {"work/result"}
    assert set(staged["denied"]) == denied | {"checkpoints/8"}
    assert {"work/result", "checkpoints/7/a"} <= {file["path"] for file in staged["files"]}


def test_an_output_in_a_folder_that_is_closed_is_not_reported_as_missing(layout: Layout) -> None:
    paths = layout.run(RUN)
    files.write_json(paths.run_json, {"id": RUN, "outputs": ["closed/table.csv", "out"]})
    write(paths.work + "/closed/table.csv")
    Path(paths.work, "closed").chmod(0)
    with plain_user(layout.root):
        staged = staging.stage(layout, RUN, "best")
        assert unfetched(layout)["outputs"] == ["outputs/closed/table.csv"]
    assert (staged["denied"], staged["missing"]) == (["outputs/closed/table.csv"], ["out"])


def test_a_file_in_the_place_of_the_work_folder_is_fetched_by_its_name(layout: Layout) -> None:
    work = Path(layout.run(RUN).work)
    work.rmdir()
    work.write_text("x")
    assert "work" in [file["path"] for file in staging.stage(layout, RUN, "all")["files"]]


def test_what_an_interrupted_copy_left_is_removed_by_the_next_one_and_by_clean(layout: Layout) -> None:
    left = layout.run(RUN).folder + "/.copies/1-999-1/big"
    write(left)
    begun = copies.begin(layout, RUN)
    assert [path.name for path in Path(begun["folder"]).parent.iterdir()] == [begun["token"]]
    cleaning.clean(layout, RUN, purge=False)
    assert not os.path.lexists(layout.run(RUN).folder + "/.copies")


def test_shared_memory_is_deleted_once_no_process_uses_it(layout: Layout) -> None:
    with tempfile.NamedTemporaryFile(dir="/dev/shm", delete=False) as file:
        file.truncate(mmap.PAGESIZE)
        mapped = mmap.mmap(file.fileno(), 0)
    files.write_json(layout.run(RUN).state, {"id": RUN, "ended": 2.0, "shared_memory": [file.name]})
    try:
        with mapped:
            assert file.name not in cleaning.clean(layout, RUN, purge=False)["removed"]
        assert file.name in cleaning.clean(layout, RUN, purge=False)["removed"]
    finally:
        Path(file.name).unlink(missing_ok=True)


def test_partial_checkpoints_are_deleted_whatever_the_root_is_called(tmp_path: Path) -> None:
    layout = Layout(str(tmp_path / "[a]*"))
    paths = layout.run(RUN)
    write(paths.checkpoints + "/.7.partial/weights")
    files.write_json(paths.run_json, {"id": RUN})
    cleaning.clean(layout, RUN, purge=False)
    assert list(Path(paths.checkpoints).iterdir()) == []


@pytest.mark.parametrize("purge", [False, True])
def test_what_is_mounted_below_a_run_is_not_deleted(
    layout: Layout, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, purge: bool
) -> None:
    """As a job's bucket or a user's data folder, bound into the run's."""
    work = os.path.realpath(layout.run(RUN).work)
    write(work + "/data/precious")
    mounts = tmp_path / "mountinfo"
    mounts.write_text(f"1 0 8:1 / / rw - ext4 /dev/a rw\n2 1 8:1 /x {work}/data rw - ext4 /dev/a rw\n")
    monkeypatch.setattr(elsewhere, "_MOUNTS", str(mounts))
    left = cleaning.clean(layout, RUN, purge)["left"]
    assert left == [f"{work}/data: a file system is mounted there"]
    assert Path(work, "data", "precious").exists()


def test_hidden_files_behind_a_link_for_the_checkpoints_are_kept(layout: Layout, tmp_path: Path) -> None:
    checkpoints = Path(layout.run(RUN).checkpoints)
    write(str(tmp_path / ".precious"))
    checkpoints.rmdir()
    checkpoints.symlink_to(tmp_path)
    assert cleaning.clean(layout, RUN, purge=True)["left"] == []
    assert (tmp_path / ".precious").exists()
