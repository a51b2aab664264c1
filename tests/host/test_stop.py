"""Ending runs: by hand, by their limits; what is left of them, which is nothing."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

from orchestrator.onhost import proc
from tests.host.scripts import SLOW, TRAPS_TERM, begun, deployed
from tests.support import Box


def test_stop_asks_for_a_checkpoint_first_and_verifies_that_nothing_is_left(box: Box) -> None:
    box.job(TRAPS_TERM)
    run_id = deployed(box)
    begun(box, run_id)
    stopped = box.run("stop", run_id)
    assert stopped.code == 0, stopped.err
    assert "its last checkpoint is 7" in stopped.out
    seen = box.state()
    assert (seen["state"], seen["pids"], seen["session"]) == ("stopped", [], None)
    assert seen["by"].startswith("tester@")
    assert "checkpoint written" in seen["last_lines"]
    assert box.run("stop", run_id).code == 0


def test_stop_reaches_grandchildren_in_sessions_of_their_own_that_ignore_sigterm(box: Box) -> None:
    child = "import signal, time; signal.signal(15, signal.SIG_IGN); print('up', flush=True); time.sleep(99)"
    box.job(
        "import subprocess, sys, time\n"
        f"for _ in range(2): subprocess.Popen([sys.executable, '-c', {child!r}], start_new_session=True)\n"
        "time.sleep(99)",
        limits={"grace_seconds": 0.5},
    )
    run_id = deployed(box)
    box.until(lambda seen: len(seen["pids"]) == 3 and seen["log_bytes"] >= 6)
    pids = box.state()["pids"]
    assert box.run("stop", run_id).code == 0
    assert [pid for pid in pids if proc.ticks(pid)] == []


def test_a_scripts_child_may_end_by_itself_after_the_script_was_stopped(box: Box) -> None:
    """`bash run.sh` dies of SIGTERM at once; the Python below it still gets its time to save."""
    box.write("inner.py", TRAPS_TERM)
    box.write("job.yaml", "name: job\ncommand: [bash, run.sh]\n")
    box.write("run.sh", f"{sys.executable} inner.py\necho after\n")
    run_id = deployed(box)
    begun(box, run_id)
    box.run("stop", run_id)
    assert "checkpoint written" in (box.folder(run_id) / "log").read_text()


def test_a_stop_that_the_disk_does_not_take_note_of_ends_the_run_as_stopped(box: Box) -> None:
    """A folder in its place: nobody can write stop.json, as on a full disk."""
    box.job(TRAPS_TERM)
    run_id = deployed(box)
    begun(box, run_id)
    (box.folder(run_id) / "stop.json").mkdir()
    stopped = box.run("stop", run_id)
    assert stopped.code == 0, stopped.err
    seen = box.state()
    assert (seen["state"], seen["pids"]) == ("stopped", [])
    assert seen["by"].startswith("tester@")
    assert "checkpoint written" in seen["last_lines"]


def test_stop_now_does_not_wait(box: Box) -> None:
    box.job("import signal, time\nsignal.signal(15, signal.SIG_IGN)\nprint('up', flush=True)\ntime.sleep(99)")
    run_id = deployed(box)
    begun(box, run_id)
    before = time.monotonic()
    assert box.run("stop", "--now").code == 0
    assert time.monotonic() - before < 10
    assert box.state()["state"] == "stopped"


def test_clean_keeps_the_account_and_removes_the_rest_and_purge_asks(box: Box) -> None:
    body = "import tempfile, os\nopen(tempfile.gettempdir() + '/scrap', 'w').write('x')\nprint('bye')"
    box.job(body)
    run_id = deployed(box)
    box.until("succeeded")
    scratch = Path("/tmp/gpujob-" + json.loads((box.folder(run_id) / "run.json").read_text())["mark"][:16])
    assert (scratch / "scrap").exists()
    assert box.run("stop", "--clean").code == 0
    assert not scratch.exists()
    left = {path.name for path in box.folder(run_id).iterdir()}
    assert {"run.json", "log", "state.json", "checkpoints"} <= left
    assert not left.intersection({"work", "ballast"})
    assert box.run("stop", "--purge", "--yes").code == 2  # it must be named
    assert box.run("stop", run_id, "--purge").code == 7
    assert box.folder(run_id).exists()
    assert box.run("stop", run_id, "--purge", "--yes").code == 0
    assert not box.folder(run_id).exists()


def test_clean_asks_where_it_would_remove_outputs(box: Box) -> None:
    box.job("open('model.pt', 'w').write('w')", outputs=["model.pt"])
    run_id = deployed(box)
    box.until("succeeded")
    asked = box.run("stop", run_id, "--clean")
    assert (asked.code, "--clean removes the outputs" in asked.err) == (7, True)
    assert (box.folder(run_id) / "work" / "model.pt").exists()
    assert box.run("stop", run_id, "--clean", "--yes").code == 0
    assert not (box.folder(run_id) / "work").exists()


def test_stopping_somebody_elses_run_asks_naming_who(box: Box) -> None:
    box.job(SLOW)
    run_id = deployed(box)
    other = box.run("stop", run_id, env={**box.env, "USER": "colleague"})
    assert other.code == 7
    assert "started by tester@" in other.err
    assert box.state()["state"] == "running"


def test_the_limit_of_hours_ends_a_run_with_time_to_save(box: Box) -> None:
    box.job(TRAPS_TERM, limits={"max_hours": 0.0002})
    run_id = deployed(box)
    seen = box.until("stopped")
    assert seen["by"] == "the limit of hours"
    assert "checkpoint written" in (box.folder(run_id) / "log").read_text()


def test_a_run_that_shows_no_sign_of_life_is_ended_as_idle(box: Box) -> None:
    box.job(TRAPS_TERM, limits={"idle_minutes": 0.02})
    deployed(box)
    assert box.until("stopped")["by"] == "the idle limit"


def test_a_script_that_saves_and_exits_with_0_when_asked_was_stopped_and_may_be_resumed(box: Box) -> None:
    """Saving on SIGTERM and leaving politely is the commonest way; it has not succeeded thereby."""
    box.job(TRAPS_TERM.replace("sys.exit(75)", "sys.exit(0)"))
    run_id = deployed(box)
    begun(box, run_id)
    assert box.run("stop").code == 0
    seen = box.state()
    assert (seen["state"], seen["exit_code"]) == ("stopped", 0)
    assert box.run("deploy", "job", "--resume", run_id).code == 0


def test_a_run_that_was_done_before_the_stop_reached_it_has_succeeded(box: Box) -> None:
    body = (
        "import json, os, signal, sys, time\n"
        "def leave(*_):\n"
        "    event = json.dumps({'event': 'end', 'status': 'done'})\n"
        "    open(os.environ['GPUJOB_EVENTS'], 'a').write(event + '\\n'); sys.exit(0)\n"
        "signal.signal(signal.SIGTERM, leave)\nprint('begun', flush=True)\ntime.sleep(60)\n"
    )
    box.job(body)
    run_id = deployed(box)
    begun(box, run_id)
    box.run("stop")
    assert box.state()["state"] == "succeeded"


def test_a_child_that_cleared_its_environment_is_ended_too(box: Box) -> None:
    child = "subprocess.Popen(['env', '-i', 'setsid', 'sleep', '98765'])"
    box.job(f"import subprocess, time\n{child}\nprint(1, flush=True)\ntime.sleep(60)")
    run_id = deployed(box)
    begun(box, run_id)
    assert box.run("stop", "--now").code == 0
    words = [p.read_bytes() for p in Path("/proc").glob("[0-9]*/cmdline") if p.exists()]
    assert not [word for word in words if b"98765" in word and b"sleep" in word]


def test_no_grace_is_no_grace(box: Box) -> None:
    box.job(
        "import signal, time\nsignal.signal(15, signal.SIG_IGN)\nprint(1, flush=True)\ntime.sleep(99)",
        limits={"grace_seconds": 0},
    )
    begun(box, deployed(box))
    before = time.monotonic()
    assert box.run("stop").code == 0
    assert time.monotonic() - before < 15
