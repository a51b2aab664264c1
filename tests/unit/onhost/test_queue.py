"""The queue of a host: which run starts next, what removes one, and what damages change."""

from __future__ import annotations

import errno
import json
from pathlib import Path

import pytest

from orchestrator.core.layout import Layout
from orchestrator.onhost import (
    dispatch,
    elsewhere,
    files,
    instance_limits,
    launching,
    reserved_space,
    run_queue,
    runs,
)
from orchestrator.onhost.errors import Refused
from orchestrator.onhost.records import State
from tests.unit.onhost.queue_box import Box, run_id


def test_runs_start_in_order_as_far_as_their_gpus_are_free(box: Box) -> None:
    for number, wants in enumerate((2, 2, 4, 1)):
        box.add(run_id(number), wants)
    assert dispatch.advance(box.layout) == [run_id(0), run_id(1)]
    assert (box.lease(run_id(0)), box.lease(run_id(1))) == (("GPU-0", "GPU-1"), ("GPU-2", "GPU-3"))
    box.end(run_id(1))
    assert box.reason(run_id(2)) == f"needs 4 GPUs, 2 free; in use by {run_id(0)}"  # nothing overtakes it
    assert [run_queue.places(box.layout).get(run_id(n)) for n in (0, 1)] == [None, None]
    box.end(run_id(0))
    assert dispatch.advance(box.layout) == [run_id(2)]


def test_a_queued_run_waits_for_another_one_of_its_job(box: Box) -> None:
    box.live("job0-20261121T101112-00ff", wants=0)
    box.add(run_id(0))
    assert box.reason(run_id(0)) == "job0-20261121T101112-00ff of the same job is running"


def test_a_job_that_waits_is_not_deployed_again(box: Box) -> None:
    box.add(run_id(0))
    for start in (runs.start, dispatch.enqueue):
        with pytest.raises(Refused, match=f"job0 already waits in the queue as {run_id(0)}"):
            start(box.layout, runs.StartRequest(box.spec("job0-20261121T101112-00ff")))


def test_a_run_that_cannot_be_started_fails_and_the_queue_goes_on(
    box: Box, monkeypatch: pytest.MonkeyPatch
) -> None:
    def launch(layout: Layout, name: str, restarts: int, umask: int) -> None:
        if name == run_id(0):
            raise Refused("no-tmux", "tmux is not installed on this host")
        box.launch(layout, name, restarts, umask)

    monkeypatch.setattr(launching, "launch", launch)
    for number in range(2):
        box.add(run_id(number))
    assert dispatch.advance(box.layout) == [run_id(1)]
    state = State.load(box.layout.run(run_id(0)).state)
    assert state
    assert (state.reason, state.exit_code, bool(state.ended)) == ("not-started", 127, True)
    assert "tmux is not installed" in Path(box.layout.run(run_id(0)).log).read_text()


@pytest.mark.parametrize("damaged", [["lease"], ["lease", "log"], ["lease", "alive"]])
def test_a_damaged_run_at_the_head_of_the_queue_stops_no_other(box: Box, damaged: list[str]) -> None:
    box.add(run_id(0))
    box.add(run_id(1))
    for name in damaged:
        Path(getattr(box.layout.run(run_id(0)), name), "folder").mkdir(parents=True)
    assert dispatch.advance(box.layout) == [run_id(1)]
    assert run_queue.entries(box.layout) == []
    assert run_id(1) in box.pids


def test_why_a_run_was_not_started_is_in_its_events_if_its_log_is_damaged(box: Box) -> None:
    box.add(run_id(0))
    paths = box.layout.run(run_id(0))
    for path in (paths.lease, paths.log):
        Path(path, "folder").mkdir(parents=True)
    dispatch.advance(box.layout)
    assert "the run could not be started" in Path(paths.events).read_text()


def test_on_a_full_disk_a_run_without_recorded_end_goes_on_waiting(
    box: Box, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    box.add(run_id(0))
    Path(box.layout.run(run_id(0)).lease, "folder").mkdir(parents=True)
    with monkeypatch.context() as patch:
        patch.setattr(reserved_space, "write_json", fail)
        with pytest.raises(OSError, match="No space left"):
            dispatch.advance(box.layout)
    assert [entry.run for entry in run_queue.entries(box.layout)] == [run_id(0)]
    dispatch.advance(box.layout)
    state = State.load(box.layout.run(run_id(0)).state)
    assert state
    assert state.reason == "not-started"


def test_stop_removes_a_queued_run_and_its_secrets(box: Box) -> None:
    spec = box.add(run_id(0))
    files.write_json(box.layout.run(spec.id).secrets, {"HF_TOKEN": "x"})
    answer = dispatch.stop(box.layout, spec.id, "ana", now=False)
    assert (answer["was_running"], answer["remaining"]) == (True, [])
    assert (answer["run"]["state"]["reason"], answer["run"]["state"]["by"]) == ("stopped", "ana")
    assert run_queue.entries(box.layout) == []
    assert not Path(box.layout.run(spec.id).secrets).exists()
    assert dispatch.advance(box.layout) == []


def test_a_damaged_file_of_the_queue_keeps_its_place(box: Box) -> None:
    for number in range(2):
        box.add(run_id(number))
    first = Path(box.layout.queue) / run_queue.entries(box.layout)[0].name
    first.write_text('{"since": "yesterday", "umask": [], "restarts"')
    for stray in ("reason.json", "7.nobody", f"7.{run_id(0)}.12.tmp", "x"):
        (Path(box.layout.queue) / stray).write_text("[" * 99)
    assert [entry.run for entry in run_queue.entries(box.layout)] == [run_id(0), run_id(1)]


def test_another_machine_that_shares_the_folder_leaves_the_queue_alone(
    box: Box, monkeypatch: pytest.MonkeyPatch
) -> None:
    box.add(run_id(0))
    monkeypatch.setattr(elsewhere, "host_name", lambda: "another")
    assert (run_queue.entries(box.layout), dispatch.advance(box.layout)) == ([], [])
    limits = instance_limits.InstanceLimits(box.layout.root, box.layout.root)
    monkeypatch.setattr(instance_limits, "find", lambda: limits)  # with the volume of one that has ended
    assert dispatch.advance(box.layout) == [run_id(0)]


def test_an_instance_stays_up_while_a_run_waits(box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    limits = instance_limits.InstanceLimits(box.layout.root, box.layout.root)
    monkeypatch.setattr(instance_limits, "find", lambda: limits)
    box.cards = None
    dispatch.advance(box.layout)
    assert limits.lease is None
    box.add(run_id(0))
    dispatch.advance(box.layout)
    assert limits.lease is not None


def test_the_reason_of_a_damaged_queue_is_unknown(box: Box) -> None:
    box.add(run_id(0))
    Path(box.layout.queue, "reason.json").write_text(json.dumps({"run": 1, "reason": {}}))
    place = run_queue.places(box.layout).get(run_id(0))
    assert place
    assert (place["place"], place["of"], place["reason"]) == (1, 1, None)
