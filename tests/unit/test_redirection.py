"""Which files receive what a command prints."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from orchestrator import redirection
from orchestrator.onhost import processes

ASK = (
    "import sys; from orchestrator.redirection import output_files; {do}; "
    "print(sorted(output_files([sys.stdout, sys.stderr])), file=open('answer', 'w'))"
)
WAIT = "import pathlib, time; [time.sleep(0.01) for _ in range(6000) if not pathlib.Path('out.log').exists()]"


def answer(folder: Path, shell: str, do: str = "pass") -> str:
    """What a command in a shell's line finds, with `{ask}` for the command itself."""
    ask = f'{sys.executable} -c "{ASK.format(do=do)}"'
    root = Path(__file__).resolve().parents[2]
    words = ["bash", "-c", shell.replace("{ask}", ask)]
    subprocess.run(words, cwd=folder, env={"PATH": "/usr/bin:/bin", "PYTHONPATH": str(root)}, check=True)
    return (folder / "answer").read_text()


def identity(file: Path) -> str:
    status = file.stat()
    return f"({status.st_dev}, {status.st_ino})"


@pytest.mark.parametrize(
    "shell",
    ["{ask} > out.log", "{ask} 2> out.log", "{ask} >> out.log 2>&1"],
)
def test_a_redirected_stream_names_its_file(tmp_path: Path, shell: str) -> None:
    found = answer(tmp_path, shell)
    assert identity(tmp_path / "out.log") in found


@pytest.mark.skipif(sys.platform != "linux", reason="the files of other processes are in /proc")
@pytest.mark.parametrize(
    "shell",
    [
        "{ask} | tee out.log",
        "{ask} 2>&1 | cat | tee -a out.log | cat",
        "{ask} > >(tee out.log)",
        "exec 3> out.log; {ask} | cat >&3",
    ],
)
def test_the_file_at_the_end_of_a_pipeline_is_found(tmp_path: Path, shell: str) -> None:
    (tmp_path / "read.py").write_text("x = 1\n")
    found = answer(tmp_path, f"exec 4< read.py; {shell}", WAIT)
    assert identity(tmp_path / "out.log") in found
    assert identity(tmp_path / "read.py") not in found


def test_group_0_is_no_pipeline_but_what_was_begun_outside_the_container(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sibling = processes.table()[os.getpid()]._replace(parent=os.getppid())
    monkeypatch.setattr(os, "getpgrp", lambda: 0)
    monkeypatch.setattr(os, "getpgid", lambda _: 0)
    for entry, found in ((sibling, [99]), (sibling._replace(parent=1 << 30), [])):
        monkeypatch.setattr(processes, "table", lambda entry=entry: {99: entry})
        assert list(redirection._programs_around()) == found
