"""A deploy to the local target imports no module of other targets."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.support import REPOSITORY, Client

LOADED = """
import sys
sys.path.insert(0, {repository!r})
from orchestrator.cli import main
code = main()
other = ("orchestrator.instances", "orchestrator.targets.ssh", "boto3", "paramiko")
sys.stderr.write("LOADED %s\\n" % sorted(name for name in sys.modules if name.startswith(other)))
sys.exit(code)
"""


@pytest.mark.parametrize(
    "words",
    [("job",), ("job", "--dry-run"), ("blendshapes", "--data", "faces", "--dry-run")],
    ids=["command", "command-dry-run", "blendshapes-dry-run"],
)
def test_a_local_deploy_loads_no_module_of_instances_or_ssh(client: Client, words: tuple[str, ...]) -> None:
    client.job("print('hello')", resources={"gpus": 0})
    client.write("faces/blendshapes/train.csv", "label\n")
    result = subprocess.run(
        [sys.executable, "-c", LOADED.format(repository=str(REPOSITORY)), "deploy", *words, "--on", "local"],
        cwd=client.project,
        env=client.env,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    assert "LOADED []" in result.stderr
