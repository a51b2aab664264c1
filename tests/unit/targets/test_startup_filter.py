"""Output of a host's start-up files is removed from rsync's stream."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from orchestrator.targets.ssh import startup_filter
from orchestrator.targets.ssh.startup_filter import RSYNC

PRINT_MARK = RSYNC[RSYNC.index("printf") : RSYNC.index(";")]


@pytest.mark.parametrize(
    ("script", "passed"),
    [
        (f"echo welcome; {PRINT_MARK}; printf 'the data'; exit 7", b"the data"),
        (f"{PRINT_MARK}; exit 7", b""),
        ("echo no mark; exit 7", b""),
    ],
)
def test_output_after_the_mark_is_passed_on_with_the_exit_code(
    capfdbinary: pytest.CaptureFixture[bytes], script: str, passed: bytes
) -> None:
    assert startup_filter.main(["sh", "-c", script]) == 7
    assert capfdbinary.readouterr().out == passed


def test_the_filter_runs_as_a_standalone_script() -> None:
    words = [
        sys.executable,
        "-I",
        startup_filter.__file__,
        "sh",
        "-c",
        f"echo noise; {PRINT_MARK}; echo data",
    ]
    assert subprocess.run(words, capture_output=True, check=True).stdout == b"data\n"


def test_start_up_files_find_nothing_to_read_and_what_follows_has_all_input() -> None:
    script = f"read -t 0.2 line; echo read $line; {PRINT_MARK}; cat"
    words = [sys.executable, "-I", startup_filter.__file__, "bash", "-c", script]
    assert subprocess.run(words, capture_output=True, check=True, input=b"a\nb\n").stdout == b"a\nb\n"


@pytest.mark.parametrize("shell", ["bash", "dash"])
def test_the_mark_is_the_last_that_a_login_shell_prints(shell: str, tmp_path: Path) -> None:
    (tmp_path / "rsync").write_text("#!/bin/sh\necho rsync $1 $2\n")
    (tmp_path / "rsync").chmod(0o755)
    trap = "trap 'echo debug' DEBUG; " if shell == "bash" else ""
    words = [shell, "-c", f"{trap}{RSYNC} --server 'a b'"]
    env = {"PATH": f"{tmp_path}:/usr/bin:/bin"}
    out = subprocess.run(words, capture_output=True, check=True, env=env).stdout
    assert out.endswith(b"\x1egpujob rsync\nrsync --server a b\n")
