"""Runs over several hosts: two machines behind real sshds on loopback."""

from __future__ import annotations

import json
import os
import random
import socket
import time
from collections.abc import Iterator
from typing import Any

import pytest

from orchestrator.commands import execute
from orchestrator.core.runfacts import RunFacts
from orchestrator.targets.base import Host
from tests.host.groups import TWO_GPUS, Machines, several
from tests.rigs import pages
from tests.rigs.patience import wait_until
from tests.support import Client

FULL = os.environ.get("GPUJOB_TEST_FULL")
KILLS = 30 if FULL else 2
SEED = int(os.environ.get("GPUJOB_TEST_SEED", "0"))

pytestmark = [pytest.mark.sshd, pytest.mark.timeout(3600 if FULL else 1200)]

# Each host counts as long as it hears from rank 0, and ends when the connection breaks, as trainings do.
TOGETHER = """
import json, os, pathlib, signal, socket, sys, time
rank, size = int(os.environ["GPUJOB_NODE_RANK"]), int(os.environ["GPUJOB_NNODES"])
address = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
checkpoints = pathlib.Path(os.environ["GPUJOB_CHECKPOINTS"])
last = checkpoints / "last"
step = int(last.read_text()) if last.exists() else 0
stopping = []
signal.signal(signal.SIGTERM, lambda *_: stopping.append(1))
if rank == 0:
    with socket.create_server(("", address[1])) as door:
        peers = [door.accept()[0] for _ in range(size - 1)]
else:
    for _ in range(600):
        try:
            peers = [socket.create_connection(address)]
            break
        except OSError:
            time.sleep(.05)
for peer in peers:
    peer.settimeout(60)
print("together", rank, "of", size, "attempt", os.environ["GPUJOB_ATTEMPT"], flush=True)
while True:
    stops = bool(stopping)  # what the peers are told is what follows here, whenever the signal comes
    if rank == 0 and pathlib.Path("enough").exists():
        for peer in peers:
            peer.sendall(b"e")
        break
    for peer in peers:
        peer.sendall(b"s" if stops else b".")
    heard = [peer.recv(1) for peer in peers]
    if b"e" in heard:
        break
    if not all(heard):
        sys.exit("a peer is gone")
    step += 1
    (checkpoints / "part").write_text(str(step))
    (checkpoints / "part").rename(last)
    if stops or b"s" in heard:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # it may still come while Python exits
        sys.exit(75)
    time.sleep(.02)
print("done", flush=True)
"""


@pytest.fixture
def machines(client: Client) -> Iterator[Machines]:
    with several(client) as machines:
        yield machines


def deployed(machines: Machines, **keys: object) -> str:
    client = machines.client
    client.job(TOGETHER, limits={"grace_seconds": 5}, **keys)
    result = client.run("deploy", "job", "--on", machines.on)
    assert result.code == 0, result.err
    return result.out.strip()


def state(machines: Machines, name: str, run_id: str) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((machines.folder(name, run_id) / "state.json").read_text())
    return content


def attempts(machines: Machines, run_id: str) -> list[int]:
    """The latest attempt that has begun on each host."""
    logs = [(machines.folder(name, run_id) / "log").read_text() for name in machines.machines]
    return [int(log.rpartition(" attempt ")[2].split()[0]) if " attempt " in log else 0 for log in logs]


def test_whatever_is_killed_the_hosts_end_and_continue_together(machines: Machines) -> None:
    run_id, client, dice = deployed(machines, restart={"max": 1000}), machines.client, random.Random(SEED)
    kinds = [(name, what) for what in ("supervisor", "child", "machine") for name in ("a", "b")]
    for name, what in dice.sample(kinds * 10, KILLS):
        wait_until(lambda: len(set(attempts(machines, run_id))) == 1, "both hosts begin the same attempt")
        before = attempts(machines, run_id)[0]
        time.sleep(dice.random())
        machine, now = machines.machines[name], state(machines, name, run_id)
        if what == "machine":
            machine.reboot()
        else:
            machine.ssh(f"kill -9 {now[what]['pid']}")

        def goes_on(before: int = before, what: str = what) -> bool:
            if what != "child" and min(attempts(machines, run_id)) <= before:
                client.run("deploy", "--resume", run_id)
            return min(attempts(machines, run_id)) > before

        wait_until(goes_on, f"{what} of {name} was killed in attempt {before}, and the next one begins", 0.5)
    (machines.folder("a", run_id) / "work" / "enough").touch()
    client.until("succeeded")
    wait_until(lambda: state(machines, "b", run_id)["ended"], "b ends")
    ends = [state(machines, name, run_id) for name in ("a", "b")]
    assert [(end["reason"], end["exit_code"]) for end in ends] == [("exit", 0)] * 2
    assert ends[0]["attempt"] == ends[1]["attempt"] >= 1 + KILLS


def test_a_run_over_two_hosts_is_one_run_also_after_an_interruption(
    machines: Machines, monkeypatch: pytest.MonkeyPatch
) -> None:
    client, real, calls = machines.client, execute.start, list[str]()

    def start(host: Host, *arguments: Any, **options: Any) -> RunFacts:
        calls.append(host.label)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return real(host, *arguments, **options)

    client.job(TOGETHER, limits={"grace_seconds": 5})
    with monkeypatch.context() as patch:
        patch.setattr(execute, "start", start)
        assert client.run("deploy", "job", "--on", "a,b").code == 130
    assert not machines.folder("b", "any").parent.exists()
    result = client.run("deploy", "job", "--on", "a,b")
    assert result.code == 0, result.err
    run_id = result.out.strip()
    assert [path.name for path in machines.folder("a", run_id).parent.iterdir()] == [run_id]
    wait_until(lambda: attempts(machines, run_id) == [1, 1], "both hosts begin")
    listed = client.run("status", "--wait", "100", "--json").json["runs"]
    assert [(run["id"], run["target"], run["state"]) for run in listed] == [(run_id, "a,b", "running")]
    assert "together 1 of 2 attempt 1" in client.run("logs", "--rank", "1", "--no-follow").out
    assert client.run("logs", "--rank", "2", "--no-follow").code == 2
    stopped = client.run("stop", run_id)
    assert stopped.code == 0, stopped.err
    ends = [state(machines, name, run_id) for name in ("a", "b")]
    assert [(end["reason"], end["exit_code"]) for end in ends] == [("stopped", 75)] * 2
    assert ends[0]["by"] == ends[1]["by"] == client.context().who


def test_a_lost_host_is_named_and_the_others_end_without_restarts(machines: Machines) -> None:
    run_id, client = deployed(machines), machines.client
    machines.machines["b"].kill_machine()
    wait_until(lambda: state(machines, "a", run_id)["ended"], "a ends")
    shown = client.run("status", run_id)
    assert "host b was lost" in shown.out, shown.out + shown.err
    assert state(machines, "a", run_id)["group"]["absent"][0]["host"] == "b"
    machines.machines["b"].start()
    resumed = client.run("deploy", "--resume", run_id, "--json")
    assert (resumed.code, resumed.json["target"]) == (0, "a,b"), resumed.err
    assert client.run("stop", run_id, "--purge", "--yes").code == 0
    assert [list(machines.folder(name, run_id).parent.iterdir()) for name in ("a", "b")] == [[], []]


def test_where_hosts_cannot_start_together_nothing_is_left(machines: Machines) -> None:
    client = machines.client
    client.job(TOGETHER, resources={"nodes": 2})
    real = machines.machines["b"].plant("tmux", "#!/bin/sh\nexit 1\n")
    refused = client.run("deploy", "job", "--on", "a,b")
    assert (refused.code, "tmux is not installed" in refused.err) == (1, True), refused.err
    assert not (machines.machines["a"].home / ".gpujob" / "runs").exists()
    real.unlink()
    clock = [time.time()]

    def sleep(seconds: float) -> None:
        clock[0] += 20

    words = ("deploy", "job", "--on", "a,b", "--set", "resources.master=255.255.255.255")
    apart = client.run(*words, sleep=sleep, now=lambda: clock[0])
    assert apart.code == 1, apart.err
    assert "did not connect to each other" in apart.err
    assert "255.255.255.255" in apart.err
    with socket.create_server(("", 0)) as other:
        port = other.getsockname()[1]
        taken = client.run("deploy", "job", "--on", "a,b", "--set", f"resources.master=127.0.0.1:{port}")
    assert (taken.code, f"at port {port}: " in taken.err) == (1, True), taken.err
    assert "next: --set resources.master=ADDRESS:PORT with a free port" in taken.err
    for machine in machines.machines.values():
        assert list((machine.home / ".gpujob" / "runs").iterdir()) == []
        assert "supervise" not in machine.ssh("ps ax").stdout


@pytest.mark.torch
def test_two_hosts_with_two_processes_train_as_one_process_does(machines: Machines) -> None:
    client = machines.client
    sets = ["config.epochs=10", "config.warmup_epochs=1", "config.hidden=[8]", "config.learning_rate=0.03"]
    words = [
        word for pair in (*sets, "config.batch_size=75", "config.patience=0") for word in ("--set", pair)
    ]
    assert client.run("prepare", "blendshapes", "--sample", "faces", "--size", "600").code == 0
    alone = client.run("deploy", "blendshapes", "--data", "faces", *words, "--follow")
    assert alone.code == 0, alone.err + alone.out
    one = next((client.root / "runs").iterdir())
    for machine in machines.machines.values():
        machine.plant("nvidia-smi", TWO_GPUS)
    more = ("--set", "resources.gpus=2", "--on", "a,b", "--follow", "--name", "together")
    together = client.run("deploy", "blendshapes", "--data", "faces", *words, *more)
    assert together.code == 0, together.err + together.out
    (run_id,) = (folder.name for folder in machines.folder("a", "any").parent.iterdir())
    folders = [one, *(machines.folder(name, run_id) for name in ("a", "b"))]
    events = [[json.loads(line) for line in (f / "events.jsonl").read_text().splitlines()] for f in folders]
    assert [next(e["world_size"] for e in each if e["event"] == "start") for each in events] == [1, 4, 4]
    metrics = [[e["values"] for e in each if e["event"] == "metrics"] for each in events]
    assert sum("confusion" in e for e in events[0] if e["event"] == "metrics" and e["split"] == "train") == 10
    assert max(e["step"] for e in events[0] if e["event"] == "metrics") >= 50
    assert metrics[1] == metrics[2]
    for mine, theirs in zip(metrics[0], metrics[1], strict=True):
        assert theirs == pytest.approx(mine, rel=1e-6, abs=1e-9)


@pytest.mark.torch
def test_the_recipe_for_torchrun_starts_its_processes_on_both_hosts(machines: Machines) -> None:
    client = machines.client
    recipes = next(page for page in pages.pages() if page.name == "recipes.md")
    job = next(block.text for block in pages.blocks(recipes) if "name: together" in block.text)
    client.write("together.yaml", job)
    line = '" ".join(os.environ[name] for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK"))'
    client.write("train.py", f"import os\nos.write(1, f'{{{line}}}\\n'.encode())\n")
    for machine in machines.machines.values():
        machine.plant("nvidia-smi", TWO_GPUS)
        machine.plant("torchrun", f'#!/bin/sh\nexec {client.python} -m torch.distributed.run "$@"\n')
    result = client.run("deploy", "together", "--on", machines.on, "--follow")
    assert result.code == 0, result.err + result.out
    (run_id,) = (folder.name for folder in machines.folder("a", "any").parent.iterdir())
    wait_until(lambda: state(machines, "b", run_id)["ended"], "b ends")
    logs = [(machines.folder(name, run_id) / "log").read_text().splitlines() for name in ("a", "b")]
    lines = [sorted(line for line in log if line[:1].isdigit() and " 4 " in line) for log in logs]
    assert lines == [["0 4 0", "1 4 1"], ["2 4 0", "3 4 1"]]
