import ast
import subprocess
import sys
from pathlib import Path

import pytest

from orchestrator.targets import helper_host

PYTHON = [name for name in helper_host.files() if name.endswith(".py")]


@pytest.mark.parametrize("name", PYTHON)
def test_code_sent_to_hosts_is_python_3_8(name: str) -> None:
    ast.parse(helper_host.files()[name], feature_version=(3, 8))


@pytest.mark.parametrize("name", PYTHON)
def test_code_sent_to_hosts_calls_nothing_newer_than_python_3_8(name: str) -> None:
    newer = (
        "removeprefix",
        "removesuffix",
        "file_digest",
        "cached_property_",
        "is_relative_to",
        "zip(strict",
    )
    assert not [word for word in newer if word in helper_host.files()[name].decode()]


def test_the_bundle_runs_alone_with_an_isolated_python(tmp_path: Path) -> None:
    folder = helper_host.install(tmp_path)
    words = [sys.executable, "-I", "-S", str(folder), "helper", str(tmp_path / "root")]
    result = subprocess.run(words, input=b'{"id": 1, "op": "status"}\n', capture_output=True, check=True)
    assert b'"runs": []' in result.stdout


def test_unpacking_the_bundle_twice_makes_one_folder(tmp_path: Path) -> None:
    assert helper_host.install(tmp_path) == helper_host.install(tmp_path)
    assert len(list(tmp_path.iterdir())) == 1
