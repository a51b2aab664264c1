"""A run whose folder is damaged is reported as that, and changes nothing about the other runs."""

from __future__ import annotations

import contextlib
import io
import json
import os
import secrets
import signal
import subprocess
from pathlib import Path
from typing import Any

import msgspec
import pytest

from orchestrator.core import decode, hostfacts, runstate
from orchestrator.core.layout import Layout
from orchestrator.onhost import files, helper, journal, log_index, reserved_space
from orchestrator.view import status
from orchestrator.view.status import HostReport, RunReport
from tests.rigs.odd_runs import DAMAGED, TOLERATED, complete
from tests.support import new_client

pytestmark = pytest.mark.slow

ODD, HEALTHY = "job-20261121T101112-0ddd", "job-20261121T101113-1a2b"


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    for run_id in (ODD, HEALTHY):
        complete(tmp_path / "runs" / run_id)
    return Layout(str(tmp_path))


def answer(layout: Layout, op: str, **fields: Any) -> dict[str, Any]:
    """The helper's answer, after its way over a connection."""
    reply = json.loads(json.dumps(helper.answer(layout, {"id": 1, "op": op, **fields})))
    assert "answer" in reply, reply
    content: dict[str, Any] = reply["answer"]
    return content


def reports(layout: Layout) -> dict[str, RunReport]:
    runs = hostfacts.parse_snapshot(answer(layout, "status", lines=5)).runs
    return {run.id: RunReport(run, runstate.fold(run, 1000.0)) for run in runs}


def screen(reports: list[RunReport]) -> str:
    with new_client() as client:
        ctx = client.context()
        status.print_status(ctx, [HostReport("gpu", (), reports=tuple(reports))], detail=True)
        json.dumps([msgspec.to_builtins(status.run_json(report)) for report in reports])
        assert isinstance(ctx.stdout, io.StringIO)
        return ctx.stdout.getvalue()


@pytest.mark.parametrize("kind", DAMAGED)
def test_a_damaged_run_is_shown_with_the_reason_and_hides_no_other(layout: Layout, kind: str) -> None:
    DAMAGED[kind](Path(layout.run(ODD).folder))
    shown = reports(layout)
    assert set(shown) == {ODD, HEALTHY}
    assert isinstance(shown[HEALTHY].state, runstate.Succeeded)
    assert kind.split()[0] in shown[ODD].facts.damage[0]
    assert f"damaged: {shown[ODD].facts.damage[0]}" in screen(list(shown.values()))


@pytest.mark.parametrize("kind", TOLERATED)
def test_an_odd_file_of_a_run_hides_neither_it_nor_another(layout: Layout, kind: str) -> None:
    TOLERATED[kind](Path(layout.run(ODD).folder))
    shown = reports(layout)
    assert [type(report.state) for report in shown.values()] == [runstate.Succeeded] * 2
    assert screen(list(shown.values()))


@pytest.mark.parametrize("kind", DAMAGED | TOLERATED)
def test_an_odd_run_can_be_stopped_and_fetched(layout: Layout, kind: str) -> None:
    (DAMAGED | TOLERATED)[kind](Path(layout.run(ODD).folder))
    assert answer(layout, "stop", run=ODD, by="ana")["remaining"] == []
    staged = answer(layout, "stage", run=ODD, which="all")
    names = {file["path"] for file in staged["files"]} | set(staged["left_out"])
    assert names >= {"run.json", "state.json", "log", "events.jsonl"}
    assert answer(layout, "read_events", run=ODD, offset=0, limit=1 << 20)


def test_lines_that_are_no_events_are_skipped_and_counted(layout: Layout) -> None:
    TOLERATED["events that are no text"](Path(layout.run(ODD).folder))
    shown = reports(layout)
    assert [shown[run].facts.skipped_events for run in (ODD, HEALTHY)] == [4, 0]
    assert "4 lines of events.jsonl are no events" in screen(list(shown.values()))


def test_a_run_without_a_readable_end_is_not_called_lost(layout: Layout) -> None:
    DAMAGED["state.json is no JSON"](Path(layout.run(ODD).folder))
    assert reports(layout)[ODD].state == runstate.Damaged(
        "state.json cannot be read: not JSON: 'utf-8' codec can't decode byte 0xff in position 0: "
        "invalid start byte"
    )


def test_each_file_of_a_run_that_has_ended_is_read_once(
    layout: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[str] = []
    monkeypatch.setattr(
        os, "open", lambda path, *more, real=os.open: opened.append(str(path)) or real(path, *more)
    )
    answer(layout, "status", lines=5)
    monkeypatch.undo()
    opened = [path for path in opened if path.startswith(layout.runs)]
    assert sorted(opened) == sorted(set(opened))
    assert layout.run(HEALTHY).state in opened


def test_what_run_json_leaves_out_needs_no_second_look(
    layout: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(decode, "_by_field", None)  # how a value is read that does not fit as a whole
    assert all(isinstance(report.state, runstate.Succeeded) for report in reports(layout).values())


def test_a_run_whose_folder_was_removed_is_shown_and_stopped(layout: Layout) -> None:
    gone = "job-20261121T101114-00aa"
    env = {"GPUJOB_MARK": secrets.token_hex(16), "GPUJOB_RUN_DIR": layout.run(gone).folder}
    with subprocess.Popen(["sleep", "1000"], env=env, start_new_session=True) as process:
        shown = reports(layout)
        assert set(shown) == {ODD, HEALTHY, gone}
        assert isinstance(shown[gone].state, runstate.Orphaned)
        assert "its folder was removed" in shown[gone].facts.damage[0]
        stopped = answer(layout, "stop", run=gone, by="ana", now=True)
        assert (stopped["was_running"], stopped["remaining"], stopped["run"]["pids"]) == (True, [], [])
        assert process.wait() in (-signal.SIGTERM, -signal.SIGKILL)
    assert set(reports(layout)) == {ODD, HEALTHY}


@pytest.mark.parametrize("content", ["{", None])
def test_the_end_of_a_run_whose_state_was_lost_is_recorded(layout: Layout, content: str | None) -> None:
    state = Path(layout.run(ODD).state)
    state.unlink() if content is None else state.write_text(content)
    record = json.loads(Path(layout.run(ODD).run_json).read_text())
    mark = secrets.token_hex(16)
    Path(layout.run(ODD).run_json).write_text(json.dumps({**record, "mark": mark}))
    with subprocess.Popen(["sleep", "1000"], env={"GPUJOB_MARK": mark}, start_new_session=True):
        assert answer(layout, "stop", run=ODD, by="ana", now=True)["was_running"]
    assert runstate.word(reports(layout)[ODD].state) == "stopped"


@pytest.mark.parametrize("file", ["lock", "alive", "reserved", "log_index", "log", "events"])
def test_a_named_pipe_in_the_place_of_a_file_makes_nobody_wait(layout: Layout, file: str) -> None:
    paths = layout.run(ODD)
    Path(getattr(paths, file)).unlink(missing_ok=True)
    os.mkfifo(getattr(paths, file))
    with files.lock(paths.lock) as is_locked, files.lock(paths.alive, wait=False) as is_first:
        assert is_locked
        assert is_first
    reserved_space.create(layout, paths)
    log_index.Writer(paths).add(1.0, 1)
    with contextlib.suppress(OSError):
        journal.Journal(paths).warn("a warning")
