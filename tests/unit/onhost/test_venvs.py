import io
import multiprocessing
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from orchestrator.core.layout import Layout
from orchestrator.onhost import processes, venvs
from orchestrator.onhost.errors import Refused
from orchestrator.onhost.setup import Setup
from orchestrator.onhost.venvs import Environment
from tests.rigs.patience import wait_until
from tests.support import tiny_wheel

pytestmark = pytest.mark.slow


def test_an_environment_has_its_parents_packages_and_is_made_once(tmp_path: Path) -> None:
    """The parent is a venv itself, so its packages are not those of the system."""
    layout = Layout(str(tmp_path))
    python = venvs.ensure(layout, Environment("ab12", sys.executable, []))
    result = subprocess.run(
        [python, "-c", "import pytest; print(pytest.__file__)"], capture_output=True, text=True
    )
    assert result.stdout.strip() == pytest.__file__
    inode = Path(python).lstat().st_ino
    assert venvs.ensure(layout, Environment("ab12", sys.executable, [])) == python
    assert Path(python).lstat().st_ino == inode


def test_an_environment_whose_python_was_removed_is_made_anew(tmp_path: Path) -> None:
    layout = Layout(str(tmp_path))
    python = Path(venvs.ensure(layout, Environment("ab12", sys.executable, [])))
    python.unlink()
    python.symlink_to(tmp_path / "removed" / "bin" / "python")
    assert venvs.ensure(layout, Environment("ab12", sys.executable, [])) == str(python)
    assert python.exists()


def test_a_file_in_the_current_folder_shadows_no_module(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "venv.py").write_text("raise SystemExit('not this one')")
    monkeypatch.chdir(tmp_path)
    assert venvs.ensure(Layout(str(tmp_path)), Environment("ab12", sys.executable, []))


def test_a_partial_environment_is_rebuilt_and_a_failed_one_not_completed(
    tmp_path: Path,
) -> None:
    layout = Layout(str(tmp_path))
    cut = Path(layout.environment("cd34"))
    (cut / "bin").mkdir(parents=True)
    (cut / "bin" / "python").write_text("half")
    with pytest.raises(Refused, match="could not be created"):
        venvs.ensure(layout, Environment("cd34", sys.executable, ["--no-index", "no-such-package-here"]))
    assert not (cut / "complete").exists()
    assert venvs.ensure(layout, Environment("cd34", sys.executable, []))


def test_an_isolated_environment_has_its_requirements_alone(
    tmp_path: Path,
) -> None:
    wheels = tiny_wheel(tmp_path / "wheels", "tiny", "1.0")
    text = f"--no-index\n--find-links {wheels}\ntiny\n"
    python = venvs.ensure(Layout(str(tmp_path)), Environment("ef56", sys.executable, [], text, own=True))
    script = "import importlib.util as u, tiny; print(tiny.VERSION, u.find_spec('pytest'))"
    result = subprocess.run([python, "-c", script], capture_output=True, text=True)
    assert result.stdout == "1.0 None\n"


def test_requirements_may_not_replace_the_hosts_own_torch(tmp_path: Path) -> None:
    wheels = tiny_wheel(tmp_path / "wheels", "pytest", "99")
    text, keep = f"--no-index\n--find-links {wheels}\npytest==99\n", f"pytest=={pytest.__version__}"
    wish = Environment("ab78", sys.executable, [], text, keep)
    with pytest.raises(Refused, match=r"ERROR: .*conflict"):
        venvs.ensure(Layout(str(tmp_path)), wish)


def test_an_old_pip_is_replaced_by_one_in_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran: list[list[str]] = []

    def run(words: list[str], hint: str = "", log: object = None, mark: str = "") -> str:
        ran.append(words)
        if "--python" in words:
            raise Refused("environment", "no such option: --python")
        return ""

    monkeypatch.setattr(venvs, "_run", run)
    wish = Environment("ab", "/old", ["tiny"])
    venvs._install(wish, "/env/bin/python", ["tiny"], io.BytesIO())
    assert [words[:4] for words in ran[1:]] == [
        ["/env/bin/python", "-m", "ensurepip"],
        ["/env/bin/python", "-m", "pip", "install"],
    ]


def test_uv_installs_into_an_environment_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    uv = tmp_path / "bin" / "uv"
    uv.parent.mkdir()
    uv.write_text(f"#!/bin/sh\necho $@ >> {tmp_path}/calls\n")
    uv.chmod(0o700)
    monkeypatch.setenv("PATH", f"{uv.parent}:/usr/bin:/bin")
    layout = Layout(str(tmp_path))
    venvs.ensure(layout, Environment("ab90", sys.executable, [], "# nothing\n", own=True))
    venvs.ensure(layout, Environment("ab91", sys.executable, [], "# nothing\n"))
    home = f"{tmp_path}/env/ab90"
    call = f"pip install --python {home}/bin/python -r {home}/requirements.txt\n"
    assert (tmp_path / "calls").read_text() == call


def test_a_setup_whose_helper_was_killed_ends_before_it_is_run_again(tmp_path: Path) -> None:
    layout, told = Layout(str(tmp_path)), tmp_path / "told"
    script = f"echo $$ >> {told}; test $(wc -l < {told}) = 2 || sleep 600"
    setup = Setup(script, "", [], {})
    wish = Environment("ab92", sys.executable, [], setup=setup)
    helper = multiprocessing.get_context("fork").Process(target=venvs.ensure, args=(layout, wish))
    helper.start()
    wait_until(lambda: told.exists() and told.read_text(), "the script runs")
    helper.kill()
    helper.join()
    assert processes.start_ticks(int(told.read_text()))
    assert venvs.ensure(layout, wish)
    first, second = told.read_text().split()
    assert (processes.start_ticks(int(first)), first != second) == (None, True)


def test_concurrent_requests_for_an_environment_build_it_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    created: list[str] = []

    def create(folder: str, wish: Environment, log: object) -> None:
        created.append(folder)
        Path(folder).mkdir()
        time.sleep(0.1)

    monkeypatch.setattr(venvs, "_create", create)
    layout, wish = Layout(str(tmp_path)), Environment("ab12", sys.executable, [])
    threads = [threading.Thread(target=venvs.ensure, args=(layout, wish)) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(created) == 1


@pytest.mark.parametrize("key", ["../x", "", "ABC", "a b"])
def test_an_invalid_key_gives_no_folder(tmp_path: Path, key: str) -> None:
    with pytest.raises(ValueError, match="not a key"):
        Layout(str(tmp_path)).environment(key)
