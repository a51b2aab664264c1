"""The queue of a host and the leases of its GPUs, with launches, kills and programs that are simulated."""

from __future__ import annotations

import json
import os
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from orchestrator.core.layout import Layout
from orchestrator.onhost import (
    alert_watch,
    allocation,
    conflicts,
    dispatch,
    elsewhere,
    files,
    gpus,
    host_facts,
    instance_limits,
    launching,
    leases,
    processes,
    run_facts,
    run_files,
    run_queue,
    runs,
)
from orchestrator.onhost.errors import Refused
from orchestrator.onhost.gpus import Gpu, GpuProcess
from orchestrator.onhost.records import RunSpec, State
from orchestrator.onhost.run_facts import RunFacts
from orchestrator.onhost.supervisor import Supervisor

ME = {"pid": os.getpid(), "ticks": processes.start_ticks(os.getpid()) or 0}


def run_id(number: int, job: str = "job") -> str:
    return f"{job}{number}-20261121T101112-{number:04x}"


def card(index: int) -> Gpu:
    return Gpu(index, "GPU", 0, 1, 0, None, f"GPU-{index}", "550")


class Box:
    """A host with four GPUs, on which nothing is really started: `pids` are those of its live runs."""

    def __init__(self, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.layout = Layout(str(root))
        self.cards: list[Gpu] | None = [card(n) for n in range(4)]
        self.programs: list[GpuProcess] = []
        self.pids: dict[str, list[int]] = {}
        monkeypatch.setattr(gpus, "sample", lambda timeout=5: self.cards)
        monkeypatch.setattr(host_facts, "gpu_processes", lambda: self.programs)
        monkeypatch.setattr(processes, "by_mark", lambda: self.pids)
        monkeypatch.setattr(processes, "table", dict)
        monkeypatch.setattr(os, "fsync", lambda _: None)
        monkeypatch.setattr(alert_watch, "start", lambda *_: None)
        monkeypatch.setattr(launching, "kill_session", lambda *_: None)
        monkeypatch.setattr(launching, "launch", self.launch)

    def launch(self, layout: Layout, name: str, restarts: int, umask: int) -> None:
        self.pids[name] = [1]
        state = State(id=name, boot=processes.boot(), supervisor={"pid": 1, "ticks": 2}, attempt=1)
        files.write_json(layout.run(name).state, state.to_json())

    def end(self, name: str) -> None:
        del self.pids[name]
        state = State.load(self.layout.run(name).state)
        assert state
        files.write_json(self.layout.run(name).state, state.replace(ended=9.0, reason="exit").to_json())

    def spec(self, name: str, wants: int = 1, **more: Any) -> RunSpec:
        record = {"id": name, "job": name.split("-")[0], "mark": name, "argv": ["x"], **more}
        return RunSpec.parse({**record, "resources": {"gpus": wants}})

    def add(self, name: str, wants: int = 1, **more: Any) -> RunSpec:
        """Make a run that waits, without starting anything."""
        spec = self.spec(name, wants, **more)
        Path(self.layout.run(name).folder).mkdir(parents=True, exist_ok=True)
        files.write_json(self.layout.run(name).run_json, spec.record)
        run_queue.add(self.layout, name, 0o077)
        return spec

    def live(self, name: str, wants: int = 1, **more: Any) -> None:
        """Make a run that was started without the queue."""
        self.add(name, wants, **more)
        self.launch(self.layout, name, 0, 0)

    def reason(self, name: str) -> str:
        assert dispatch.advance(self.layout) == []
        place = run_queue.place(self.layout, name)
        assert place
        return str(place["reason"])

    def lease(self, name: str) -> tuple[str, ...]:
        lease = leases.load(self.layout.run(name))
        assert lease
        return lease.gpus


@pytest.fixture
def box(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Box:
    return Box(tmp_path, monkeypatch)


def test_runs_start_in_order_as_far_as_their_gpus_are_free(box: Box) -> None:
    for number, wants in enumerate((2, 2, 4, 1)):
        box.add(run_id(number), wants)
    assert dispatch.advance(box.layout) == [run_id(0), run_id(1)]
    assert (box.lease(run_id(0)), box.lease(run_id(1))) == (("GPU-0", "GPU-1"), ("GPU-2", "GPU-3"))
    box.end(run_id(1))
    assert box.reason(run_id(2)) == f"needs 4 GPUs, 2 free; in use by {run_id(0)}"  # nothing overtakes it
    assert [run_queue.place(box.layout, run_id(n)) for n in (0, 1)] == [None, None]
    box.end(run_id(0))
    assert dispatch.advance(box.layout) == [run_id(2)]


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
    assert box.reason(run_id(1)) == f"needs 1 GPUs, 0 free; in use by {run_id(0)}"
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


def test_a_queued_run_waits_for_another_one_of_its_job(box: Box) -> None:
    box.live("job0-20261121T101112-00ff", wants=0)
    box.add(run_id(0))
    assert box.reason(run_id(0)) == "job0-20261121T101112-00ff of the same job is running"


def test_a_job_that_waits_is_not_deployed_again(box: Box) -> None:
    box.add(run_id(0))
    for start in (runs.start, dispatch.enqueue):
        with pytest.raises(Refused, match=f"job0 already waits in the queue as {run_id(0)}"):
            start(box.layout, runs.StartRequest(box.spec("job0-20261121T101112-00ff")))


def test_a_leased_gpu_refuses_a_deploy_without_the_queue(box: Box) -> None:
    box.add(run_id(0))
    dispatch.advance(box.layout)
    with pytest.raises(Refused, match="a GPU is in use") as no:
        conflicts.require_none(box.layout, box.spec(run_id(1)), False, [run_id(0)])
    assert [process["run"] for process in no.value.details["processes"]] == [run_id(0)]
    conflicts.require_none(box.layout, box.spec(run_id(1)), True, [run_id(0)])


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


def test_stop_removes_a_queued_run_and_its_secrets(box: Box) -> None:
    spec = box.add(run_id(0))
    files.write_json(box.layout.run(spec.id).secrets, {"HF_TOKEN": "x"})
    answer = dispatch.stop(box.layout, spec.id, "ana", now=False)
    assert (answer["was_running"], answer["remaining"]) == (True, [])
    assert (answer["run"]["state"]["reason"], answer["run"]["state"]["by"]) == ("stopped", "ana")
    assert run_queue.entries(box.layout) == []
    assert not Path(box.layout.run(spec.id).secrets).exists()
    assert dispatch.advance(box.layout) == []


def test_a_run_that_is_being_started_is_not_ended_as_one_that_waits(
    box: Box, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = box.add(run_id(0))
    supervisor = elsewhere.hold(box.layout.run(spec.id))
    monkeypatch.setattr(
        processes, "wait_until", lambda condition, seconds: box.launch(box.layout, spec.id, 0, 0)
    )
    assert not dispatch._withdraw(box.layout, spec.id, "ana")
    assert run_facts.find(box.layout, spec.id, 0).is_alive  # type: ignore[union-attr]
    assert supervisor
    os.close(supervisor)


def test_a_supervisor_does_nothing_once_another_start_is_recorded(
    box: Box, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(elsewhere, "hold", lambda paths: None)
    spec = box.add(run_id(0))
    launching.require_latest(box.layout.run(spec.id), run_queue.NEVER)
    box.launch(box.layout, spec.id, 0, 0)
    with pytest.raises(launching.Overtaken):
        Supervisor(box.layout.root, spec.id, after=run_queue.NEVER)
    dispatch._end(box.layout.run(spec.id), run_queue.Entry(1, spec.id, 0.0), "stopped", "ana")
    with pytest.raises(launching.Overtaken):
        Supervisor(box.layout.root, spec.id, after="1.2")


def test_a_run_whose_supervisor_died_before_its_command_still_waits(box: Box) -> None:
    spec = box.add(run_id(0))
    dead = State(id=spec.id, boot=processes.boot(), supervisor={"pid": 1, "ticks": 2}, attempt=0)
    files.write_json(box.layout.run(spec.id).state, dead.to_json())
    assert run_queue.find(box.layout, spec.id)
    assert not run_files.has_ended(box.layout, spec.id)
    files.write_json(box.layout.run(spec.id).state, dead.replace(supervisor=ME).to_json())
    assert run_queue.find(box.layout, spec.id) is None
    files.write_json(box.layout.run(spec.id).state, dead.replace(attempt=1).to_json())
    assert run_queue.find(box.layout, spec.id) is None


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


class Killed(BaseException):
    pass


class Chaos(Box):
    """Every write may be the last thing a process does. A supervisor may appear after its launcher died."""

    def __init__(self, root: Path, monkeypatch: pytest.MonkeyPatch, chance: random.Random) -> None:
        super().__init__(root, monkeypatch)
        self.chance, self.late, self.begun = chance, list[tuple[str, str]](), list[str]()
        self.using: dict[str, tuple[str, ...]] = {}
        write, unlink = files.write_json, os.unlink

        def dangerous(real: Callable[..., None]) -> Callable[..., None]:
            def around(*words: Any) -> None:
                self.may_die()
                real(*words)
                self.may_die()

            return around

        self.write = write
        monkeypatch.setattr(files, "write_json", dangerous(write))
        monkeypatch.setattr(os, "unlink", dangerous(unlink))

    def may_die(self) -> None:
        if self.chance.random() < 0.1:
            raise Killed

    def launch(self, layout: Layout, name: str, restarts: int, umask: int) -> None:
        self.may_die()
        self.late.append((name, run_queue.last_start(layout.run(name))))
        self.may_die()
        self.appear()

    def appear(self) -> None:
        """The supervisors that were launched begin, unless another start was recorded since."""
        self.chance.shuffle(self.late)
        while self.late:
            name, after = self.late.pop()
            if run_queue.last_start(self.layout.run(name)) != after:
                continue
            lease = self.lease(name)
            assert not any(set(lease) & set(used) for used in self.using.values()), "overcommitted"
            self.begun.append(name)
            self.using[name], self.pids[name] = lease, [1]
            state = State(id=name, boot=processes.boot(), supervisor={"pid": 1, "ticks": 2}, attempt=1)
            self.write(self.layout.run(name).state, state.to_json())

    def finish_one(self) -> None:
        if self.using:
            name = self.chance.choice(sorted(self.using))
            del self.using[name], self.pids[name]


def test_kills_at_any_point_start_each_run_once_in_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, trials: Callable[[int, int], int]
) -> None:
    for seed in range(trials(5, 200)):
        chance = random.Random(seed)
        (root := tmp_path / str(seed)).mkdir()
        with monkeypatch.context() as patch:
            chaos = Chaos(root, patch, chance)
            names = [run_id(number) for number in range(12)]
            for name in names:
                while run_queue.find(chaos.layout, name) is None:
                    try:
                        chaos.add(name, chance.choice((1, 2, 4)))
                    except Killed:
                        continue
            for _ in range(1000):
                chance.choice((chaos.appear, chaos.finish_one, lambda: None))()
                try:
                    dispatch.advance(chaos.layout)
                except Killed:
                    continue
                if len(chaos.begun) == len(names) and not chaos.late:
                    break
            assert chaos.begun == names, seed
            assert run_queue.entries(chaos.layout) == []


def test_the_reason_of_a_damaged_queue_is_unknown(box: Box) -> None:
    box.add(run_id(0))
    Path(box.layout.queue, "reason.json").write_text(json.dumps({"run": 1, "reason": {}}))
    place = run_queue.place(box.layout, run_id(0))
    assert place
    assert (place["place"], place["of"], place["reason"]) == (1, 1, None)


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
