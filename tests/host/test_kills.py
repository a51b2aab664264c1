"""kill -9 of everything: the client at every point of deploy and fetch, the trainer, the supervisor, tmux."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from orchestrator.onhost import processes
from tests.rigs.patience import PATIENCE
from tests.support import Client

# Kills the client at its Nth point: before and after each request, each local write and each sent tree.
POINTS = """
import os, signal, sys
from orchestrator import files, source, store
from orchestrator.targets import local
at, count = {at}, 0
def point():
    global count
    count += 1
    if count == at:
        os.kill(os.getpid(), signal.SIGKILL)
def watched(where, name):
    real = getattr(where, name)
    def around(*words, **more):
        point(); found = real(*words, **more); point()
        return found
    setattr(where, name, around)
for where, name in [(local.LocalHost, 'ask'), (local.LocalHost, 'send_tree'), (local.LocalHost, 'receive'),
                    (files, 'write_json'), (files, 'sync'), (store.Store, 'close_intent'),
                    (source, 'snapshot')]:
    watched(where, name)
import atexit
atexit.register(lambda: sys.stderr.write('POINTS %d\\n' % count))
"""
STEADY = """
import time
open('result.txt', 'w').write('whole')
print('begun', flush=True)
time.sleep(float({seconds}))
"""


def killed_at(client: Client, at: int, *words: str) -> tuple[int, int]:
    """Run a client, killed at its Nth point (0: never); return its exit code and the number of points."""
    process = client.spawn(*words, code=POINTS.format(at=at))
    _, err = process.communicate(timeout=PATIENCE)
    outputs = [line for line in err.decode().splitlines() if line.startswith("POINTS ")]
    return process.returncode, int(outputs[0].split()[1]) if outputs else 0


def sample(trials: Callable[[int, int], int], total: int, few: int) -> list[int]:
    every = list(range(1, total + 1))
    return sorted(random.Random(7).sample(every, min(trials(few, total), total)))


def test_a_deploy_killed_at_any_point_is_completed_without_duplicates(
    client: Client, trials: Callable[[int, int], int]
) -> None:
    client.job(STEADY.format(seconds=0.2), name="first")
    code, total = killed_at(client, 0, "deploy", "first")
    assert code == 0
    assert total > 10
    for at in sample(trials, total, 2):
        name = f"job{at}"
        client.job(STEADY.format(seconds=30), name=name)
        code, _ = killed_at(client, at, "deploy", name)
        assert code == -signal.SIGKILL
        states = {run["state"] for run in runs_of(client, name)}
        assert states <= {"preparing", "running"}, (at, states)
        again = client.run("deploy", name)
        assert again.code == 0 or "already running" in again.err, (at, again.err)
        runs = runs_of(client, name)
        assert [run["state"] for run in runs] == ["running"], (at, runs)
        assert len(runs[0]["pids"]) == 1
        client.run("stop", name, "--now")


def runs_of(client: Client, job: str) -> list[dict[str, object]]:
    runs: list[dict[str, object]] = client.run("status", "--json").json["runs"]
    return [run for run in runs if str(run["id"]).startswith(job + "-")]


def test_a_fetch_killed_at_any_point_leaves_no_truncated_file(
    client: Client, trials: Callable[[int, int], int]
) -> None:
    client.job(STEADY.format(seconds=0), outputs=["result.txt"])
    client.run("deploy", "job", "--follow")
    run_id = client.state()["id"]
    killed_at(client, 0, "fetch", "--to", "first")  # fills the cache, which later fetches do not write
    code, total = killed_at(client, 0, "fetch", "--to", "whole")
    assert code == 0
    expected = contents(client.project / "whole")
    for at in sample(trials, total, 2):
        to = f"cut{at}"
        code, _ = killed_at(client, at, "fetch", "--to", to)
        assert code == -signal.SIGKILL
        partial = contents(client.project / to)
        assert all(expected[name] == content for name, content in partial.items()), at
        assert client.run("fetch", "--to", to).code == 0
        assert contents(client.project / to) == expected
    assert client.run("fetch").code == 0
    left = list((client.folder(run_id) / ".fetch").iterdir())
    assert len(left) <= trials(2, total)  # killed clients leave stages; `stop --clean` removes them
    client.run("stop", "--clean", "--yes")
    assert not (client.folder(run_id) / ".fetch").exists()


def contents(folder: Path) -> dict[str, bytes]:
    """Return the files that have their final name, by relative path."""
    files = {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}
    return {name: content for name, content in files.items() if not name.startswith(".gpujob-part")}


RESUMABLE = """
import os, pathlib, time
folder = pathlib.Path(os.environ['GPUJOB_CHECKPOINTS'])
done = int((folder / 'last').read_text()) if (folder / 'last').exists() else 0
print('from', done, flush=True)
for step in range(done + 1, 41):
    (folder / str(step)).mkdir(exist_ok=True)  # of an attempt that ended right here
    (folder / 'new').write_text(str(step)); (folder / 'new').rename(folder / 'last')  # whole or not at all
    time.sleep(.02 if done else .2)
"""


def going(client: Client) -> dict[str, object]:
    client.job(RESUMABLE)
    assert client.run("deploy", "job").code == 0
    return client.until(lambda status: (status["checkpoints"]["last"] or 0) >= 1)


def test_a_killed_trainer_has_failed_by_its_signal_and_resume_carries_on(client: Client) -> None:
    run = going(client)
    os.kill(int(str(run["trainer_pid"])), signal.SIGKILL)
    status = client.until("failed")
    assert (status["signal"], status["reason"][:18]) == (9, "killed by signal 9")
    resumed(client, str(run["id"]))


def test_an_orphaned_run_can_be_followed_stopped_and_resumed(
    client: Client,
) -> None:
    run = going(client)
    os.kill(int(str(run["supervisor_pid"])), signal.SIGKILL)
    status = client.until("orphaned")
    assert status["pids"] == run["pids"]
    refused = client.run("deploy", "job", "--resume", str(run["id"]))
    assert (refused.code, "gpujob stop" in refused.err) == (1, True)
    assert client.run("stop").code == 0
    assert client.state()["state"] == "stopped"
    assert [pid for pid in run["pids"] if processes.start_ticks(pid)] == []  # type: ignore[attr-defined]
    resumed(client, str(run["id"]))


def test_a_run_survives_its_killed_tmux_server_without_a_session(client: Client) -> None:
    run = going(client)
    subprocess.run(["tmux", "-S", str(client.tmux_socket), "kill-server"], check=True)
    status = client.until(lambda status: status["session"] is None)
    assert (status["state"], status["pids"]) == ("running", run["pids"])
    attach = client.run("monitor", "--attach")
    assert (attach.code, "no tmux session" in attach.err) == (3, True)
    assert client.run("stop").code == 0
    resumed(client, str(run["id"]))


def test_a_run_whose_processes_are_all_killed_is_lost_and_resumable(client: Client) -> None:
    run = going(client)
    for pid in (run["supervisor_pid"], *run["pids"]):  # type: ignore[misc]
        os.kill(int(str(pid)), signal.SIGKILL)
    status = client.until("lost")
    assert status["resumable_from"] >= 1
    assert client.run("monitor", "--stream").code == 6
    resumed(client, str(run["id"]))


def test_a_run_on_a_rebooted_machine_is_lost(client: Client) -> None:
    run = going(client)
    client.run("stop", "--now")
    path = client.folder(str(run["id"])) / "state.json"
    state = json.loads(path.read_text())
    supervisor = {"pid": os.getpid(), "ticks": processes.start_ticks(os.getpid())}
    path.write_text(json.dumps({**state, "ended": None, "boot": "another:boot", "supervisor": supervisor}))
    assert client.state()["state"] == "lost"


def resumed(client: Client, run_id: str) -> None:
    """Check that a resumed run continues in its folder from its last checkpoint and succeeds."""
    assert client.run("deploy", "job", "--resume", run_id).code == 0
    status = client.until("succeeded")
    assert (status["id"], status["attempt"], status["checkpoints"]["last"]) == (run_id, 2, 40)
    log = (client.folder(run_id) / "log").read_text().splitlines()
    assert log[0] == "from 0"
    assert int(log[1].split()[1]) >= 1
    again = client.run("deploy", "job", "--resume", run_id)
    assert (again.code, "has succeeded" in again.err) == (1, True)


@pytest.mark.parametrize("word", ["deploy", "fetch", "stop"])
def test_concurrent_clients_do_not_interfere(
    client: Client, word: str, trials: Callable[[int, int], int]
) -> None:
    client.job(STEADY.format(seconds=0.5))
    if word != "deploy":
        client.run("deploy", "job")
    words = ("deploy", "job") if word == "deploy" else (word,)
    processes = [client.spawn(*words) for _ in range(trials(2, 4))]
    outputs = [process.communicate(timeout=PATIENCE)[1].decode() for process in processes]
    codes = [process.returncode for process in processes]
    assert codes.count(0) >= 1, outputs
    assert set(codes) <= {0, 1}, outputs
    if word == "deploy":
        assert codes.count(0) == 1, outputs
    assert len(client.run("status", "--json").json["runs"]) == 1
