"""Follows docs/add-a-trainer.md: its files and commands, in a copy of the repository."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from orchestrator.onhost import elsewhere
from tests.rigs.patience import PATIENCE
from tests.rigs.torchpython import environment as torchpython

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "add-a-trainer.md").read_text()
FILE = re.compile(r"^`([\w/.-]+)`:\n```\w+\n(.*?)^```", re.DOTALL | re.MULTILINE)
COMMANDS = re.compile(r"^```sh\n(.*?)^```", re.DOTALL | re.MULTILINE)


def test_the_page_needs_at_most_three_files_and_120_lines():
    files = {name: text.count("\n") for name, text in FILE.findall(PAGE) if name.startswith("trainers/")}
    assert len(files) <= 3
    assert sum(files.values()) <= 120


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """A copy of the repository with the page's files, and a `gpujob` command that runs it."""
    folder = tmp_path / "clone"
    for name in ("orchestrator", "trainers", "gpujob", "jobs", "templates"):
        shutil.copytree(ROOT / name, folder / name)  # with byte code, which a dozen commands use
    for name, text in FILE.findall(PAGE):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    program = tmp_path / "bin" / "gpujob"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec {torchpython.shared().python} -m gpujob "$@"\n')
    program.chmod(0o755)
    return folder


@pytest.mark.tmux
def test_the_page_builds_a_trainer_that_is_checked_deployed_and_used(clone, tmp_path):
    home = tmp_path / "home"
    home.mkdir()
    environment = {
        "PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}",
        "HOME": str(home),
        "PYTHONPATH": str(clone),
        "OMP_NUM_THREADS": "1",
        "GPUJOB_ROOT": str(tmp_path / "root"),
    }
    output = ""
    try:
        for block in COMMANDS.findall(PAGE):
            result = subprocess.run(
                ["bash", "-euo", "pipefail", "-c", block],
                cwd=clone,
                env=environment,
                capture_output=True,
                text=True,
                timeout=PATIENCE,
            )
            assert result.returncode == 0, f"{block}\n{result.stdout}\n{result.stderr}"
            output += result.stdout
    finally:
        socket = elsewhere.layout(str(tmp_path / "root")).tmux_socket
        subprocess.run(["tmux", "-S", socket, "kill-server"], check=False)
    assert "overfit" in output
    assert re.search(r"flowers\.csv:2\s+iris", output), output
    assert "accuracy" in output
