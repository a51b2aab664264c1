"""Ending runs by command and by their limits; no process of a run remains."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from orchestrator.onhost import processes
from tests.host.scripts import SLOW, TRAPS_TERM, deployed, wait_for_output
from tests.support import Client


def test_stop_requests_a_checkpoint_and_verifies_that_no_process_remains(client: Client) -> None:
    client.job(TRAPS_TERM)
    run_id = deployed(client)
    wait_for_output(client, run_id)
    stopped = client.run("stop", run_id)
    assert stopped.code == 0, stopped.err
    assert "its last checkpoint is 7" in stopped.out
    status = client.state()
    assert (status["state"], status["pids"], status["session"]) == ("stopped", [], None)
    assert status["by"].startswith("tester@")
    assert "checkpoint written" in status["last_lines"]
    assert client.run("stop", run_id).code == 0


def test_stop_ends_grandchildren_in_other_sessions_that_ignore_sigterm(client: Client) -> None:
    child = "import signal, time; signal.signal(15, signal.SIG_IGN); print('up', flush=True); time.sleep(99)"
    client.job(
        "import subprocess, sys, time\n"
        f"for _ in range(2): subprocess.Popen([sys.executable, '-c', {child!r}], start_new_session=True)\n"
        "time.sleep(99)",
        limits={"grace_seconds": 0.5},
    )
    run_id = deployed(client)
    client.until(lambda status: len(status["pids"]) == 3 and status["log_bytes"] >= 6)
    pids = client.state()["pids"]
    assert client.run("stop", run_id).code == 0
    assert [pid for pid in pids if processes.start_ticks(pid)] == []


def test_a_scripts_child_may_end_by_itself_after_the_script_was_stopped(client: Client) -> None:
    """`bash run.sh` ends at SIGTERM at once; its Python child still gets its grace period to save."""
    client.write("inner.py", TRAPS_TERM)
    client.write("job.yaml", "name: job\ncommand: [bash, run.sh]\n")
    client.write("run.sh", f"{sys.executable} inner.py\necho after\n")
    run_id = deployed(client)
    wait_for_output(client, run_id)
    client.run("stop", run_id)
    assert "checkpoint written" in (client.folder(run_id) / "log").read_text()


def test_a_stop_request_that_cannot_be_written_still_stops_the_run(client: Client) -> None:
    """A folder named stop.json prevents writing that file, as a full disk would."""
    client.job(TRAPS_TERM)
    run_id = deployed(client)
    wait_for_output(client, run_id)
    (client.folder(run_id) / "stop.json").mkdir()
    stopped = client.run("stop", run_id)
    assert stopped.code == 0, stopped.err
    status = client.state()
    assert (status["state"], status["pids"]) == ("stopped", [])
    assert status["by"].startswith("tester@")
    assert "checkpoint written" in status["last_lines"]


def test_stop_now_does_not_wait(client: Client) -> None:
    body = "import signal, time\nsignal.signal(15, signal.SIG_IGN)\nprint(1, flush=True)\ntime.sleep(10**6)"
    client.job(body, limits={"grace_seconds": 10**6})
    run_id = deployed(client)
    wait_for_output(client, run_id)
    assert client.run("stop", "--now").code == 0
    assert client.state()["state"] == "stopped"


def test_clean_keeps_the_record_of_a_run_and_purge_confirms(client: Client) -> None:
    body = "import tempfile, os\nopen(tempfile.gettempdir() + '/scrap', 'w').write('x')\nprint('bye')"
    client.job(body)
    run_id = deployed(client)
    client.until("succeeded")
    scratch = Path("/tmp/gpujob-" + json.loads((client.folder(run_id) / "run.json").read_text())["mark"][:16])
    assert (scratch / "scrap").exists()
    assert client.run("stop", "--clean").code == 0
    assert not scratch.exists()
    left = {path.name for path in client.folder(run_id).iterdir()}
    assert {"run.json", "log", "state.json", "checkpoints"} <= left
    assert not left.intersection({"work", "reserved-space"})
    assert client.run("stop", "--purge", "--yes").code == 2  # it must be named
    assert client.run("stop", run_id, "--purge").code == 7
    assert client.folder(run_id).exists()
    assert client.run("stop", run_id, "--purge", "--yes").code == 0
    assert not client.folder(run_id).exists()


def test_clean_confirms_before_it_removes_outputs(client: Client) -> None:
    client.job("open('model.pt', 'w').write('w')", outputs=["model.pt"])
    run_id = deployed(client)
    client.until("succeeded")
    result = client.run("stop", run_id, "--clean")
    assert (result.code, "--clean removes the outputs" in result.err) == (7, True)
    assert (client.folder(run_id) / "work" / "model.pt").exists()
    assert client.run("stop", run_id, "--clean", "--yes").code == 0
    assert not (client.folder(run_id) / "work").exists()


def test_stopping_another_users_run_confirms_with_their_name(client: Client) -> None:
    client.job(SLOW)
    run_id = deployed(client)
    other = client.run("stop", run_id, env={**client.env, "USER": "colleague"})
    assert other.code == 7
    assert "started by tester@" in other.err
    assert client.state()["state"] == "running"


def test_the_limit_of_hours_ends_a_run_with_time_to_save(client: Client) -> None:
    client.job(TRAPS_TERM, limits={"max_hours": 0.0002})
    run_id = deployed(client)
    status = client.until("stopped")
    assert status["by"] == "the limit of hours"
    assert "checkpoint written" in (client.folder(run_id) / "log").read_text()


def test_a_run_that_shows_no_sign_of_life_is_ended_as_idle(client: Client) -> None:
    client.job(TRAPS_TERM, limits={"idle_minutes": 0.02})
    deployed(client)
    assert client.until("stopped")["by"] == "the idle limit"


def test_a_script_that_exits_with_0_on_sigterm_is_stopped_and_resumable(
    client: Client,
) -> None:
    """Most scripts save on SIGTERM and exit with 0; such a run has not succeeded."""
    client.job(TRAPS_TERM.replace("sys.exit(75)", "sys.exit(0)"))
    run_id = deployed(client)
    wait_for_output(client, run_id)
    assert client.run("stop").code == 0
    status = client.state()
    assert (status["state"], status["exit_code"]) == ("stopped", 0)
    assert client.run("deploy", "job", "--resume", run_id).code == 0


def test_a_run_that_was_done_before_the_stop_reached_it_has_succeeded(client: Client) -> None:
    body = (
        "import json, os, signal, sys, time\n"
        "def leave(*_):\n"
        "    event = json.dumps({'event': 'end', 'status': 'done'})\n"
        "    open(os.environ['GPUJOB_EVENTS'], 'a').write(event + '\\n'); sys.exit(0)\n"
        "signal.signal(signal.SIGTERM, leave)\nprint('begun', flush=True)\ntime.sleep(60)\n"
    )
    client.job(body)
    run_id = deployed(client)
    wait_for_output(client, run_id)
    client.run("stop")
    assert client.state()["state"] == "succeeded"


def test_a_child_that_cleared_its_environment_is_ended_too(client: Client) -> None:
    child = "subprocess.Popen(['env', '-i', 'setsid', 'sleep', '98765'])"
    client.job(f"import subprocess, time\n{child}\nprint(1, flush=True)\ntime.sleep(60)")
    run_id = deployed(client)
    wait_for_output(client, run_id)
    assert client.run("stop", "--now").code == 0
    words = [p.read_bytes() for p in Path("/proc").glob("[0-9]*/cmdline") if p.exists()]
    assert not [word for word in words if b"98765" in word and b"sleep" in word]


def test_no_grace_is_no_grace(client: Client) -> None:
    """The job counts the seconds that it runs after SIGTERM; the default grace period is 60."""
    client.job(COUNTS_ON, limits={"grace_seconds": 0})
    run_id = deployed(client)
    wait_for_output(client, run_id)
    assert client.run("stop").code == 0
    assert (client.folder(run_id) / "log").read_text().count("asked") < 20


COUNTS_ON = """
import itertools, signal, threading, time
asked = threading.Event()
signal.signal(signal.SIGTERM, lambda *_: asked.set())
print("up", flush=True)
for second in itertools.count():
    time.sleep(1)
    if asked.is_set():
        print("asked", second, flush=True)
"""
