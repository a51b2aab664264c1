"""Runs wait in the queue of a host for their GPUs: real runs, simulated cards."""

from __future__ import annotations

import json
import os
import random
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from orchestrator.core.layout import Layout
from orchestrator.onhost import leases, processes
from orchestrator.targets import helper_host
from tests.rigs import simulated_gpus
from tests.rigs.patience import PATIENCE, pauses
from tests.support import Client

# Notes what it sees, and waits for a file of its name.
WAITS = """
import os, pathlib, time
print('sees', os.environ.get('CUDA_VISIBLE_DEVICES'), flush=True)
name = pathlib.Path({folder!r}) / os.environ['GPUJOB_RUN_ID'].rsplit('-', 2)[0]
while not name.exists():
    time.sleep(0.05)
"""


def deploy(client: Client, name: str, *words: str, gpus: int = 1, body: str | None = None) -> str:
    """Deploy a job that waits for `let(client, name)`; return the run's id."""
    client.job(body or WAITS.format(folder=str(client.home)), name=name, resources={"gpus": gpus})
    result = client.run("deploy", name, *words, "--json")
    assert result.code == 0, result.out + result.err
    run_id: str = result.json["run"]
    return run_id


def let(client: Client, name: str) -> None:
    (client.home / name).touch()


def states(client: Client) -> dict[str, str]:
    return {run["job"]: run["state"] for run in client.run("status", "--json", "--all").json["runs"]}


def until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + PATIENCE
    for seconds in pauses():
        if condition():
            return
        assert time.monotonic() < end
        time.sleep(seconds)


def seen(client: Client, run_id: str) -> str:
    log = client.folder(run_id) / "log"
    until(lambda: log.exists() and "sees" in log.read_text())
    return log.read_text().split()[1]


def test_two_jobs_of_two_gpus_share_a_host_with_four(client: Client) -> None:
    simulated_gpus.install(client, 4)
    first, second = (deploy(client, name, "--queue", gpus=2) for name in ("a", "b"))
    third = client.run("deploy", "a", "--queue", "--name", "c")
    assert third.code == 0
    assert "waits in the queue of local, place 1 of 1" in third.err
    assert "gpujob stop c " in third.err
    assert states(client) == {"a": "running", "b": "running", "c": "queued"}
    assert {seen(client, first), seen(client, second)} == {"0,1", "2,3"}
    let(client, "b")
    until(lambda: states(client)["c"] == "running")
    assert seen(client, third.out.strip()) == "2,3"


def test_a_queued_run_is_shown_as_waiting_and_stop_removes_it(client: Client) -> None:
    simulated_gpus.install(client, 1)
    deploy(client, "a", "--queue")
    waiting, last = (deploy(client, name, "--queue") for name in ("b", "c"))
    shown = client.run("status", "b").out
    assert "queued" in shown
    assert "place 1 of 2, needs 1 GPU, 0 free; in use by a-" in shown
    fetched = client.run("fetch", "b")
    assert (fetched.code, "waits in the queue, place 1 of 2" in fetched.err) == (3, True)
    attached = client.run("monitor", "b", "--attach")
    assert (attached.code, "it has no session yet" in attached.err) == (1, True)
    assert "waits in the queue, place 1 of 2" in client.run("logs", "b", "--no-follow").err
    again = client.run("deploy", "b", "--queue")
    assert f"b already waits in the queue as {waiting}" in again.err
    assert client.run("stop", "b").out == f"{waiting} is removed from the queue; it never started\n"
    assert states(client) == {"a": "running", "b": "stopped", "c": "queued"}
    assert client.run("status", "c", "--json").json["runs"][0]["queue"]["place"] == 1
    client.run("stop", "a", "--now")
    assert seen(client, last) == "0"


def test_the_queue_goes_on_with_the_next_command_after_a_kill(client: Client) -> None:
    simulated_gpus.install(client, 1)
    first = deploy(client, "a", "--queue")
    last = deploy(client, "b", "--queue")
    state = json.loads((client.folder(first) / "state.json").read_text())
    os.kill(state["supervisor"]["pid"], signal.SIGKILL)
    assert states(client) == {"a": "orphaned", "b": "queued"}  # whose process still uses the GPU
    processes.kill_marked(json.loads((client.folder(first) / "run.json").read_text())["mark"])
    until(lambda: states(client) == {"a": "lost", "b": "running"})
    assert seen(client, last) == "0"


def _command(pid: int) -> list[str]:
    """The words of a process; none if it has ended."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().decode().split("\0")
    except OSError:
        return []


# Notes its begin and its end in one file of all runs, one write each.
BRIEF = """
import os, sys, time
out = os.open({notes!r}, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
words = os.environ['GPUJOB_RUN_ID'], os.environ['CUDA_VISIBLE_DEVICES']
os.write(out, ('begin %s %s\\n' % words).encode())
time.sleep({seconds})
os.write(out, ('end %s %s\\n' % words).encode())
"""


class Host:
    """The helper of a host with four simulated GPUs, as clients call it, and what is killed there."""

    def __init__(self, client: Client) -> None:
        simulated_gpus.install(client, 4)
        self.client, self.layout = client, Layout(str(client.root))
        self.notes, self.killed = client.home / "notes", set[str]()
        self.bundle = helper_host.install(client.root / "onhost")

    def ask(self, *requests: dict[str, Any], kill_after: float | None = None) -> list[dict[str, Any]]:
        """Send requests to a helper, which is killed after so many seconds; return its answers."""
        words = [sys.executable, "-I", str(self.bundle), "helper", self.layout.root]
        process = subprocess.Popen(
            words, env=self.client.env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd="/"
        )
        lines = "".join(json.dumps({"id": n, **request}) + "\n" for n, request in enumerate(requests))
        try:
            out, _ = process.communicate(lines.encode(), PATIENCE if kill_after is None else kill_after)
        except subprocess.TimeoutExpired:
            process.kill()
            out, _ = process.communicate()
        answers = [json.loads(line) for line in out.decode().splitlines() if line.endswith("}")]
        return [answer for answer in answers if "heartbeat" not in answer]

    def spec(self, number: int, gpus: int, seconds: float) -> dict[str, Any]:
        name = f"run{number:02}"
        argv = [sys.executable, "-c", BRIEF.format(notes=str(self.notes), seconds=seconds)]
        run_id = f"{name}-20261121T101112-{number:04x}"
        resources = {"gpus": gpus}
        return {
            "v": 1,
            "id": run_id,
            "job": name,
            "mark": secrets.token_hex(16),
            "argv": argv,
            "resources": resources,
        }

    def kill_one(self, chance: random.Random) -> None:
        """Kill -9 a supervisor, a process that starts what waits, or nothing."""
        table, victims = processes.table(), []
        for pid, process in table.items():
            words, parents = _command(pid), _command(process.parent)
            # What a supervisor has forked, and will be the command, still has the words of its parent.
            is_supervisor = "supervise" in words and parents[:1] == ["tmux"]
            if str(self.bundle) in words and (is_supervisor or ("advance" in words and words != parents)):
                victims.append((pid, words))
        if victims:
            pid, words = chance.choice(victims)
            processes.send([pid], signal.SIGKILL)
            self.killed |= set(words)

    def lines(self) -> list[list[str]]:
        return [line.split() for line in self.notes.read_text().splitlines()] if self.notes.exists() else []

    def waiting(self) -> list[str]:
        answer = self.ask({"op": "status", "lines": 0})[0]["answer"]
        return [run["id"] for run in answer["runs"] if run["queue"]]


@pytest.mark.timeout(3000)
def test_queued_runs_start_once_in_order_on_gpus_of_their_own(
    client: Client, trials: Callable[[int, int], int]
) -> None:
    host, chance, number = Host(client), random.Random(5), trials(5, 50)
    specs = [host.spec(n, chance.choice((1, 1, 2, 4)), chance.uniform(0.1, 0.4)) for n in range(number)]
    for spec in specs:
        until(lambda spec=spec: bool(_accepted(host, spec, chance)))  # type: ignore[misc]
    end = time.monotonic() + 20 * PATIENCE
    while host.waiting():
        assert time.monotonic() < end
        if chance.random() < 0.6:
            host.kill_one(chance)
        time.sleep(chance.uniform(0.0, 0.5))
    until(lambda: len([line for line in host.lines() if line[0] == "end"]) == number)
    begun = [run for word, run, _ in host.lines() if word == "begin"]
    assert sorted(begun) == [spec["id"] for spec in specs]
    taken = [leases.load(host.layout.run(spec["id"])) for spec in specs]
    assert [lease.taken for lease in taken if lease] == sorted(lease.taken for lease in taken if lease)
    in_use: dict[str, str] = {}
    for word, run, gpus in host.lines():
        for gpu in gpus.split(","):
            assert in_use.get(gpu, run) == run, (gpu, run, in_use)
            in_use = (
                {**in_use, gpu: run} if word == "begin" else {n: r for n, r in in_use.items() if n != gpu}
            )


def _accepted(host: Host, spec: dict[str, Any], chance: random.Random) -> list[dict[str, Any]]:
    """Ask for a run as a client does that may be killed at any moment; return the answer."""
    after = chance.uniform(0.1, 1.0) if chance.random() < 0.2 else None
    return host.ask({"op": "start", "spec": spec, "queue": True}, kill_after=after)
