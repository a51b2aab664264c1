"""Ctrl-C: at any moment, what was cut, what goes on, and the command that continues."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from orchestrator.core.runfacts import RunFacts, RunRecord
from orchestrator.instances.instance import Instance
from orchestrator.instances.records import InstanceStore
from orchestrator.store import CachedRun, Store
from tests.support import Client, new_client
from tests.unit.commands.scripted import DEPLOY, scripted, type_in

CTRL_C_AT_IMPORT = """
import sys
class Keyboard:
    def find_spec(self, name, path=None, target=None):
        if name == {name!r}:
            raise KeyboardInterrupt
sys.meta_path.insert(0, Keyboard())
from orchestrator.cli import script
script()
"""


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


class CutTerminal(Terminal):
    def readline(self, *_: Any) -> str:
        raise KeyboardInterrupt


@pytest.fixture
def client() -> Iterator[Client]:
    with new_client() as new:
        for name in ("ravdess", "crema"):
            (new.project / "sets" / name).mkdir(parents=True)
        yield new


def cut(*_: object, **__: object) -> Any:
    raise KeyboardInterrupt


@pytest.mark.parametrize(
    "module", ["orchestrator.cli.app", "typer", "orchestrator.context", "orchestrator.commands.status"]
)
@pytest.mark.parametrize("words", [["status", "a b"], ["status", "a b", "--json"]])
def test_ctrl_c_while_modules_load_names_the_command_to_repeat(
    client: Client, module: str, words: list[str]
) -> None:
    code = CTRL_C_AT_IMPORT.format(name=module)
    done = subprocess.run(
        [sys.executable, "-c", code, *words], env=client.env, cwd=client.project, capture_output=True
    )
    text = done.stdout.decode() + done.stderr.decode()
    assert done.returncode == 130, text
    assert "Traceback" not in text
    if "--json" in words:
        assert json.loads(done.stdout)["error"]["next_step"] == "gpujob status 'a b' --json"
    else:
        assert text.splitlines()[-1] == "  next: gpujob status 'a b'"


@pytest.mark.parametrize("point", ["make_context", "invoke"])
def test_ctrl_c_within_the_parser_is_reported_too(
    client: Client, point: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(f"orchestrator.cli.help.Command.{point}", cut)
    result = client.run("status")
    assert (result.code, result.out) == (130, "")
    assert result.err.splitlines()[-1] == "  next: gpujob status"


def test_ctrl_c_names_the_runs_and_instances_that_go_on(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    facts = RunFacts(id="job-20261121T101112-1a2b", record=RunRecord(job="job"), supervised=True)
    Store(client.state_dir).save_run(CachedRun("gpubox", 5.0, facts))
    up = Instance(id="i-1", region="us-east-1", type="g5.xlarge", launched=1.0, usd_per_hour=1.0)
    InstanceStore(client.state_dir).save(up)
    monkeypatch.setattr("orchestrator.commands.status.status", cut)
    result = client.run("status", "job")
    assert (result.code, result.out) == (130, "")
    assert "job-20261121T101112-1a2b on gpubox, ec2://i-1 (g5.xlarge, $1.005/h)" in result.err
    assert client.run("status", "--json").json["error"]["exit_code"] == 130


@pytest.mark.parametrize(
    ("op", "step"),
    [("host_facts", "looking at scripted"), ("start", "which may have happened")],
)
def test_ctrl_c_during_a_deploy_names_the_step_that_was_cut(
    client: Client, op: str, step: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    result = type_in(client, scripted(**{op: cut}), *DEPLOY, monkeypatch=monkeypatch)
    assert (result.code, result.out) == (130, "")
    assert step in result.err
    assert result.err.splitlines()[-1] == "  next: gpujob deploy facenet-lstm --data sets"


def test_ctrl_c_at_a_prompt_says_that_nothing_was_agreed_to(client: Client) -> None:
    facts = RunFacts(id="job-20261121T101112-1a2b", record=RunRecord(job="job"))
    Store(client.state_dir).save_run(CachedRun("local", 5.0, facts))
    (client.root / "runs" / facts.id).mkdir(parents=True)
    err = Terminal()
    result = client.run("stop", facts.id, "--purge", stdin=CutTerminal(), stderr=err)
    assert result.code == 130
    assert "nothing was agreed to" in err.getvalue()
    assert "\n\nerror: interrupted" in err.getvalue() or "\n\x1b" in err.getvalue()
    assert f"next: gpujob stop {facts.id} --purge" in err.getvalue()


def test_a_second_ctrl_c_while_the_first_is_reported_prints_no_traceback(client: Client) -> None:
    code = (
        "import orchestrator.cli.failures as f\ndef cut(*a): raise KeyboardInterrupt\nf.interrupted = cut\n"
    )
    code += "import orchestrator.commands.status as s\ns.status = cut"
    process = client.spawn("status", code=code)
    out, err = process.communicate()
    assert (process.returncode, out) == (130, b"")
    assert err.decode() == "error: interrupted\n  next: gpujob status\n"
