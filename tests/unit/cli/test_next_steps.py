"""The command that an error suggests is another one than the command that failed, and leads on."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import pytest
import typer
from typer.core import TyperOption

from orchestrator.cli.app import app
from orchestrator.errors import Unreachable
from orchestrator.targets.base import Host, Target
from tests.support import Client, new_client


@pytest.fixture
def client() -> Iterator[Client]:
    with new_client() as new:
        yield new


def next_step(client: Client, *words: str) -> str:
    result = client.run(*words)
    assert result.code != 0
    return result.err.rpartition("  next: ")[2].strip()


def test_a_script_without_a_job_file_leads_to_init_and_then_to_its_job(client: Client) -> None:
    client.write("train.py", "pass")
    assert next_step(client, "deploy", "train.py") == "gpujob init train.py"
    assert client.run("init", "train.py").code == 0
    assert next_step(client, "deploy", "train.py") == "gpujob deploy train.yaml"
    assert next_step(client, "deploy", "./train.py") == "gpujob deploy train.yaml"


def test_a_job_that_does_not_exist_leads_to_one_that_does_or_to_its_script(client: Client) -> None:
    client.write("train.py", "pass")
    client.write("jobs/finetune.yaml", "name: finetune\ncommand: [python3, train.py]\n")
    assert next_step(client, "deploy", "train") == "gpujob init train.py"
    assert "did you mean 'finetune'?" in client.run("deploy", "finetone").err
    assert next_step(client, "deploy", "finetone") == "gpujob check finetune"


def test_the_next_command_quotes_a_script_whose_name_has_spaces(client: Client) -> None:
    client.write("my train.py", "pass")
    assert next_step(client, "deploy", "my train") == "gpujob init 'my train.py'"
    assert next_step(client, "deploy", "my train.py") == "gpujob init 'my train.py'"


def test_deploy_says_where_the_arguments_of_a_script_belong(client: Client) -> None:
    result = client.run("deploy", "train", "--", "--lr", "0.2")
    assert result.code == 2
    assert "arguments of your script are words of `command` in the job file" in result.err


def test_missing_data_leads_to_a_sample_and_says_where_it_was_looked_for(client: Client) -> None:
    step = "gpujob prepare blendshapes --sample sample, then --data sample; --data DIR for your own"
    assert next_step(client, "check", "blendshapes") == step
    assert "without --data it looks for datasets/blendshapes" in client.run("check", "blendshapes").err
    assert next_step(client, "check", "blendshapes", "--data", "sampel") == step
    assert "it looks for" not in client.run("check", "blendshapes", "--data", "sampel").err


def test_doctor_of_an_unreachable_host_leads_to_ssh(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    class Down(Target):
        needs_rsync = False
        label = "gpubox"

        @contextlib.contextmanager
        def connect(self) -> Iterator[Host]:
            raise Unreachable("gpubox cannot be reached", "no route", "gpujob doctor --on gpubox")
            yield

    monkeypatch.setattr("orchestrator.registry.target", lambda *_: Down())
    assert next_step(client, "doctor", "--on", "gpubox") == "ssh -v gpubox"


@pytest.mark.parametrize(
    ("text", "step"),
    [
        ("targte: local\n", "correct or remove targte in gpujob.yaml"),
        ("- a\n", "write lines such as `target: gpubox` to gpujob.yaml"),
    ],
)
def test_wrong_settings_lead_to_the_file_and_the_key(client: Client, text: str, step: str) -> None:
    client.write("gpujob.yaml", text)
    assert next_step(client, "config", "show") == step


def test_verify_of_the_run_of_a_script_leads_to_its_own_files(client: Client) -> None:
    client.write("fetched/job-1/run.json", "{}")
    client.write("fetched/job-1/checkpoints/model.pt", "weights")
    result = client.run("verify", "fetched/job-1")
    assert (result.code, "files of its own" in result.err) == (3, True)
    assert next_step(client, "verify", "fetched/job-1") == "ls fetched/job-1"
    assert next_step(client, "evaluate", "fetched/job-1", "--data", "x") == "ls fetched/job-1"


def test_ssh_without_a_terminal_leads_to_a_command_in_the_run(client: Client) -> None:
    run_id = "job-20261121T101112-1a2b"
    (client.root / "runs" / run_id).mkdir(parents=True)
    assert next_step(client, "ssh", run_id, "--on", "local") == f"gpujob ssh {run_id} -- COMMAND"


def _commands(group: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from _commands(command, (*path, name))
        else:
            yield (*path, name), command


def test_any_option_without_its_argument_leads_to_the_help_of_its_command(client: Client) -> None:
    commands = list(_commands(typer.main.get_command(app)))
    options = [
        (path, option)
        for path, command in commands
        for param in command.params
        if isinstance(param, TyperOption) and not param.is_flag
        for option in param.opts
    ]
    assert len(options) > 30
    # Each command with its first option, and each option of several commands with the first of them.
    firsts = {option: path for path, option in reversed(options)}
    tried = {*((path, option) for option, path in firsts.items()), *dict(reversed(options)).items()}
    for path, option in tried:
        assert next_step(client, *path, option) == f"gpujob {' '.join(path)} --help", option
