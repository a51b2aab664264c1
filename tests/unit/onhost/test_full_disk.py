"""A disk that is full, which ends no supervisor, keeps no run alive, and lets a checkpoint go home."""

from __future__ import annotations

import errno
import json
import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from orchestrator.core.layout import Layout, RunPaths, scratch
from orchestrator.onhost import ballast, jsonfile, proc, staging
from orchestrator.onhost.answers import Refused
from orchestrator.onhost.supervisor import Supervisor

RUN = "job-20261121T101112-1a2b"
MARK = "f0" * 16


def full(*_: Any, **__: Any) -> Any:
    raise OSError(errno.ENOSPC, "No space left on device")


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    return Layout(str(tmp_path))


@pytest.fixture
def paths(layout: Layout) -> RunPaths:
    """A run with a checkpoint, a log and an output, without an end."""
    found = layout.run(RUN)
    spec = {"mark": MARK, "id": RUN, "outputs": ["result"], "limits": {"max_hours": 0.0, "grace_seconds": 60}}
    for name, text in {
        "run.json": json.dumps(spec),
        "log": "said\n",
        "work/result": "42",
        "checkpoints/7/model.pt": "weights",
        "checkpoints/best": "7\n",
    }.items():
        path = Path(found.folder) / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return found


@pytest.fixture
def supervisor(paths: RunPaths, layout: Layout) -> Iterator[Supervisor]:
    found = Supervisor(layout.root, RUN)
    yield found
    os.close(found.log)
    shutil.rmtree(scratch(MARK), ignore_errors=True)


def ended(paths: RunPaths) -> None:
    jsonfile.replace(paths.state, {"ended": 1.0, "supervisor": {}, "boot": ""})


def left(paths: RunPaths) -> int:
    """Bytes of the ballast."""
    return Path(paths.ballast).stat().st_size


def staged(layout: Layout) -> tuple[list[str], dict[str, Any]]:
    found = staging.stage(layout, RUN, "best")
    return sorted(file["path"] for file in found["files"]), found


def no_room_to_write(monkeypatch: pytest.MonkeyPatch) -> None:
    def reading(path: str, mode: str = "r", **more: Any) -> Any:
        return full() if "w" in mode else Path(path).open(mode, **more)

    monkeypatch.setattr(staging, "open", reading, raising=False)


def test_a_file_that_cannot_be_written_is_as_it_was_and_leaves_nothing_beside_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    jsonfile.replace(str(tmp_path / "x"), {"a": 1})
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        jsonfile.replace(str(tmp_path / "x"), {"a": 2})
    assert jsonfile.load(str(tmp_path / "x")) == {"a": 1}
    assert [path.name for path in tmp_path.iterdir()] == ["x"]


def test_the_supervisor_survives_a_beat_that_the_disk_does_not_take(
    supervisor: Supervisor, paths: RunPaths, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as disk:
        disk.setattr(os, "fsync", full)
        supervisor._beat()
    assert jsonfile.load(paths.state) is None
    supervisor._beat()
    assert (jsonfile.load(paths.state) or {})["id"] == RUN


def test_a_limit_ends_the_run_although_the_event_of_it_cannot_be_written(
    supervisor: Supervisor, paths: RunPaths, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[tuple[list[int], int]] = []
    monkeypatch.setattr(proc, "send", lambda pids, number: sent.append((list(pids), number)))
    monkeypatch.setattr(os, "open", full)
    supervisor.state["child"] = {"pid": 99999999, "ticks": 1}
    supervisor._look_at_limits()
    assert sent == [([99999999], signal.SIGTERM)]
    assert supervisor.reason == "hours"


def test_the_end_is_written_as_soon_as_the_disk_takes_it(
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
        supervisor._finish(3, None)
    state = jsonfile.load(paths.state) or {}
    assert (state["exit_code"], state["reason"], len(waits)) == (3, "exit", 3)


def test_the_end_is_written_in_the_room_of_the_ballast(
    supervisor: Supervisor, paths: RunPaths, monkeypatch: pytest.MonkeyPatch
) -> None:
    ballast.lay(paths)
    whole, real = left(paths), jsonfile.replace

    def replace(path: str, value: dict[str, Any]) -> None:
        real(path, value) if left(paths) < whole else full()

    monkeypatch.setattr(jsonfile, "replace", replace)
    supervisor._finish(0, None)
    assert (jsonfile.load(paths.state) or {})["reason"] == "exit"
    assert left(paths) == whole // 2


def test_the_ballast_gives_all_of_itself_before_it_gives_up(
    paths: RunPaths, monkeypatch: pytest.MonkeyPatch
) -> None:
    ballast.lay(paths)
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        ballast.replace(paths, paths.stop, {"by": "me"})
    assert not Path(paths.ballast).exists()


def test_a_run_that_has_ended_is_staged_without_a_copy(
    layout: Layout, paths: RunPaths, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended(paths)
    no_room_to_write(monkeypatch)
    names, found = staged(layout)
    assert {"log", "outputs/result", "checkpoints/best", "checkpoints/7/model.pt"} < set(names)
    assert all((Path(found["folder"]) / file["sha256"]).stat().st_nlink == 2 for file in found["files"])
    assert found["no_room"] == []


def test_the_checkpoint_of_a_going_run_comes_home_and_what_had_to_be_copied_is_told(
    layout: Layout, paths: RunPaths, monkeypatch: pytest.MonkeyPatch
) -> None:
    no_room_to_write(monkeypatch)
    names, found = staged(layout)
    assert names == ["checkpoints/7/model.pt", "run.json"]
    assert found["no_room"] == ["log", "checkpoints/best", "outputs/result"]


def test_a_file_system_without_hard_links_is_copied_from(
    layout: Layout, paths: RunPaths, monkeypatch: pytest.MonkeyPatch
) -> None:
    def denied(source: str, target: str) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted", source)

    ended(paths)
    monkeypatch.setattr(os, "link", denied)
    names, found = staged(layout)
    assert "checkpoints/7/model.pt" in names
    assert all((Path(found["folder"]) / file["sha256"]).stat().st_nlink == 1 for file in found["files"])


def test_what_can_neither_be_linked_nor_copied_is_refused_and_leaves_no_stage(
    layout: Layout, paths: RunPaths, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "link", full)
    no_room_to_write(monkeypatch)
    with pytest.raises(Refused, match="the disk of the host is full") as caught:
        staged(layout)
    assert caught.value.kind == "no-room"
    assert list(Path(paths.stage).iterdir()) == []


@pytest.mark.parametrize("over", [True, False])
def test_the_folder_of_a_stage_is_made_in_the_room_of_the_ballast(
    layout: Layout, paths: RunPaths, monkeypatch: pytest.MonkeyPatch, over: bool
) -> None:
    if over:
        ended(paths)
    ballast.lay(paths)
    whole, real = left(paths), os.makedirs

    def makedirs(folder: str, **more: Any) -> None:
        real(folder, **more) if left(paths) < whole else full()

    monkeypatch.setattr(os, "makedirs", makedirs)
    assert "checkpoints/7/model.pt" in staged(layout)[0]


def test_fetches_from_a_going_run_leave_it_room_for_its_end(
    layout: Layout, paths: RunPaths, monkeypatch: pytest.MonkeyPatch
) -> None:
    ballast.lay(paths)
    monkeypatch.setattr(os, "makedirs", full)
    for _ in range(3):
        with pytest.raises(Refused):
            staged(layout)
    assert left(paths) == ballast.FOR_THE_END
