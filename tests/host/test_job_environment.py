"""Variables and scripts of a job, as the run gets them."""

from __future__ import annotations

import hashlib
import json
import sys

from tests.host.chaos import Line
from tests.rigs import environments
from tests.support import Client, tiny_wheel

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


def test_setup_runs_once_per_content_and_its_files_reach_the_run(client: Client) -> None:
    wheels = tiny_wheel(client.home / "wheels", "tiny", "1.0")
    client.write("build.sh", "echo building\ndate +%N > built.txt\ncat part.txt >> built.txt\n")
    client.write("part.txt", "one\n")
    client.job("import tiny, sys\nprint(tiny.VERSION, open('built.txt').read().split())\n")
    text = "name: job\ncommand: [python, train.py]\nsetup: |\n  # part.txt\n  bash ./build.sh\n"
    text += f"  pip install --no-index --find-links {wheels} tiny\n"
    client.write("job.yaml", text)

    def deploy() -> str:
        done = client.run("deploy", "job", "--follow")
        assert done.code == 0, done.err
        shown.append(done.err)
        return done.out.splitlines()[-1]

    shown: list[str] = []
    first = deploy()
    assert first.startswith("1.0 [")
    assert first.endswith("'one']")
    assert "building" in shown[0]
    client.write("train.py", "import tiny\nprint(tiny.VERSION, open('built.txt').read().split())\n")
    assert deploy() == first
    assert "building" not in shown[1]
    client.write("part.txt", "two\n")
    assert deploy().endswith("'two']")
    assert not (client.project / "built.txt").exists()


def test_a_setup_that_fails_or_is_killed_is_run_again(client: Client) -> None:
    flag = client.home / "flag"
    client.job("print(open('made').read())")
    keys = f"name: job\ncommand: [{sys.executable}, train.py]\n"
    client.write(
        "job.yaml", f"{keys}setup:\n  - echo first > made\n  - cat {flag}\n  - echo second >> made\n"
    )
    failed = client.run("deploy", "job")
    assert failed.code == 1
    assert "setup failed with exit code 1 (line 2: exit code 1: cat" in failed.err
    assert "No such file" in failed.err
    assert not list(client.root.glob("runs/*"))
    flag.write_text("x")
    done = client.run("deploy", "job", "--follow")
    assert (done.code, done.out.split()[-2:]) == (0, ["first", "second"])


def test_concurrent_deploys_run_a_setup_once(client: Client) -> None:
    marks = client.home / "marks"
    setup = f'setup: ["echo x >> {marks}; sleep 1"]\n'
    for name in ("one", "two"):
        client.write("train.py", "print(1)\n")
        client.write(f"{name}.yaml", f"name: {name}\ncommand: [{sys.executable}, train.py]\n{setup}")
    deploys = [client.spawn("deploy", name) for name in ("one", "two")]
    for deploy in deploys:
        deploy.communicate()
        assert deploy.returncode == 0
    assert marks.read_text() == "x\n"


def test_a_uv_lock_is_installed_apart_from_the_hosts_packages(client: Client) -> None:
    wheels = tiny_wheel(client.home / "wheels", "tiny", "1.0")
    (wheel,) = wheels.glob("*.whl")
    digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
    client.write("uv.lock", LOCK.replace("DIGEST", digest))
    client.write("pyproject.toml", "[project]\nname = 'mine'\ndependencies = ['tiny']\n")
    body = "import tiny, importlib.util as u\nprint(tiny.VERSION, u.find_spec('numpy'))\n"
    client.write("train.py", body)
    keys = {"name": "job", "command": ["python", "train.py"], "env": {"requirements": "pyproject.toml"}}
    client.write("job.yaml", json.dumps(keys))
    client.env |= {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(wheels)}
    done = client.run("deploy", "job", "--follow")
    assert done.code == 0, done.err
    assert done.out.splitlines()[-1] == "1.0 None"
    client.write("uv.lock", LOCK.replace("DIGEST", "0" * 64))
    damaged = client.run("deploy", "job", "--follow")
    assert (damaged.code, "sha256" in damaged.err.lower() or "HASHES" in damaged.err) == (1, True)


def test_an_environment_is_made_once_on_a_host_and_again_for_another_content(line: Line) -> None:
    client = line.client
    wheels = tiny_wheel(client.home / "wheels", "tiny", "1.0")
    environments.pip_settings(line.machine.home, wheels)
    (wheel,) = wheels.glob("*.whl")
    client.write("uv.lock", LOCK.replace("DIGEST", hashlib.sha256(wheel.read_bytes()).hexdigest()))
    client.write("requirements.txt", "tiny\n")
    environments.require_made_once_and_changed_by_content(client, "gpu", "uv.lock", "requirements.txt")


LOCK = """
version = 1
revision = 3
requires-python = ">=3.8"

[[package]]
name = "mine"
version = "0.1"
source = { virtual = "." }
dependencies = [{ name = "tiny" }, { name = "only-windows", marker = "sys_platform == 'win32'" }]

[[package]]
name = "tiny"
version = "1.0"
source = { registry = "https://pypi.org/simple" }
wheels = [{ url = "https://files.example/tiny.whl", hash = "sha256:DIGEST" }]

[[package]]
name = "only-windows"
version = "2.0"
source = { registry = "https://pypi.org/simple" }
wheels = [{ url = "https://files.example/only.whl", hash = "sha256:DIGEST" }]
"""
