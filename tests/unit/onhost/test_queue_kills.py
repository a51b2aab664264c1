"""Whoever is killed at whatever point: a run of the queue starts once, in its turn."""

from __future__ import annotations

import os
import random
import secrets
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from orchestrator.core.layout import Layout
from orchestrator.onhost import (
    dispatch,
    elsewhere,
    files,
    launching,
    processes,
    run_facts,
    run_processes,
    run_queue,
    runs,
)
from orchestrator.onhost.errors import Refused
from orchestrator.onhost.records import RunSpec, State
from orchestrator.onhost.supervisor import Supervisor
from tests.rigs.patience import wait_until
from tests.support import REPOSITORY
from tests.unit.onhost.queue_box import Box, run_id

pytestmark = pytest.mark.slow

ME = {"pid": os.getpid(), "ticks": processes.start_ticks(os.getpid()) or 0}


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
        Supervisor(box.layout.root, spec.id, after="1.2.1")


def test_a_run_whose_supervisor_died_before_its_command_still_waits(box: Box) -> None:
    spec = box.add(run_id(0))
    dead = State(id=spec.id, boot=processes.boot(), supervisor={"pid": 1, "ticks": 2}, attempt=0)
    files.write_json(box.layout.run(spec.id).state, vars(dead))
    assert run_queue.find(box.layout, spec.id)
    assert not run_processes.has_ended(box.layout, spec.id)
    files.write_json(box.layout.run(spec.id).state, vars(dead.replace(supervisor=ME)))
    assert run_queue.find(box.layout, spec.id) is None
    files.write_json(box.layout.run(spec.id).state, vars(dead.replace(attempt=1)))
    assert run_queue.find(box.layout, spec.id) is None


SUPERVISE = """
import os, signal, sys
from orchestrator.core.layout import Layout
from orchestrator.onhost import modes, supervisor
point, root, run, after, proceed = sys.argv[1:]
mine, become = os.getpid(), supervisor.Supervisor._become_trainer

def die(*_):
    os.kill(mine, signal.SIGKILL)

def die_in_child(self):
    if point == "after":
        become(self)
    die()
    os.close(os.open(proceed, os.O_WRONLY))  # waits for the test
    if point == "before":
        become(self)

if point == "fork":
    supervisor.Supervisor._start = die
elif point:
    supervisor.Supervisor._become_trainer = die_in_child
modes.supervise(Layout(root), [run, "77", "0", after])
"""


class Supervisors:
    """Real supervisors of one run of the queue, whose command notes that it was started, and its secret."""

    def __init__(self, folder: Path) -> None:
        self.layout, self.run = Layout(str(folder / "root")), run_id(0)
        self.paths, self.notes = self.layout.run(self.run), folder / "notes"
        self.proceed = folder / "proceed"
        os.mkfifo(self.proceed)
        argv = ["sh", "-c", f'echo "started $TOKEN" >> {self.notes}']
        record = {"id": self.run, "mark": secrets.token_hex(16), "argv": argv, "pass_env": ["TOKEN"]}
        runs.prepare(self.layout, self.paths, RunSpec.parse(record), {"TOKEN": "abc"})
        run_queue.add(self.layout, self.run, 0o077)

    def begin(self, point: str) -> subprocess.Popen[bytes]:
        """A supervisor that is killed at a point, or not; with what a launcher says at this moment."""
        words = [point, self.layout.root, self.run, run_queue.last_start(self.paths), self.proceed]
        return subprocess.Popen([sys.executable, "-c", SUPERVISE, *words], cwd=REPOSITORY)

    def started(self) -> list[str]:
        return self.notes.read_text().splitlines() if self.notes.exists() else []


def test_a_run_whose_supervisor_is_killed_before_the_fork_waits_again(tmp_path: Path) -> None:
    run = Supervisors(tmp_path)
    assert run.begin("fork").wait() == -signal.SIGKILL
    assert run_queue.find(run.layout, run.run)
    assert run.begin("").wait() == 0
    assert run.started() == ["started abc"]
    assert run_queue.find(run.layout, run.run) is None
    assert not Path(run.paths.secrets).exists()


@pytest.mark.parametrize("point", ["before", "after"])
def test_a_command_starts_once_although_its_supervisor_is_killed_since_the_fork(
    tmp_path: Path, point: str
) -> None:
    """`point`: before or after the attempt was recorded. Before, another supervisor begins meanwhile."""
    run = Supervisors(tmp_path)
    assert run.begin(point).wait() == -signal.SIGKILL
    assert bool(run_queue.find(run.layout, run.run)) == (point == "before")
    second = run.begin("") if point == "before" else None
    os.close(os.open(run.proceed, os.O_RDONLY))
    assert second is None or second.wait() == 0
    wait_until(run.started, "the command is started")
    assert run.started() == ["started abc"]
    assert run_queue.find(run.layout, run.run) is None
    assert not Path(run.paths.secrets).exists()


class Killed(BaseException):
    pass


class Chaos(Box):
    """Every write may be the last thing a process does. A supervisor may appear after its launcher died."""

    def __init__(self, root: Path, monkeypatch: pytest.MonkeyPatch, chance: random.Random) -> None:
        super().__init__(root, monkeypatch)
        self.chance, self.late, self.begun = chance, list[tuple[str, str]](), list[str]()
        self.using: dict[str, tuple[str, ...]] = {}
        self.number, self.cut_off = 10**12, set[str]()  # no process began that late
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
        if run_queue.find(layout, name):
            raise Refused("no-supervisor", "the supervisor did not start within 15 s")

    def appear(self) -> None:
        """The supervisors that were launched begin, unless another start was recorded since."""
        self.chance.shuffle(self.late)
        while self.late:
            name, after = self.late.pop()
            if run_queue.last_start(self.layout.run(name)) != after:
                continue
            state = State.load(self.layout.run(name).state) or State(id=name, boot=processes.boot())
            self.number += 1
            state.supervisor = {"pid": 1, "ticks": self.number}
            self.write(self.layout.run(name).state, vars(state))
            if name not in self.cut_off and self.chance.random() < 0.3:
                self.cut_off.add(name)  # killed before it starts the command
                continue
            lease = self.lease(name)
            assert not any(set(lease) & set(used) for used in self.using.values()), "overcommitted"
            self.begun.append(name)
            self.using[name], self.pids[name] = lease, [1]
            state.attempt += 1
            self.write(self.layout.run(name).state, vars(state))

    def finish_one(self) -> None:
        if self.using:
            name = self.chance.choice(sorted(self.using))
            del self.using[name], self.pids[name]


def test_kills_at_any_point_start_each_run_once_in_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, trials: Callable[[int, int], int]
) -> None:
    for seed in range(trials(2, 200)):
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
