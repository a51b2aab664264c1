"""Runs of a user's own script, end to end, by the command line alone."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import libtmux
import pytest

from tests.host.scripts import SLOW, deployed, wait_for_output
from tests.rigs.patience import PATIENCE, wait_until
from tests.support import Client


def test_a_user_script_is_deployed_and_followed_and_its_outputs_fetched(client: Client) -> None:
    body = (
        "import json, os\n"
        "print(json.loads(os.environ['GPUJOB_CONFIG'])['lr'], os.environ['GPUJOB_DATA_MY_SET'])\n"
        "os.mkdir('results'); open('results/a b.txt', 'w').write('42')\n"
    )
    (client.project / "set").mkdir()
    client.job(body, config={"lr": 0.1}, data={"my-set": "set"}, outputs=["results"])
    run_id = deployed(client, "--set", "config.lr=3e-4")
    streamed = client.run("monitor", "--stream")
    assert streamed.out == f"0.0003 {client.project}/set\n"
    assert f"run {run_id} succeeded" in streamed.err
    fetched = client.run("fetch")
    assert fetched.code == 0, fetched.err
    folder = client.project / "fetched" / run_id
    assert (folder / "outputs/results/a b.txt").read_text() == "42"
    assert json.loads((folder / "run.json").read_text())["config"] == {"lr": 0.0003}
    assert (folder / "log").read_text() == streamed.out


def test_quiet_prints_the_run_id_alone_and_verbose_the_time_of_each_step(client: Client) -> None:
    client.job("print(1)")
    quiet = client.run("deploy", "job", "--name", "first", "-q")
    assert re.fullmatch(r"first-[0-9T]+-[0-9a-f]{4}\n", quiet.out)
    assert quiet.err == ""
    verbose = client.run("deploy", "job", "--name", "second", "-v")
    assert re.search(r"^  start in tmux: [0-9.]+ s$", verbose.err, re.MULTILINE)


def test_status_shows_state_pids_session_disk_gpus_and_last_lines(client: Client) -> None:
    client.job("import time\nfor n in range(9): print('line', n, flush=True)\ntime.sleep(60)")
    run_id = deployed(client)
    wait_for_output(client, run_id)
    shown = client.run("status", "--json").json
    run = shown["runs"][0]
    assert (run["id"], run["state"], run["session"]) == (run_id, "running", f"gpujob-{run_id}")
    assert run["pids"] == [run["trainer_pid"]]
    assert run["last_lines"] == [f"line {n}" for n in range(4, 9)]
    assert shown["hosts"][0]["disk"]["free"] > 0
    assert isinstance(shown["hosts"][0]["gpus"], list)
    assert shown["schema_version"] == 2


def test_without_a_live_run_the_last_one_is_shown(client: Client) -> None:
    assert "none was ever deployed" in client.run("status").out
    client.job("print('hello')")
    run_id = deployed(client)
    client.until("succeeded")
    shown = client.run("status").out
    assert shown.startswith("no run is going on local; the latest:")
    assert run_id in shown


def test_a_second_deploy_of_a_live_job_is_refused_unless_named(client: Client) -> None:
    client.job(SLOW)
    run_id = deployed(client)
    again = client.run("deploy", "job")
    assert again.code == 1
    assert f"job is already running as {run_id}" in again.err
    other = deployed(client, "--name", "beside")
    assert other.startswith("beside-")


def test_the_exit_code_of_the_script_is_recorded_and_follow_exits_6(client: Client) -> None:
    client.job("import sys\nprint('bad news')\nsys.exit(3)")
    result = client.run("deploy", "job", "--follow")
    assert result.code == 6
    assert "exit code 3" in result.err
    assert "bad news" in result.err
    assert client.state()["exit_code"] == 3


def test_a_signal_is_distinguished_from_an_exit_code(client: Client) -> None:
    client.job("import os\nos.kill(os.getpid(), 11)")
    client.run("deploy", "job", "--follow")
    status = client.state()
    assert (status["state"], status["signal"], status["exit_code"]) == ("failed", 11, None)


def test_a_program_that_cannot_be_run_fails_with_its_error(client: Client) -> None:
    client.write("tool", "#!/no/such/interpreter\n").chmod(0o755)
    client.write("job.yaml", "name: job\ncommand: [./tool]\n")
    result = client.run("deploy", "job", "--follow")
    assert result.code == 6
    assert "could not be run" in result.err


def test_a_crash_is_restarted_within_the_budget_and_attempts_are_shown(client: Client) -> None:
    body = (
        "import os, sys\n"
        "print('attempt', os.environ['GPUJOB_ATTEMPT'])\n"
        "sys.exit(0 if os.environ['GPUJOB_ATTEMPT'] == '3' else 1)"
    )
    client.job(body, restart={"max": 2})
    deployed(client)
    status = client.until("succeeded")
    assert status["attempt"] == 3
    assert (client.folder(status["id"]) / "log").read_text() == "attempt 1\nattempt 2\nattempt 3\n"


def test_an_exit_code_hidden_by_a_launcher_is_read_from_the_last_event(client: Client) -> None:
    """torchrun exits with 1, whatever the exit codes of its workers."""
    line = json.dumps({"event": "end", "status": "failed", "code": 66})
    client.job(
        f"import os, sys\nopen(os.environ['GPUJOB_EVENTS'], 'a').write({line!r} + '\\n')\nsys.exit(1)",
        restart={"max": 3},
    )
    deployed(client)
    status = client.until("failed")
    assert (status["exit_code"], status["attempt"], status["reason"]) == (66, 1, "diverged")


@pytest.mark.parametrize("code", [64, 65, 66])
def test_bad_data_a_failed_check_and_divergence_are_never_restarted(client: Client, code: int) -> None:
    client.job(f"import sys; sys.exit({code})", restart={"max": 5})
    deployed(client)
    assert client.until("failed")["attempt"] == 1


def test_the_environment_does_not_leak_and_passed_secrets_are_not_stored(client: Client) -> None:
    client.env.update(TOKEN="hunter2", AWS_SECRET_ACCESS_KEY="canary", ODD="a'b\"c\nd $X `y` \\")
    client.job(
        "import os\nprint(os.environ['TOKEN'][::-1], os.environ.get('AWS_SECRET_ACCESS_KEY'))\n"
        "print(repr(os.environ['ODD']))",
        pass_env=["TOKEN", "ODD"],
    )
    run_id = deployed(client)
    client.until("succeeded")
    folder = client.folder(run_id)
    assert (folder / "log").read_text() == f"2retnuh None\n{client.env['ODD']!r}\n"
    stored = [p.read_bytes() for p in client.home.rglob("*") if p.is_file()]
    leaks = [content for content in stored if b"hunter2" in content or b"canary" in content]
    assert leaks == []
    del client.env["TOKEN"]
    missing = client.run("deploy", "job")
    assert (missing.code, "TOKEN is not set" in missing.err) == (2, True)


def test_the_session_shows_the_log_and_passes_no_key_to_the_run(client: Client) -> None:
    client.job("import time\nfor n in range(600):\n    print('tick', n, flush=True); time.sleep(.1)")
    run_id = deployed(client)
    session = libtmux.Server(socket_path=str(client.tmux_socket)).sessions[0]
    assert session.session_name == f"gpujob-{run_id}"
    pane = session.active_pane
    for key in ("C-c", "C-z", "C-\\"):
        pane.send_keys(key, enter=False, suppress_history=False)
    size = client.state()["log_bytes"]
    client.until(lambda status: status["log_bytes"] > size + 20)
    shown = "\n".join(pane.capture_pane())
    assert "tick 0" in shown
    assert client.state()["state"] == "running"


def test_attach_in_a_tmux_shows_the_keys_that_detach_the_inner_one(client: Client) -> None:
    client.job("import time\nfor n in range(600):\n    print('tick', n, flush=True); time.sleep(.1)")
    deployed(client)
    outer = libtmux.Server(socket_path=str(client.home / "outer.sock"))
    try:
        gpujob = f"{sys.executable} -c 'from orchestrator.cli import script; script()'"
        code = f"cd {client.project}; {gpujob} monitor --attach"
        env = {**client.env, "TERM": "screen-256color", "PYTHONPATH": str(Path(__file__).parents[2])}
        session = outer.new_session(
            "t", window_command=f'bash --norc -c "{code}; echo LEFT; sleep 60"', environment=env, x=120, y=30
        )
        pane = session.active_pane
        screen = lambda: "\n".join(pane.capture_pane())  # noqa: E731
        wait_until(lambda: "tick" in screen() and "C-b C-b d leaves" in screen(), "the run is shown")
        pane.send_keys("C-b", enter=False)
        pane.send_keys("d", enter=False)
        wait_until(lambda: "LEFT" in screen(), "the session is detached")
        assert client.state()["state"] == "running"
    finally:
        outer.kill()


def test_ctrl_c_while_streaming_leaves_the_run_live_and_prints_that(client: Client) -> None:
    client.job("import time\nfor n in range(600):\n    print('tick', n, flush=True); time.sleep(.05)")
    run_id = deployed(client)
    process = client.spawn("monitor", "--stream", start_new_session=True)
    assert process.stdout
    assert process.stdout.readline() == b"tick 0\n"
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=PATIENCE)
    assert process.returncode == 130
    assert f"run {run_id} goes on" in stderr.decode()
    assert client.state()["state"] == "running"


def test_streaming_loses_and_repeats_no_byte_even_of_invalid_text(client: Client) -> None:
    body = (
        "import os, random, sys, time\n"
        "random.seed(1)\n"
        "for n in range(400):\n"
        "    some = [b'\\r%3d%%' % n, b'line %d\\n' % n, 'é\\n'.encode(), b'\\xff\\x00raw', b'x' * 5000]\n"
        "    os.write(1, random.choice(some))\n"
        "    if n % 50 == 0: time.sleep(.02)\n"
    )
    client.job(body)
    run_id = deployed(client)
    process = client.spawn("monitor", "--stream")
    out, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, err
    assert out == (client.folder(run_id) / "log").read_bytes()


def test_the_periodic_monitor_prints_plain_lines_without_a_terminal(client: Client) -> None:
    client.job(
        "import json, os, time\n"
        "e = open(os.environ['GPUJOB_EVENTS'], 'a')\n"
        "for n in range(8):\n"
        "    event = {'event': 'progress', 'step': n + 1, 'of': 8, 't': time.time()}\n"
        "    e.write(json.dumps(event) + '\\n'); e.flush()\n"
        "    time.sleep(.2)\n"
    )
    deployed(client)
    shown = client.run("monitor", "--interval", "0.2")
    assert shown.code == 0
    assert re.search(r"running step \d/8", shown.out)
    assert "succeeded" in shown.out


def test_editing_the_code_does_not_change_a_live_run(client: Client) -> None:
    client.job("import time\ntime.sleep(1)\nprint(open('note.txt').read())")
    client.write("note.txt", "old")
    run_id = deployed(client)
    client.write("note.txt", "new")
    client.until("succeeded")
    assert (client.folder(run_id) / "log").read_text() == "old\n"


def test_the_patch_of_a_dirty_tree_is_stored_with_the_run(client: Client) -> None:
    def git(*words: str) -> None:
        who = ["-c", "user.name=t", "-c", "user.email=t@example.com"]
        subprocess.run(
            ["git", *who, *words],
            cwd=client.project,
            check=True,
            capture_output=True,
            env={**os.environ, **client.env},
        )

    client.job("print('one')")
    client.write(".gitignore", "ignored\nfetched\n")
    client.write("ignored", "x")
    git("init", "-q")
    git("add", "-A")
    git("commit", "-qm", "first")
    client.job("print('two')")
    run_id = deployed(client)
    client.until("succeeded")
    code = json.loads((client.folder(run_id) / "run.json").read_text())["code"]
    assert code["dirty"]
    assert "+print('two')" in code["patch"]
    assert not (client.folder(run_id) / "work" / "ignored").exists()
    assert (client.folder(run_id) / "log").read_text() == "two\n"
