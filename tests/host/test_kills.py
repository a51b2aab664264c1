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

from orchestrator.onhost import proc
from tests.support import Box

# Kills the client at its Nth point: before and after each question, each write of its own, each tree sent.
POINTS = """
import os, signal, sys
from orchestrator import source, store
from orchestrator.targets import local
from orchestrator.commands import receive
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
                    (store.Store, '_replace'), (store.Store, 'close_intent'),
                    (source, 'lay_out'), (receive, '_sync')]:
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


def killed_at(box: Box, at: int, *words: str) -> tuple[int, int]:
    """(exit code, points passed) of a client that is killed at its Nth point; 0: never."""
    client = box.spawn(*words, code=POINTS.format(at=at))
    _, err = client.communicate(timeout=90)
    said = [line for line in err.decode().splitlines() if line.startswith("POINTS ")]
    return client.returncode, int(said[0].split()[1]) if said else 0


def sample(trials: Callable[[int, int], int], total: int, few: int) -> list[int]:
    every = list(range(1, total + 1))
    return sorted(random.Random(7).sample(every, min(trials(few, total), total)))


def test_a_deploy_killed_at_any_point_is_told_truly_and_carried_on_making_nothing_twice(
    box: Box, trials: Callable[[int, int], int]
) -> None:
    box.job(STEADY.format(seconds=0.2), name="first")
    code, total = killed_at(box, 0, "deploy", "first")
    assert code == 0
    assert total > 10
    for at in sample(trials, total, 6):
        name = f"job{at}"
        box.job(STEADY.format(seconds=30), name=name)
        code, _ = killed_at(box, at, "deploy", name)
        assert code == -signal.SIGKILL
        states = {run["state"] for run in seen(box, name)}
        assert states <= {"preparing", "running"}, (at, states)
        again = box.run("deploy", name)
        assert again.code == 0 or "already running" in again.err, (at, again.err)
        runs = seen(box, name)
        assert [run["state"] for run in runs] == ["running"], (at, runs)
        assert len(runs[0]["pids"]) == 1
        box.run("stop", name, "--now")


def seen(box: Box, job: str) -> list[dict[str, object]]:
    runs: list[dict[str, object]] = box.run("status", "--json").json["runs"]
    return [run for run in runs if str(run["id"]).startswith(job + "-")]


def test_a_fetch_killed_at_any_point_leaves_no_truncated_file_and_the_same_command_ends_well(
    box: Box, trials: Callable[[int, int], int]
) -> None:
    box.job(STEADY.format(seconds=0), outputs=["result.txt"])
    box.run("deploy", "job", "--follow")
    run_id = box.state()["id"]
    killed_at(box, 0, "fetch", "--to", "first")  # fills the cache, which later fetches do not write
    code, total = killed_at(box, 0, "fetch", "--to", "whole")
    assert code == 0
    whole = contents(box.project / "whole")
    for at in sample(trials, total, 5):
        to = f"cut{at}"
        code, _ = killed_at(box, at, "fetch", "--to", to)
        assert code == -signal.SIGKILL
        partial = contents(box.project / to)
        assert all(whole[name] == content for name, content in partial.items()), at
        assert box.run("fetch", "--to", to).code == 0
        assert contents(box.project / to) == whole
    assert box.run("fetch").code == 0
    left = list((box.folder(run_id) / ".fetch").iterdir())
    assert len(left) <= trials(5, total)  # stages of killed clients; `stop --clean` removes them
    box.run("stop", "--clean", "--yes")
    assert not (box.folder(run_id) / ".fetch").exists()


def contents(folder: Path) -> dict[str, bytes]:
    """What stands under a final name."""
    found = {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}
    return {name: content for name, content in found.items() if not name.startswith(".gpujob-part")}


RESUMABLE = """
import os, pathlib, time
folder = pathlib.Path(os.environ['GPUJOB_CHECKPOINTS'])
done = int((folder / 'last').read_text()) if (folder / 'last').exists() else 0
print('from', done, flush=True)
for step in range(done + 1, 41):
    (folder / str(step)).mkdir()
    (folder / 'new').write_text(str(step)); (folder / 'new').rename(folder / 'last')  # whole or not at all
    time.sleep(.02 if done else .2)
"""


def going(box: Box) -> dict[str, object]:
    box.job(RESUMABLE)
    assert box.run("deploy", "job").code == 0
    return box.until(lambda seen: (seen["checkpoints"]["last"] or 0) >= 1)


def test_a_killed_trainer_has_failed_by_its_signal_and_resume_carries_on(box: Box) -> None:
    run = going(box)
    os.kill(int(str(run["trainer_pid"])), signal.SIGKILL)
    seen = box.until("failed")
    assert (seen["signal"], seen["reason"]) == (9, "killed by signal 9")
    resumed(box, str(run["id"]))


def test_a_killed_supervisor_leaves_an_orphan_that_can_be_followed_stopped_and_resumed(box: Box) -> None:
    run = going(box)
    os.kill(int(str(run["supervisor_pid"])), signal.SIGKILL)
    seen = box.until("orphaned")
    assert seen["pids"] == run["pids"]
    refused = box.run("deploy", "job", "--resume", str(run["id"]))
    assert (refused.code, "gpujob stop" in refused.err) == (1, True)
    assert box.run("stop").code == 0
    assert box.state()["state"] == "stopped"
    assert [pid for pid in run["pids"] if proc.ticks(pid)] == []  # type: ignore[attr-defined]
    resumed(box, str(run["id"]))


def test_the_tmux_server_killed_leaves_the_run_going_without_a_session(box: Box) -> None:
    run = going(box)
    subprocess.run(["tmux", "-S", str(box.root / "tmux.sock"), "kill-server"], check=True)
    seen = box.until(lambda seen: seen["session"] is None)
    assert (seen["state"], seen["pids"]) == ("running", run["pids"])
    attach = box.run("monitor", "--attach")
    assert (attach.code, "no tmux session" in attach.err) == (3, True)
    assert box.run("stop").code == 0
    resumed(box, str(run["id"]))


def test_all_of_a_run_killed_at_once_is_lost_and_resumable(box: Box) -> None:
    run = going(box)
    for pid in (run["supervisor_pid"], *run["pids"]):  # type: ignore[misc]
        os.kill(int(str(pid)), signal.SIGKILL)
    seen = box.until("lost")
    assert seen["resumable_from"] >= 1
    assert box.run("monitor", "--stream").code == 6
    resumed(box, str(run["id"]))


def test_a_run_of_a_machine_that_was_rebooted_is_lost(box: Box) -> None:
    run = going(box)
    box.run("stop", "--now")
    path = box.folder(str(run["id"])) / "state.json"
    state = json.loads(path.read_text())
    supervisor = {"pid": os.getpid(), "ticks": proc.ticks(os.getpid())}
    path.write_text(json.dumps({**state, "ended": None, "boot": "another:boot", "supervisor": supervisor}))
    assert box.state()["state"] == "lost"


def resumed(box: Box, run_id: str) -> None:
    """The same run goes on in its own folder, from its last checkpoint, to its end."""
    assert box.run("deploy", "job", "--resume", run_id).code == 0
    seen = box.until("succeeded", 60)
    assert (seen["id"], seen["attempt"], seen["checkpoints"]["last"]) == (run_id, 2, 40)
    log = (box.folder(run_id) / "log").read_text().splitlines()
    assert log[0] == "from 0"
    assert int(log[1].split()[1]) >= 1
    again = box.run("deploy", "job", "--resume", run_id)
    assert (again.code, "has succeeded" in again.err) == (1, True)


@pytest.mark.parametrize("word", ["deploy", "fetch", "stop"])
def test_two_clients_at_once_do_no_harm(box: Box, word: str) -> None:
    box.job(STEADY.format(seconds=0.5))
    if word != "deploy":
        box.run("deploy", "job")
    words = ("deploy", "job") if word == "deploy" else (word,)
    clients = [box.spawn(*words) for _ in range(4)]
    said = [client.communicate(timeout=60)[1].decode() for client in clients]
    codes = [client.returncode for client in clients]
    assert codes.count(0) >= 1, said
    assert set(codes) <= {0, 1}, said
    if word == "deploy":
        assert codes.count(0) == 1, said
    assert len(box.run("status", "--json").json["runs"]) == 1
