"""The package: version, metadata, `python -m gpujob`, and the install commands in messages."""

from __future__ import annotations

import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import gpujob
from orchestrator import __version__
from tests.support import REPOSITORY, new_client

PYPROJECT = (REPOSITORY / "pyproject.toml").read_text("utf-8")
_TEXT = {".py", ".md", ".sh", ".toml", ".yaml", ".json", ""}


def source_files() -> list[Path]:
    listing = subprocess.run(
        ["git", "ls-files", "-z"], cwd=REPOSITORY, capture_output=True, check=True
    ).stdout
    paths = [REPOSITORY / name for name in listing.decode().split("\0") if name]
    return [path for path in paths if path.suffix in _TEXT and path.is_file()]


def test_the_version_is_written_in_one_place() -> None:
    assert gpujob.__version__ == __version__
    assert 'dynamic = ["version"]' in PYPROJECT
    assert 'path = "orchestrator/__init__.py"' in PYPROJECT


def test_python_m_gpujob_is_the_command() -> None:
    with new_client() as client:
        code = [sys.executable, "-m", "gpujob", "--version"]
        result = subprocess.run(
            code, cwd=REPOSITORY, env=client.env, capture_output=True, text=True, check=True
        )
    assert result.stdout == f"gpujob {__version__}\n"


def test_each_package_is_marked_as_typed() -> None:
    assert all((REPOSITORY / name / "py.typed").exists() for name in ("gpujob", "orchestrator", "trainers"))


def test_no_dependency_is_listed_twice() -> None:
    listed = re.search(r"^dependencies = \[\n(.*?)^\]", PYPROJECT, re.MULTILINE | re.DOTALL)
    assert listed
    names = re.findall(r'^  "([A-Za-z0-9_.-]+?)[\[<>=~]', listed[1], re.MULTILINE)
    assert len(names) == len(set(names)) > 5


def test_no_text_advises_to_install_the_unrelated_package_gpujob() -> None:
    advice = re.compile(r"(pip3?|pipx|uv tool|uv pip) install [^\n]*\bgpujob\b(?!-cli)")
    faults = [str(path) for path in source_files() if advice.search(path.read_text("utf-8", "replace"))]
    assert faults == []


def test_the_wheel_contains_packages_jobs_and_templates(tmp_path: Path) -> None:
    build = pytest.importorskip("hatchling.builders.wheel")
    wheel = next(build.WheelBuilder(str(REPOSITORY)).build(directory=str(tmp_path), versions=["standard"]))
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        metadata = archive.read(f"gpujob_cli-{__version__}.dist-info/METADATA").decode()
    assert {"gpujob/__main__.py", "orchestrator/cli/app.py", "trainers/py.typed"} <= names
    assert {"orchestrator/_share/jobs/slowfast.yaml", "orchestrator/_share/templates/job.yaml"} <= names
    assert f"Version: {__version__}\n" in metadata
