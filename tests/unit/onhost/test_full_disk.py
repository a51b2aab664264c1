"""A full disk ends no supervisor, keeps no run alive, and allows a checkpoint to be fetched."""

from __future__ import annotations

import errno
import json
import os
import secrets
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from orchestrator.core.layout import Layout, RunPaths, scratch
from orchestrator.onhost import files, journal, processes, reserved_space, staging
from orchestrator.onhost.errors import Refused
from orchestrator.onhost.supervisor import Exit, Supervisor

RUN = "job-20261121T101112-1a2b"
MARK = secrets.token_hex(16)  # its scratch folder is removed while other tests may run


def full(*_: Any, **__: Any) -> Any:
    raise OSError(errno.ENOSPC, "No space left on device")


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    return Layout(str(tmp_path))


@pytest.fixture
def paths(layout: Layout) -> RunPaths:
    """A run with a checkpoint, a log and an output, without an end."""
    run = layout.run(RUN)
    spec = {"mark": MARK, "id": RUN, "outputs": ["result"], "limits": {"max_hours": 0.0, "grace_seconds": 60}}
    for name, text in {
        "run.json": json.dumps(spec),
        "log": "line\n",
        "work/result": "42",
        "checkpoints/7/model.pt": "weights",
        "checkpoints/best": "7\n",
    }.items():
        path = Path(run.folder) / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return run


@pytest.fixture
def supervisor(paths: RunPaths, layout: Layout) -> Iterator[Supervisor]:
    process = Supervisor(layout.root, RUN)
    yield process
    os.close(process.log)
    shutil.rmtree(scratch(MARK), ignore_errors=True)


def ended(paths: RunPaths) -> None:
    files.write_json(paths.state, {"ended": 1.0, "supervisor": {}, "boot": ""})


def reserved_bytes(paths: RunPaths) -> int:
    """Return the size of the reserved space in bytes."""
    return Path(paths.reserved).stat().st_size


def staged(layout: Layout) -> tuple[list[str], dict[str, Any]]:
    answer = staging.stage(layout, RUN, "best")
    return sorted(file["path"] for file in answer["files"]), answer


def no_room_to_write(monkeypatch: pytest.MonkeyPatch) -> None:
    def reading(path: str, mode: str = "r", **more: Any) -> Any:
        return full() if "w" in mode else Path(path).open(mode, **more)

    monkeypatch.setattr(files, "open", reading, raising=False)


def test_a_write_that_fails_keeps_the_old_file_and_leaves_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files.write_json(str(tmp_path / "x"), {"a": 1})
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        files.write_json(str(tmp_path / "x"), {"a": 2})
    assert files.load_json(str(tmp_path / "x")) == {"a": 1}
    assert [path.name for path in tmp_path.iterdir()] == ["x"]


def test_the_supervisor_survives_a_heartbeat_on_a_full_disk(
    supervisor: Supervisor, paths: RunPaths, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as disk:
        disk.setattr(os, "fsync", full)
        supervisor._heartbeat()
    assert files.load_json(paths.state) is None
    supervisor._heartbeat()
    assert (files.load_json(paths.state) or {})["id"] == RUN


def test_a_limit_ends_the_run_although_its_event_cannot_be_written(
    supervisor: Supervisor, paths: RunPaths, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[tuple[list[int], int]] = []
    monkeypatch.setattr(processes, "send", lambda pids, number: sent.append((list(pids), number)))
    monkeypatch.setattr(os, "open", full)
    supervisor.state.child = {"pid": 99999999, "ticks": 1}
    supervisor._check_limits()
    assert sent == [([99999999], signal.SIGTERM)]
    assert supervisor.reason == "hours"


def test_the_end_is_written_as_soon_as_the_disk_has_space(
    supervisor: Supervisor, paths: RunPaths, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits = []
    with monkeypatch.context() as disk:

        def wait(*_: Any) -> None:
            waits.append(1)
            if len(waits) == 3:
                disk.undo()

        disk.setattr(os, "fsync", full)
        disk.setattr(signal, "sigtimedwait", wait)
        supervisor._finish(Exit(3, None))
    state = files.load_json(paths.state) or {}
    assert (state["exit_code"], state["reason"], len(waits)) == (3, "exit", 3)


def test_the_end_is_written_in_the_reserved_space(
    supervisor: Supervisor, layout: Layout, paths: RunPaths, monkeypatch: pytest.MonkeyPatch
) -> None:
    reserved_space.create(layout, paths)
    full_size, real = reserved_bytes(paths), files.write_json

    def write_json(path: str, value: dict[str, Any]) -> None:
        real(path, value) if reserved_bytes(paths) < full_size else full()

    monkeypatch.setattr(files, "write_json", write_json)
    supervisor._finish(Exit(0, None))
    assert (files.load_json(paths.state) or {})["reason"] == "exit"
    assert reserved_bytes(paths) == full_size // 2


def unexpected() -> None:
    raise AssertionError("it waits, and nothing will change")


def test_a_folder_in_place_of_the_state_is_renamed_and_the_end_written(paths: RunPaths) -> None:
    (Path(paths.state) / "kept").mkdir(parents=True)
    reserved_space.write_end(paths, {"ended": 2.0}, unexpected)
    assert files.load_json(paths.state) == {"ended": 2.0}
    assert [one.name for one in Path(paths.folder).glob("state.json.*/*")] == ["kept"]


def test_a_supervisor_whose_run_was_removed_ends(paths: RunPaths) -> None:
    shutil.rmtree(paths.folder)
    reserved_space.write_end(paths, {"ended": 2.0}, unexpected)
    assert not Path(paths.folder).exists()


def test_all_of_the_reserved_space_is_used_before_a_write_fails(
    layout: Layout, paths: RunPaths, monkeypatch: pytest.MonkeyPatch
) -> None:
    reserved_space.create(layout, paths)
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        reserved_space.write_json(paths, paths.stop, {"by": "me"})
    assert not Path(paths.reserved).exists()


def test_a_run_that_has_ended_is_staged_without_a_copy(
    layout: Layout, paths: RunPaths, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended(paths)
    no_room_to_write(monkeypatch)
    names, answer = staged(layout)
    assert {"log", "outputs/result", "checkpoints/best", "checkpoints/7/model.pt"} < set(names)
    assert all((Path(answer["folder"]) / file["sha256"]).stat().st_nlink == 2 for file in answer["files"])
    assert answer["no_room"] == []


def test_a_checkpoint_of_a_live_run_is_staged_when_no_file_can_be_copied(
    layout: Layout, paths: RunPaths, monkeypatch: pytest.MonkeyPatch
) -> None:
    no_room_to_write(monkeypatch)
    names, answer = staged(layout)
    assert names == ["checkpoints/7/model.pt", "run.json"]
    assert answer["no_room"] == ["log", "checkpoints/best", "outputs/result"]


def test_a_file_system_without_hard_links_is_copied_from(
    layout: Layout, paths: RunPaths, monkeypatch: pytest.MonkeyPatch
) -> None:
    def denied(source: str, target: str) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted", source)

    ended(paths)
    monkeypatch.setattr(os, "link", denied)
    names, answer = staged(layout)
    assert "checkpoints/7/model.pt" in names
    assert all((Path(answer["folder"]) / file["sha256"]).stat().st_nlink == 1 for file in answer["files"])


def test_a_stage_without_links_and_without_space_is_refused_and_removed(
    layout: Layout, paths: RunPaths, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "link", full)
    no_room_to_write(monkeypatch)
    with pytest.raises(Refused, match="the disk of the host is full") as error:
        staged(layout)
    assert error.value.kind == "no-room"
    assert list(Path(paths.stage).iterdir()) == []


@pytest.mark.parametrize("has_ended", [True, False])
def test_the_folder_of_a_stage_is_created_in_the_reserved_space(
    layout: Layout, paths: RunPaths, monkeypatch: pytest.MonkeyPatch, has_ended: bool
) -> None:
    if has_ended:
        ended(paths)
    reserved_space.create(layout, paths)
    full_size, real = reserved_bytes(paths), os.makedirs

    def makedirs(folder: str, **more: Any) -> None:
        real(folder, **more) if reserved_bytes(paths) < full_size else full()

    monkeypatch.setattr(os, "makedirs", makedirs)
    assert "checkpoints/7/model.pt" in staged(layout)[0]


def test_fetches_from_a_live_run_leave_it_space_to_write_its_end(
    layout: Layout, paths: RunPaths, monkeypatch: pytest.MonkeyPatch
) -> None:
    reserved_space.create(layout, paths)
    monkeypatch.setattr(os, "makedirs", full)
    for _ in range(3):
        with pytest.raises(Refused):
            staged(layout)
    assert reserved_bytes(paths) == reserved_space.FOR_THE_END


def test_a_run_starts_although_no_process_can_show_its_log(
    paths: RunPaths, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable")

    monkeypatch.setattr(subprocess, "Popen", refuse)
    assert journal.Journal(paths).show() is None


def test_a_run_is_fetched_from_a_disk_that_takes_one_more_file(
    layout: Layout, paths: RunPaths, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has room, and no inodes: the end of a run leaves one, that of the reserve."""
    reserved_space.create(layout, paths)
    ended(paths)
    made, mkdir = list[str](), os.mkdir

    def limited(path: str, *more: Any, **options: Any) -> None:
        if made:
            full()
        mkdir(path, *more, **options)
        made.append(path)

    monkeypatch.setattr(os, "mkdir", limited)
    monkeypatch.setattr(files, "write_json", full)
    assert files.mtime(layout.transfer) == 0
    assert "checkpoints/7/model.pt" in staged(layout)[0]


def test_a_disk_that_takes_no_more_files_is_not_said_to_have_no_space(
    layout: Layout, paths: RunPaths, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended(paths)
    used = os.statvfs(paths.folder)
    numbers = [*used[:5], 1000, 0, 0, *used[8:]]
    monkeypatch.setattr(os, "statvfs", lambda _: os.statvfs_result(numbers))
    monkeypatch.setattr(os, "makedirs", full)
    with pytest.raises(Refused, match="takes no more files"):
        staged(layout)
