"""After a restart of the instance, interrupted runs continue within their budget of restarts."""

from __future__ import annotations

import json
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from orchestrator.core.layout import Layout, scratch
from orchestrator.onhost import gpus, instance_limits, launching, leases, processes, reboot, run_queue, runs
from orchestrator.onhost.records import State

RUN = "job-20261121T101112-1a2b"
MARK = secrets.token_hex(16)


@pytest.fixture
def layout(tmp_path: Path) -> Iterator[Layout]:
    (tmp_path / "runs" / RUN / "checkpoints").mkdir(parents=True)
    yield Layout(str(tmp_path))
    shutil.rmtree(scratch(MARK), ignore_errors=True)


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Record the number of used restarts of each start instead of starting a run."""
    made: list[int] = []

    def start(_: Layout, request: runs.StartRequest) -> dict[str, Any]:
        assert request.resume
        made.append(request.restarts)
        return {"started": True}

    monkeypatch.setattr(runs, "start", start)
    return made


def write(layout: Layout, state: dict[str, Any], **run: Any) -> None:
    paths = layout.run(RUN)
    Path(paths.run_json).write_text(json.dumps({"id": RUN, "mark": MARK, "argv": ["true"], **run}))
    Path(paths.state).write_text(json.dumps({"v": 1, "id": RUN, "boot": "an earlier one", **state}))


def spot(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "spot").write_text("yes")
    limits = instance_limits.InstanceLimits(str(tmp_path), str(tmp_path))
    monkeypatch.setattr(instance_limits, "find", lambda: limits)


CUT_OFF: dict[str, Any] = {"started": 1.0, "heartbeat": 2.0}
ASKED = {**CUT_OFF, "ended": 3.0, "reason": "preempted"}


@pytest.mark.parametrize("state", [CUT_OFF, ASKED])
def test_a_run_that_a_reboot_interrupted_uses_one_restart(
    layout: Layout, started: list[int], state: dict[str, Any]
) -> None:
    write(layout, {**state, "restarts": 1}, restart={"max": 2})
    assert reboot.resume_all(layout) == [RUN]
    assert started == [2]
    assert "the run goes on from its last checkpoint" in Path(layout.run(RUN).events).read_text()


def test_a_run_that_cannot_be_started_again_keeps_no_other_from_it(
    layout: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    def start(_: Layout, request: runs.StartRequest) -> dict[str, Any]:
        if request.spec.id == RUN:
            raise FileExistsError(17, "File exists", "checkpoints")
        return {"started": True}

    monkeypatch.setattr(runs, "start", start)
    write(layout, CUT_OFF, restart={"max": 2})
    Path(layout.run(RUN).log).unlink(missing_ok=True)
    Path(layout.run(RUN).log).mkdir()
    other = "other-20261121T101113-1a2b"
    shutil.copytree(layout.run(RUN).folder, layout.run(other).folder, ignore=shutil.ignore_patterns("log"))
    assert reboot.resume_all(layout) == [other]


def test_without_restarts_left_the_run_says_why_it_stays_ended(layout: Layout, started: list[int]) -> None:
    write(layout, ASKED)
    assert (reboot.resume_all(layout), started) == ([], [])
    assert "it used its 0 restarts (restart.max)" in Path(layout.run(RUN).log).read_text()


def test_an_interruption_of_a_spot_instance_costs_no_restart(
    layout: Layout, started: list[int], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    spot(monkeypatch, tmp_path)
    write(layout, ASKED)
    assert reboot.resume_all(layout) == [RUN]
    assert started == [0]


@pytest.mark.parametrize(
    "state",
    [
        {**CUT_OFF, "ended": 3.0, "reason": "exit", "exit_code": 0},
        {**CUT_OFF, "ended": 3.0, "reason": "hours"},
        {**CUT_OFF, "ended": 3.0, "reason": "stopped"},
        {**ASKED, "boot": ""},
        {**ASKED, "host": "another", "machine": "1"},
    ],
)
def test_a_run_that_ended_by_itself_or_elsewhere_stays_ended(
    layout: Layout, started: list[int], state: dict[str, Any]
) -> None:
    write(layout, state, restart={"max": 9})
    assert (reboot.resume_all(layout), started) == ([], [])


def test_a_run_of_this_boot_or_that_was_asked_to_stop_stays_ended(layout: Layout, started: list[int]) -> None:
    write(layout, {**ASKED, "boot": processes.boot()}, restart={"max": 9})
    assert reboot.resume_all(layout) == []
    write(layout, CUT_OFF, restart={"max": 9})
    Path(layout.run(RUN).stop).write_text("{}")
    assert (reboot.resume_all(layout), started) == ([], [])


def test_a_run_that_needs_secrets_is_left_to_its_user(layout: Layout, started: list[int]) -> None:
    write(layout, ASKED, restart={"max": 9}, pass_env=["HF_TOKEN"])
    assert (reboot.resume_all(layout), started) == ([], [])
    assert "it needs HF_TOKEN" in Path(layout.run(RUN).events).read_text()


@pytest.mark.parametrize(("appears", "goes_on"), [(3, True), (10**6, False)])
def test_the_gpu_driver_is_waited_for_after_a_boot(
    layout: Layout, started: list[int], monkeypatch: pytest.MonkeyPatch, appears: int, goes_on: bool
) -> None:
    write(layout, ASKED, restart={"max": 9}, resources={"gpus": 1})
    slept: list[float] = []
    card = gpus.Gpu(0, "L4", 0, 1, 0, 0, "u", "1")
    monkeypatch.setattr(gpus, "sample", lambda: [card] if len(slept) >= appears else None)
    assert reboot.resume_all(layout, slept.append) == ([RUN] if goes_on else [])
    assert sum(slept) == (15.0 if goes_on else reboot.GPU_SECONDS)


def test_after_a_boot_runs_with_leases_go_first_and_the_queue_goes_on(
    layout: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(layout, ASKED, restart={"max": 9}, resources={"gpus": 1})
    leases.take(layout.run(RUN), RUN, leases.Lease(("u",), (0,)))
    waiting = "next-20261121T101113-1a2b"
    Path(layout.run(waiting).folder).mkdir()
    Path(layout.run(waiting).run_json).write_text(
        json.dumps({"id": waiting, "job": "next", "argv": ["true"]})
    )
    run_queue.add(layout, waiting, 0o077)
    launched: list[tuple[str, int]] = []

    def launch(layout: Layout, run_id: str, restarts: int, umask: int) -> None:
        launched.append((run_id, restarts))
        state = State(id=run_id, supervisor={"pid": 1, "ticks": 2}, boot=processes.boot(), attempt=9)
        Path(layout.run(run_id).state).write_text(json.dumps(vars(state)))

    cards = [gpus.Gpu(n, "L4", 0, 1, 0, 0, f"u{n}", "1") for n in range(2)]
    monkeypatch.setattr(gpus, "sample", lambda *_: cards)
    monkeypatch.setattr(launching, "launch", launch)
    assert reboot.resume_all(layout) == [RUN, waiting]
    assert launched == [(RUN, 1), (waiting, 0)]
