"""A job's requirements: the environment is built once and shared by the job's runs."""

from __future__ import annotations

import json

from tests.support import Client, tiny_wheel

BODY = "import sys, tiny\nprint(tiny.VERSION, sys.prefix)\n"


def test_requirements_of_a_job_are_installed_once_before_it_runs(client: Client) -> None:
    wheels = tiny_wheel(client.home / "wheels", "tiny", "1.0")
    client.write("needs.txt", f"--no-index\n--find-links {wheels}\ntiny\n")
    client.write("train.py", BODY)
    for name in ("one", "two"):
        keys = {"name": name, "command": ["python", "train.py"], "env": {"requirements": "needs.txt"}}
        client.write(f"{name}.yaml", json.dumps(keys))
    shown = client.run("deploy", "one", "--dry-run")
    assert "environment over Python" in shown.out
    first = client.run("deploy", "one", "--follow")
    assert first.code == 0, first.err
    (home,) = [path for path in (client.root / "env").iterdir() if path.is_dir()]
    assert first.out.splitlines()[-1] == f"1.0 {home}"
    when = (home / "complete").stat().st_mtime_ns
    second = client.run("deploy", "two", "--follow")
    assert second.out.splitlines()[-1] == f"1.0 {home}"
    assert (home / "complete").stat().st_mtime_ns == when
    run = json.loads(next(client.root.glob("runs/one-*/run.json")).read_text())
    assert "tiny" in run["python"]["requirements"]


def test_requirements_that_pip_cannot_install_prevent_the_run(client: Client) -> None:
    client.write("needs.txt", "--no-index\nno-such-package-here\n")
    client.job("print(1)", env={"requirements": "needs.txt"})
    refused = client.run("deploy", "job")
    assert (refused.code, "no-such-package-here" in refused.err) == (1, True)
    assert list(client.root.glob("runs/*")) == []
    missing = client.run("deploy", "job", "--set", "env.requirements=none.txt")
    assert (missing.code, "env.requirements: none.txt cannot be read" in missing.err) == (2, True)
    client.write("needs.txt", "numpy\n-e ./mine\n")
    local = client.run("deploy", "job")
    assert (local.code, "needs.txt:2: -e ./mine" in local.err) == (2, True)
