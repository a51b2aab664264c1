"""A command whose program is not sent, or whose packages the host lacks, is found before the start."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support import Client, Result, new_client
from tests.unit.commands.scripted import scripted, type_in
from tests.unit.core.test_plan import FACTS, PYTHON


@pytest.fixture
def client() -> Iterator[Client]:
    with new_client() as new:
        new.write("src/train.py", "from near import x\n")
        new.write("src/near.py", "import torch\nimport numpy as np\n")
        new.write("run.sh", "true\n")
        new.write("pkg/__init__.py", "")
        new.write("pkg/main.py", "import torch\n")
        new.write("ignored/x.py", "")
        new.write("ignored/data.csv", "")
        new.write(".gitignore", "/ignored/\n")
        yield new


def write_job(client: Client, *command: str, **keys: Any) -> None:
    lines = ["name: j", f"command: {json.dumps(list(command))}"]
    client.write("j.yaml", "\n".join(lines + [f"{key}: {json.dumps(value)}" for key, value in keys.items()]))


def dry(client: Client, *command: str, **keys: Any) -> Result:
    write_job(client, *command, **keys)
    return client.run("deploy", "j", "--dry-run")


@pytest.mark.parametrize(
    ("command", "what", "hint"),
    [
        (["python", "nope.py"], "there is no nope.py in", "relative to the code folder"),
        (["python", "j.py"], "there is no j.py in", "or correct j.yaml:2"),
        (["python", "train.py"], "there is no train.py in", "write src/train.py in j.yaml:2"),
        (["bash", "rum.sh"], "there is no rum.sh in", "did you mean run.sh?"),
        (["torchrun", "--nproc-per-node", "2", "nope.py"], "there is no nope.py in", ""),
        (["python", "ignored/x.py"], "ignored/x.py is not sent to the host", "git ignores it"),
        (["python", "-m", "ignored.x"], "ignored/x.py is not sent to the host", "git ignores it"),
        (["python", "-m", "pkg.other"], "there is no pkg/other.py in", ""),
        (["python", "../train.py"], "../train.py is outside of the code folder", "code: FOLDER"),
        (["python", "~/train.py"], "there is no file ~/train.py", "not passed to a shell"),
        (["python", "$HOME/train.py"], "there is no file $HOME/train.py", "not passed to a shell"),
        (["./run.sh"], "./run.sh is not executable", "chmod +x"),
        (["python src/train.py"], "'python src/train.py' is one word", "command: [python, src/train.py]"),
        (["", "x"], "the command is empty", ""),
    ],
)
def test_a_program_that_is_not_sent_is_refused_by_name(
    client: Client, command: list[str], what: str, hint: str
) -> None:
    result = dry(client, *command)
    assert result.code == 2, result.out
    assert f"j.yaml:2: {what}" in result.err
    assert hint in result.err


@pytest.mark.parametrize(
    "command",
    [
        ["python", "src/train.py"],
        ["python", "./src/../src/train.py"],
        ["python", "-m", "pkg.main"],
        ["python", "-m", "pytest"],
        ["bash", "-c", "python nope.py"],
        ["/usr/bin/python3", "/opt/on-the-host.py"],
        ["link/train.py"],
        ["./tool"],
        ["echo", "x" * 5000],
    ],
)
def test_a_program_that_is_sent_or_on_the_host_is_accepted(client: Client, command: list[str]) -> None:
    (client.project / "link").symlink_to("src")
    client.write("tool", "#!/bin/sh\n").chmod(0o755)
    if command[0] in ("echo", "python"):
        command = ["env", *command]  # is on every machine
    result = dry(client, *command)
    assert result.code == 0, result.err


@pytest.mark.parametrize(
    ("content", "what"),
    [
        ("#!/bin/bash\r\ntrue\r\n", "has the line ends of Windows"),
        ("true\n", "has no interpreter"),
        ("", "has no"),
    ],
)
def test_a_script_that_the_kernel_would_not_start_is_refused(client: Client, content: str, what: str) -> None:
    (client.project / "tool").write_bytes(content.encode())
    (client.project / "tool").chmod(0o755)
    result = dry(client, "./tool")
    assert (result.code, f"j.yaml:2: ./tool {what}" in result.err) == (2, True), result.err
    assert dry(client, "bash", "tool").code == 0


def test_a_script_is_relative_to_the_code_folder(client: Client) -> None:
    assert dry(client, "env", "python", "train.py", code="src").code == 0
    assert "there is no src/train.py in" in dry(client, "python", "src/train.py", code="src").err


def test_arguments_that_name_files_left_behind_are_announced(client: Client) -> None:
    client.write("results/old.csv", "")
    client.write(".gitignore", "/ignored/\n/results/\n")
    words = ["env", "python", "src/train.py", "--in=ignored/data.csv", "--out", "results/a", "ignored"]
    (client.project / "results" / "a").mkdir()
    out = dry(client, *words, outputs=["results/"]).out
    assert "note: j.yaml:2: ignored/data.csv is not sent (git ignores it): name it under data:" in out
    assert out.count("is not sent") == 2


def deploy(client: Client, monkeypatch: pytest.MonkeyPatch, facts: dict[str, Any], **keys: Any) -> Any:
    write_job(client, "python", "src/train.py", **keys)
    host = scripted(host_facts={**FACTS, **facts}, ensure_environment={})
    result = type_in(client, host, "deploy", "j", "--quiet", monkeypatch=monkeypatch)
    return result, host


def test_python_that_is_missing_is_replaced_by_python3(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    result, host = deploy(client, monkeypatch, {"missing_commands": ["python"]})
    assert result.code == 0, result.err
    assert result.err.count("there is no python on the host: the run uses python3 (command in j.yaml)") == 1
    assert host.requests[0][1]["commands"] == ["python", "python3"]
    assert host.requests[-1][1]["spec"]["argv"] == ["python3", "src/train.py"]


@pytest.mark.parametrize(
    ("words", "service"),
    [
        (["tmux", "new", "-d", "python src/train.py"], "tmux"),
        (["bash", "-c", "docker run --gpus all -d image"], "docker run"),
        (["bash", "-c", "docker run --rm image train"], None),
        (["bash", "-c", "echo ./train.sh | at now"], "at now"),
        (["docker-compose", "up", "trainer", "-d"], "docker-compose up"),
        (["pueue", "add", "--", "python", "train.py"], "pueue add"),
        (["ray", "job", "submit", "--no-wait", "--", "python", "train.py"], "ray job submit"),
        (["bash", "-c", "docker compose up trainer; echo look at it"], None),
        (["python", "src/train.py", "--note", "tmux-like"], None),
    ],
)
def test_a_command_that_hands_the_training_to_a_service_is_announced(
    client: Client, monkeypatch: pytest.MonkeyPatch, words: list[str], service: str | None
) -> None:
    write_job(client, *words)
    host = scripted(host_facts=FACTS, ensure_environment={})
    result = type_in(client, host, "deploy", "j", "--quiet", monkeypatch=monkeypatch)
    assert result.code == 0, result.err
    warned = f"{service} in the command hands the training to another service"
    assert (warned in result.err) == bool(service)
    assert ("another service" in result.err) == bool(service)


def test_a_missing_command_is_an_error_that_names_the_line_to_change(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    result, host = deploy(client, monkeypatch, {"missing_commands": ["python", "python3"]})
    assert result.code == 1
    assert "there is no command 'python' on the host" in result.err
    assert "in j.yaml: command" in result.err
    assert host.sent == []


@pytest.mark.parametrize(
    ("python", "requirements", "missing"),
    [
        ({"torch": None}, None, "torch"),
        ({"numpy": None}, None, "numpy"),
        ({"torch": None}, "pandas\n", "torch"),
        ({"torch": None}, "torch==2.1\n", ""),
        ({"torch": None}, "torchvision>=0.1\n", ""),
        ({"torch": None}, "Torch_Audio\ntorchaudio\n", ""),
        ({}, "pandas\n", ""),
        ({}, None, ""),
    ],
)
def test_packages_that_the_code_imports_and_the_host_lacks_are_announced(
    client: Client, monkeypatch: pytest.MonkeyPatch, python: Any, requirements: str | None, missing: str
) -> None:
    keys: dict[str, Any] = {}
    if requirements:
        client.write("req.txt", requirements)
        keys["env"] = {"requirements": "req.txt"}
    result, host = deploy(client, monkeypatch, {"pythons": [{**PYTHON, **python}]}, **keys)
    assert result.code == 0, result.err
    warned = [line for line in result.err.splitlines() if "the code imports" in line]
    assert len(warned) == (1 if missing else 0), result.err
    assert all(f"the code imports {missing}, but" in line for line in warned)
    assert host.requests[0][1]["packages"] == ["numpy"]


def test_code_without_known_packages_asks_the_host_nothing_more(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    client.write("src/near.py", "import os\n")
    _, host = deploy(client, monkeypatch, {})
    assert host.requests[0][1]["pythons"] == []
