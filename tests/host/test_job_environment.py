"""Variables and scripts of a job, as the run gets them."""

from __future__ import annotations

import json

from tests.support import Client

SHOW = (
    "import os, json\nprint(json.dumps({k: os.environ.get(k) for k in ('A', 'B', 'C', 'WANDB_API_KEY')}))\n"
)
SECRET = "0123456789abcdef0123456789abcdef01234567"


def test_variables_and_secrets_of_an_env_file_reach_the_run(client: Client) -> None:
    client.write(".env", f"A=file\nexport B='from the file'\nWANDB_API_KEY={SECRET}\n")
    env = {"vars": {"A": "1e-3"}, "file": ".env"}
    client.job(SHOW, env=env)
    refused = client.run("deploy", "job")
    assert (refused.code, "WANDB_API_KEY looks like a secret" in refused.err) == (2, True)
    assert "pass_env: [WANDB_API_KEY]" in refused.err
    assert SECRET not in refused.err
    client.job(SHOW, env=env, pass_env=["WANDB_API_KEY"])
    done = client.run("deploy", "job", "--follow")
    assert done.code == 0, done.err
    shown = json.loads(done.out.splitlines()[-1])
    assert shown == {"A": "1e-3", "B": "from the file", "C": None, "WANDB_API_KEY": SECRET}
    stored = [path for path in client.root.rglob("*") if path.is_file() and path.name != "log"]
    assert not [path for path in stored if SECRET.encode() in path.read_bytes()]


def test_a_script_ends_at_its_first_error_and_names_the_line(client: Client) -> None:
    script = "echo start\npython3 -c 'import sys; sys.exit(3)' | cat\necho not reached\n"
    client.write("job.yaml", json.dumps({"name": "job", "command": script}))
    done = client.run("deploy", "job", "--follow")
    lines = done.out.splitlines()
    assert lines[-2:] == [
        "start",
        "gpujob: command, line 2: exit code 3: python3 -c 'import sys; sys.exit(3)' | cat",
    ]
    assert client.state()["exit_code"] == 3


def test_a_script_that_bash_cannot_read_is_refused_before_the_run(client: Client) -> None:
    client.write("job.yaml", "name: job\ncommand: |\n  echo a\n  if true; then\n")
    refused = client.run("deploy", "job")
    assert (refused.code, "job.yaml:2: command is no valid script: line 3" in refused.err) == (2, True)


def test_a_stopped_script_lets_its_training_write_a_checkpoint(client: Client) -> None:
    body = """
import os, signal, sys, time
def end(*_):
    open(os.environ["GPUJOB_CHECKPOINTS"] + "/saved", "w").close()
    sys.exit(75)
signal.signal(signal.SIGTERM, end)
print("ready", flush=True)
time.sleep(600)
"""
    client.write("train.py", body)
    client.write("job.yaml", "name: job\ncommand: |\n  set -x\n  python3 train.py\n  echo done\n")
    run_id = client.run("deploy", "job").out.strip()
    client.until(lambda run: "ready" in run["last_lines"])
    stopped = client.run("stop", "job")
    assert stopped.code == 0, stopped.err
    assert (client.folder(run_id) / "checkpoints" / "saved").exists()
    assert client.state()["state"] == "stopped"
