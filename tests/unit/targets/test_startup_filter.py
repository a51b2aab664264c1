"""Output of a host's start-up files is removed from rsync's stream."""

from __future__ import annotations

import subprocess
import sys

import pytest

from orchestrator.targets.ssh import startup_filter
from orchestrator.targets.ssh.startup_filter import PRINT_MARK


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
