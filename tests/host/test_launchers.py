"""Commands that start the training in the background: the run lives as long as what they started."""

from __future__ import annotations

import os
import signal
import sys

import pytest

from orchestrator.onhost import processes
from tests.host.scripts import deployed, wait_for_output
from tests.support import Client

TRAIN = """
import pathlib, sys, time
print('training', flush=True)
go = pathlib.Path('go')
while not (go.exists() and go.read_text()):  # it exists before it is written
    time.sleep(.02)
print('trained', flush=True)
sys.exit(int(go.read_text()))
"""
LAUNCHERS = {
    "nohup": "nohup {python} train.py &",
    "double": "( {python} train.py & ) &",
    "bare": "env -i setsid {python} train.py &",  # without the mark
}


def launch(client: Client, launcher: str, **keys: object) -> str:
    """Deploy a job whose command ends at once; wait until its training has begun."""
    client.job(TRAIN, command=["sh", "run.sh"], limits={"grace_seconds": 0.2}, **keys)
    text = (client.project / "job.yaml").read_text().splitlines()
    (client.project / "job.yaml").write_text("\n".join(line for line in text if "train.py" not in line))
    client.write("run.sh", LAUNCHERS[launcher].format(python=sys.executable) + "\nsleep .2\necho launched\n")
    run_id = deployed(client)
    wait_for_output(client, run_id)
    return run_id


def goes_on(client: Client, run_id: str) -> int:
    """Wait until the log says that the run goes on; return the pid of the training."""
    client.until(lambda status: any("the run goes on" in line for line in status["last_lines"]))
    status = client.state()
    assert (status["state"], len(status["pids"])) == ("running", 1)
    return int(status["pids"][0])


@pytest.mark.parametrize("launcher", ["double", "bare"])
def test_a_run_goes_on_while_what_its_launcher_started_runs(client: Client, launcher: str) -> None:
    run_id = launch(client, launcher)
    goes_on(client, run_id)
    (client.folder(run_id) / "work" / "go").write_text("0")
    client.until("succeeded")
    assert "trained" in (client.folder(run_id) / "log").read_text()


def test_a_training_in_the_background_that_fails_fails_the_run(client: Client) -> None:
    run_id = launch(client, "nohup")
    goes_on(client, run_id)
    (client.folder(run_id) / "work" / "go").write_text("3")
    assert client.until("failed")["exit_code"] == 3


def test_a_training_in_the_background_is_stopped_without_its_supervisor(client: Client) -> None:
    run_id = launch(client, "bare")
    pid = goes_on(client, run_id)
    os.kill(client.state()["supervisor_pid"], signal.SIGKILL)
    assert client.until("orphaned")["pids"] == [pid]
    assert client.run("stop", run_id).code == 0
    assert processes.start_ticks(pid) is None


def test_with_detach_kill_what_the_launcher_left_is_ended_and_named(client: Client) -> None:
    run_id = launch(client, "bare", detach="kill")
    client.until("succeeded")
    log = (client.folder(run_id) / "log").read_text()
    assert "ending what the command left: pid" in log
    assert "train.py" in log
    assert client.state()["pids"] == []


def test_a_run_is_private_and_keeps_the_umask_of_the_user(client: Client) -> None:
    client.job("import os; mask = os.umask(0); print('umask', oct(mask)); open('open.txt', 'w')")
    before = os.umask(0o002)
    try:
        run_id = deployed(client)
    finally:
        os.umask(before)
    client.until("succeeded")
    folder = client.folder(run_id)
    assert "umask 0o2" in (folder / "log").read_text()
    own = [
        client.root,
        client.root / "runs",
        folder,
        folder / "work",
        folder / "checkpoints",
        folder / "state.json",
    ]
    assert [path for path in own if path.stat().st_mode & 0o077] == []
