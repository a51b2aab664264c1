"""Which GPUs a run of the queue gets, and for how long they are its own."""

from __future__ import annotations

import pytest

from orchestrator.onhost import (
    allocation,
    dispatch,
    leases,
    run_facts,
)
from orchestrator.onhost.errors import Refused
from orchestrator.onhost.gpus import GpuProcess
from orchestrator.onhost.run_facts import RunFacts
from tests.unit.onhost.queue_box import Box, card, run_id


def test_a_host_without_gpus_runs_one_of_the_queue_at_a_time(box: Box) -> None:
    box.cards = []
    for number in range(2):
        box.add(run_id(number), wants=number)
    assert dispatch.advance(box.layout) == [run_id(0)]
    assert leases.variables(box.layout.run(run_id(0))) == {}
    assert box.reason(run_id(1)) == f"after {run_id(0)}"
    box.end(run_id(0))
    assert dispatch.advance(box.layout) == [run_id(1)]


def test_a_queued_run_that_asks_for_no_gpu_sees_none(box: Box) -> None:
    box.add(run_id(0), wants=0)
    assert dispatch.advance(box.layout) == [run_id(0)]
    assert leases.variables(box.layout.run(run_id(0)))["CUDA_VISIBLE_DEVICES"] == ""


def test_unreadable_gpus_are_waited_for_and_not_taken_for_absent(box: Box) -> None:
    box.cards = None
    box.add(run_id(0))
    assert box.reason(run_id(0)) == "the GPUs of this host cannot be read"


def test_a_program_on_a_gpu_keeps_queued_runs_off_that_gpu(box: Box) -> None:
    box.programs = [GpuProcess("GPU-1", 77, "python", 700, "ana")]
    box.add(run_id(0), wants=3)
    assert dispatch.advance(box.layout) == [run_id(0)]
    assert box.lease(run_id(0)) == ("GPU-0", "GPU-2", "GPU-3")
    box.add(run_id(1))
    assert "0 free; in use by" in box.reason(run_id(1))
    assert "python (pid 77)" in box.reason(run_id(1))


def test_a_run_without_a_lease_may_use_every_gpu_that_it_sees(box: Box) -> None:
    box.live(run_id(0))
    box.add(run_id(1))
    assert box.reason(run_id(1)) == f"needs 1 GPU, 0 free; in use by {run_id(0)}"
    box.end(run_id(0))
    box.live(run_id(2), env={"CUDA_VISIBLE_DEVICES": "0,1,2"})
    assert dispatch.advance(box.layout) == [run_id(1)]
    assert box.lease(run_id(1)) == ("GPU-3",)


@pytest.mark.parametrize(
    ("words", "expected"),
    [(None, [0, 1, 2, 3]), ("2,0", [2, 0]), ("GPU-1", [1]), ("1,-1,2", [1]), ("", []), ("1,1", [1])],
)
def test_the_gpus_that_a_run_sees_are_those_of_its_variable(words: str | None, expected: list[int]) -> None:
    env = {} if words is None else {"CUDA_VISIBLE_DEVICES": words}
    assert [one.index for one in allocation.visible([card(n) for n in range(4)], env)] == expected


def test_a_lease_ends_with_its_run_and_not_with_its_supervisor(box: Box) -> None:
    box.add(run_id(0), wants=4)
    box.add(run_id(1))
    dispatch.advance(box.layout)
    assert box.reason(run_id(1))  # the supervisor is dead, a process of the run is alive
    del box.pids[run_id(0)]
    assert dispatch.advance(box.layout) == [run_id(1)]


def test_a_leased_gpu_refuses_a_deploy_without_the_queue(box: Box) -> None:
    box.add(run_id(0))
    dispatch.advance(box.layout)
    with pytest.raises(Refused, match="a GPU is in use") as no:
        allocation.require_no_conflict(box.layout, box.spec(run_id(1)), False, [run_id(0)])
    assert [process["run"] for process in no.value.details["processes"]] == [run_id(0)]
    allocation.require_no_conflict(box.layout, box.spec(run_id(1)), True, [run_id(0)])


def facts_of(box: Box, name: str) -> RunFacts:
    run = run_facts.find(box.layout, name, 0)
    assert run
    return run


def test_the_facts_of_a_run_name_its_place_and_its_lease(box: Box) -> None:
    for number in range(3):
        box.add(run_id(number), wants=3)
    dispatch.advance(box.layout)
    assert (facts_of(box, run_id(0)).leased, facts_of(box, run_id(0)).queue) == (3, None)
    queue = facts_of(box, run_id(2)).to_json()["queue"]
    assert (queue["place"], queue["of"]) == (2, 2)
