"""What shells are offered: without Typer and without a network, whatever the cache holds."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator

import pytest

from orchestrator.cli import completion
from orchestrator.core import runstate
from orchestrator.core.runfacts import RunFacts, RunRecord
from orchestrator.store import CachedRun, Store
from tests.support import GPUJOB, REPOSITORY, Client, new_client

FIRST, SECOND = "mine-20261121T101112-1a2b", "other-20261121T101113-3c4d"


@pytest.fixture
def client(monkeypatch: pytest.MonkeyPatch) -> Iterator[Client]:
    with new_client() as client:
        monkeypatch.chdir(client.project)
        for name, value in client.env.items():
            monkeypatch.setenv(name, value)
        yield client


def bash(line: str) -> list[str]:
    """What bash would be offered at the end of a line, which it splits at spaces, `=` and `:`."""
    words = line.replace("=", " = ").replace(":", " : ").split(" ")
    words = [word for number, word in enumerate(words) if word or number == len(words) - 1]
    env = {"COMP_WORDS": "\n".join(words), "COMP_CWORD": str(len(words) - 1)}
    before, incomplete, cut = completion._bash_words(env)
    return [word[cut:] for word, _ in completion.offers(os.environ, before, incomplete)]


def remember(client: Client, *runs: str) -> None:
    for run in runs:
        facts = RunFacts(id=run, record=RunRecord(job=run[:-21]))
        Store(client.state_dir).save_run(CachedRun("local", 1.0, facts))


def test_runs_are_offered_newest_first_and_then_their_jobs(client: Client) -> None:
    remember(client, FIRST, SECOND)
    assert bash("gpujob status ") == [SECOND, FIRST, "other", "mine"]
    assert bash("gpujob stop m") == [FIRST, "mine"]
    assert bash("gpujob deploy --resume m") == [FIRST, "mine"]


def test_job_files_here_in_jobs_and_in_the_package_are_offered(client: Client) -> None:
    client.write("mine.yaml", "")
    client.write("jobs/minor.yaml", "")
    client.write("mine.txt", "")
    assert bash("gpujob deploy min") == ["mine", "minor"]
    assert "facenet-lstm" in bash("gpujob check ")
    assert bash("gpujob prepare blend") == ["blendshapes"]


def test_targets_are_known_hosts_instances_and_ssh_names(client: Client) -> None:
    client.write("../.ssh/config", "Host gpubox *.lab !x\n  HostName 10.0.0.5\nHost=other\nMatch all\n")
    Store(client.state_dir).save_target("ssh://me@box:2222", 1.0)
    folder = client.state_dir / "instances"
    folder.mkdir(parents=True)
    for name, state in (("i-0a", "running"), ("i-0b", "terminated")):
        (folder / f"{name}.json").write_text(json.dumps({"id": name, "state": state}))
    everything = ["local", "ssh://me@box:2222", "ec2", "ec2://i-0a", "gpubox", "other"]
    assert bash("gpujob deploy job --on ") == everything
    assert bash("gpujob deploy job --on gp") == bash("gpujob status --on=gp") == ["gpubox"]
    assert bash("gpujob hosts down ") == ["ec2", "ec2://i-0a"]


def test_bash_gets_only_what_follows_the_last_colon(client: Client) -> None:
    Store(client.state_dir).save_target("ssh://me@box:2222", 1.0)
    assert bash("gpujob stop --on ssh://me") == ["//me@box:2222"]
    assert bash("gpujob stop --on ssh://me@box:2") == ["2222"]
    assert bash("gpujob stop --on=ssh:") == ["//me@box:2222"]


def test_fetched_runs_and_their_checkpoints_are_offered(client: Client) -> None:
    client.write(f"fetched/{FIRST}/checkpoints/best/manifest.json", "")
    assert bash("gpujob verify fet") == [f"fetched/{FIRST}", f"fetched/{FIRST}/checkpoints/best"]


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("gpujob fetch --which ", ["best", "last", "all"]),
        ("gpujob evaluate x --split v", ["val"]),
        ("gpujob hosts up --type p5.4", ["p5.48xlarge", "p5.4xlarge"]),
        ("gpujob hosts up --region eu-central", ["eu-central-1", "eu-central-2"]),
        ("gpujob hosts types --gpu L4", ["L4", "L40S"]),
        ("gpujob hosts ex", ["extend"]),
        ("gpujob -q stat", ["status"]),
        ("gpujob fetch --keep", ["--keep-instance"]),
        ("gpujob fetch -- --keep", []),
        ("gpujob nosuch ", None),
        ("gpujob cost ", []),
    ],
)
def test_commands_options_and_fixed_values_are_offered(
    client: Client, line: str, expected: list[str] | None
) -> None:
    found = bash(line)
    assert sorted(found) == sorted(expected) if expected is not None else "deploy" in found


def test_states_are_all_that_a_run_can_have() -> None:
    assert completion.KINDS["STATE"]({}) == list(runstate.WORDS)


def test_only_names_without_special_characters_are_offered(client: Client) -> None:
    remember(client, FIRST)
    for name in ("$(reboot)-20261121T101112-1a2b", "a b-20261121T101112-1a2b", "é-20261121T101112-1a2b"):
        (client.state_dir / "runs" / f"{name}.json").write_text("{}")
    Store(client.state_dir).save_target("x'$(reboot)", 1.0)
    assert bash("gpujob stop ") == [FIRST, "mine"]
    assert "reboot" not in " ".join(bash("gpujob stop --on "))


def run(client: Client, shell: str, line: str, **env: str) -> subprocess.CompletedProcess[str]:
    words = line.split(" ")
    variables = {
        "COMP_WORDS": "\n".join(words),
        "COMP_CWORD": str(len(words) - 1),
        "_TYPER_COMPLETE_ARGS": line,
    }
    env = {**client.env, **variables, "_GPUJOB_COMPLETE": f"complete_{shell}", **env}
    return subprocess.run([*GPUJOB], env=env, cwd=client.project, capture_output=True, text=True, check=False)


def test_a_damaged_cache_and_odd_lines_never_fail(client: Client) -> None:
    client.state_dir.mkdir(parents=True)
    (client.state_dir / "runs").write_text("a file instead of a folder")
    (client.state_dir / "targets").mkdir()
    (client.state_dir / "targets" / "x.json").write_bytes(b"\xff[")
    done = run(client, "bash", "gpujob status --on l")
    assert (done.returncode, done.stdout, done.stderr) == (0, "local\n", "")
    for odd in ({"COMP_CWORD": "x"}, {"COMP_WORDS": "", "COMP_CWORD": "99"}):
        done = run(client, "bash", "gpujob 'a", **odd)
        assert (done.returncode, done.stderr) == (0, "")


def test_completion_loads_neither_typer_nor_the_network(client: Client) -> None:
    code = (
        "import sys; from orchestrator.cli import completion\n"
        "completion.offers({}, ['status'], ''); completion.offers({}, ['stop', '--on'], '')\n"
        "print({name.partition('.')[0] for name in sys.modules})"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], env=client.env, capture_output=True, text=True, check=True
    )
    heavy = (
        "typer",
        "rich",
        "msgspec",
        "yaml",
        "boto3",
        "paramiko",
        "libtmux",
        "ssl",
        "dataclasses",
        "inspect",
    )
    assert [name for name in heavy if f"'{name}'" in done.stdout] == []


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_real_shell_offers_what_gpujob_answers(client: Client, shell: str) -> None:
    if shell != "bash":  # what the scripts of Typer expect
        done = run(client, shell, "gpujob fetch --which b", _TYPER_COMPLETE_FISH_ACTION="get-args")
        assert done.stdout == {"zsh": "_arguments '*: :((\"best\"))'\n", "fish": "best\n"}[shell]
        return
    programs = client.home / "bin"
    programs.mkdir()
    (programs / "gpujob").write_text(f'#!/bin/sh\nexec {sys.executable} -c "{GPUJOB[2]}" "$@"\n')
    (programs / "gpujob").chmod(0o755)
    script = (
        f'export PATH={programs}:$PATH; eval "$(gpujob --show-completion bash)"; '
        "COMP_WORDS=(gpujob fetch --which la); COMP_CWORD=3; _gpujob_completion gpujob; echo ${COMPREPLY[@]}"
    )
    env = {**client.env, "PYTHONPATH": str(REPOSITORY), "_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1"}
    words = [shutil.which("bash") or "bash", "--norc", "-c", script]
    done = subprocess.run(words, env=env, cwd=client.project, capture_output=True, text=True, check=False)
    assert done.stdout == "last\n", done.stderr


def test_fish_completes_file_names_where_nothing_is_offered(client: Client) -> None:
    for line, code in (("gpujob fetch --which ", 0), ("gpujob predict x ", 1)):
        assert run(client, "fish", line, _TYPER_COMPLETE_FISH_ACTION="is-args").returncode == code
