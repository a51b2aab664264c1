"""Executes the commands of the documentation's pages, each page in an empty project."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.host.machines import log_in_to, new_machine
from tests.rigs import pages
from tests.rigs.patience import PATIENCE
from tests.support import REPOSITORY, Client

EXECUTED = sorted(
    {page.name for page in pages.pages() for b in pages.blocks(page) if b.language == "sh" and not b.reason}
)


def follow(client: Client, page: Path) -> str:
    """Write the page's files and execute its commands. Return what they print on stdout."""
    for name, text in pages.files(page).items():
        client.write(name, text)
    printed = ""
    for block in pages.blocks(page):
        if block.language == "sh" and not block.reason:
            done = subprocess.run(
                ["bash", "-euo", "pipefail", "-c", block.text],
                cwd=client.project,
                env=client.env,
                capture_output=True,
                text=True,
                timeout=PATIENCE,
            )
            assert done.returncode == 0, f"{block.place}\n{block.text}\n{done.stdout}\n{done.stderr}"
            printed += done.stdout
    return printed


@pytest.fixture
def user(client: Client) -> Client:
    """A client whose PATH has `gpujob`, and a `python` with PyTorch."""
    programs = client.home / "bin"
    programs.mkdir()
    for name, words in {"gpujob": f"{client.python} -m gpujob", "python": client.python}.items():
        (programs / name).write_text(f'#!/bin/sh\nexec {words} "$@"\n')
        (programs / name).chmod(0o755)
    client.env |= {"PATH": f"{programs}:{client.env['PATH']}", "PYTHONPATH": str(REPOSITORY)}
    return client


def test_every_page_with_commands_is_executed_below() -> None:
    """And first-tasks.md in tests/ec2/test_first_tasks.py, since it needs a host and an EC2 instance."""
    elsewhere = ["first-tasks.md"]
    here = [
        "ec2.md",
        "install.md",
        "queue.md",
        "quick-start.md",
        "recipes.md",
        "remote.md",
        "sweeps.md",
        "your-script.md",
    ]
    assert sorted([*here, *elsewhere]) == EXECUTED


@pytest.mark.tmux
@pytest.mark.torch
@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("install.md", "gpujob 0"),
        ("ec2.md", "g6e."),
        ("queue.md", "is removed from the queue"),
        ("recipes.md", "fetched/loop-"),
        ("sweeps.md", "complete"),
        ("your-script.md", "step 50 of 50"),
    ],
)
def test_the_commands_of_a_page_work(user: Client, name: str, expected: str) -> None:
    assert expected in follow(user, REPOSITORY / "docs" / name)


@pytest.mark.tmux
@pytest.mark.torch
def test_the_quick_start_leads_from_data_to_an_exported_program(user: Client) -> None:
    printed = follow(user, REPOSITORY / "docs" / "quick-start.md")
    assert "logistic regression, the baseline: val balanced accuracy" in printed
    assert "most confidently wrong" in printed
    run = user.state()
    assert run["metrics"]["test"]["macro_f1"] > 0.6
    written = user.project / "exported" / f"blendshapes-{run['checkpoints']['best']}"
    preprocessing = json.loads((written / "preprocessing.json").read_text())
    record = json.loads((user.project / "fetched" / run["id"] / "run.json").read_text())
    assert preprocessing["code_tree"] == record["trainers"]["tree"]
    assert preprocessing["classes"] == ["happy", "sad", "neutral"]


@pytest.mark.tmux
@pytest.mark.sshd
def test_the_commands_for_a_host_work_on_a_real_one(user: Client) -> None:
    with new_machine(user) as machine:
        log_in_to(user, machine, name="gpubox")
        user.job("print('trained', flush=True)", name="train")
        assert "trained" in follow(user, REPOSITORY / "docs" / "remote.md")


@pytest.mark.tmux
def test_the_examples_of_the_python_api_work(user: Client) -> None:
    user.write("train.py", pages.files(REPOSITORY / "docs" / "your-script.md")["train.py"])
    assert user.run("init", "train.py").code == 0
    examples = [b for b in pages.blocks(REPOSITORY / "docs" / "python-api.md") if b.language == "python"]
    assert len(examples) >= 4
    program = "\n".join(example.text for example in examples)
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=user.project,
        env=user.env,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    assert done.returncode == 0, done.stderr
    printed = done.stdout.splitlines()
    assert printed[0].startswith("succeeded 0.3"), printed
    assert printed[2] == "3 no run 'no-such-run'"
    assert printed[3] == "no AWS credentials are configured"
    assert printed[4].startswith("train-30 0.1")
    assert done.stderr == ""
