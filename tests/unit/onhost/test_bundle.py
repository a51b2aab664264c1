import ast
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from orchestrator.onhost import interpreters
from orchestrator.targets import helper_host
from orchestrator.targets.ssh import bootstrap

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


@pytest.mark.parametrize("name", ["__main__.py", "orchestrator/onhost/interpreters.py"])
def test_a_python_that_is_too_old_can_read_the_entry_point(name: str) -> None:
    ast.parse(helper_host.files()[name], feature_version=(3, 5))


OLD = """#!/bin/sh
# Python 3.6.15, as far as the helper can tell
while [ "${1#-}" != "$1" ]; do
  case $1 in -c) exit 1;; -X) shift;; esac
  shift
done
exec %s -c '
import runpy, sys
sys.version_info, sys.version, sys.executable = (3, 6, 15), "3.6.15 (x)", "/usr/bin/python3"
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
' "$@"
"""


def start(folder: Path, *newer: str) -> bytes:
    """Start the helper as on a host whose python3 is too old and which has the commands `newer`."""
    bundle = helper_host.install(folder / ".gpujob" / "onhost")
    programs = folder / "bin"
    programs.mkdir()
    for name in ("sh", "env"):
        (programs / name).symlink_to(shutil.which(name) or name)
    (programs / "python3").write_text(OLD % sys.executable)
    (programs / "python3").chmod(0o755)
    for name in newer:
        (programs / name).symlink_to(sys.executable)
    assert bundle.is_dir()
    words = ["sh", "-c", bootstrap.command("helper")]
    env = {"PATH": str(programs), "HOME": str(folder)}
    output = subprocess.run(words, input=b"", capture_output=True, env=env, check=False).stdout
    return output.removeprefix(b"\x1egpujob shell\n")


@pytest.fixture
def alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """No Python of this machine is where hosts may have one."""
    names = tuple(name for name in interpreters.NEWER if "/" not in name)
    path = "orchestrator/onhost/interpreters.py"
    planted = FILES[path].decode().replace("for name in NEWER", f"for name in {names!r}")
    monkeypatch.setattr(helper_host, "files", lambda: {**FILES, path: planted.encode()})


FILES = helper_host.files()


@pytest.mark.usefixtures("alone")
def test_an_old_python_is_reported_with_its_version_and_path(tmp_path: Path) -> None:
    assert start(tmp_path) == b"\x1egpujob old 3.6.15 /usr/bin/python3\n"


@pytest.mark.usefixtures("alone")
def test_a_newer_python_of_the_host_is_used_instead(tmp_path: Path) -> None:
    assert start(tmp_path, "python3.11") == b"\x1egpujob ready %s/.gpujob\n" % bytes(tmp_path)


def test_the_helper_imports_no_module_that_is_slow_to_import(tmp_path: Path) -> None:
    """Each request of a client starts a helper, and each run a supervisor."""
    modules = ", ".join(f"orchestrator.onhost.{name}" for name in ("entry", "modes", "helper", "supervisor"))
    code = f"import sys; sys.path.insert(0, sys.argv[1]); import {modules}; print(*sys.modules)"
    words = [sys.executable, "-I", "-c", code, str(helper_host.install(tmp_path))]
    loaded = subprocess.run(words, capture_output=True, text=True, check=True).stdout.split()
    assert {"dataclasses", "inspect", "http.client", "email", "ssl", "asyncio"}.intersection(loaded) == set()


def test_a_python_that_was_built_without_ctypes_supervises(tmp_path: Path) -> None:
    code = (
        "import sys; sys.path.insert(0, sys.argv[1]); sys.modules['ctypes'] = None\n"
        "from orchestrator.onhost import gpus, signals, supervisor\n"
        "signals.prepare(), gpus.cuda()"
    )
    words = [sys.executable, "-I", "-c", code, str(helper_host.install(tmp_path))]
    subprocess.run(words, check=True)


def test_a_folder_without_the_helper_itself_is_replaced(tmp_path: Path) -> None:
    (tmp_path / helper_host.digest() / "orchestrator" / "__pycache__").mkdir(parents=True)
    folder = helper_host.install(tmp_path)
    assert (folder / "__main__.py").is_file()
    assert [path.name for path in tmp_path.iterdir()] == [folder.name]
