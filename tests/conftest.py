"""Gives every test an empty home, no network but loopback, and markers of its requirements."""

from __future__ import annotations

import functools
import gc
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

from tests.rigs import bytecode, forkedhelper, forkedworkers, needs
from tests.rigs.torchpython import environment as torchpython

# Without byte code, each of hundreds of processes compiles the programs and the tests again.
sys.dont_write_bytecode = False
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

# As `python -m trainers` does before it loads PyTorch: threads that wait take no CPU time.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

# Modules and tests that are collected are never freed: the garbage collector would go through them in vain.
gc.disable()

REAL_HOME = Path.home()
FORBIDDEN = tuple(
    str(REAL_HOME / name)
    for name in (".ssh", ".aws", ".gpujob", ".local/state/gpujob", ".config/gpujob", ".gitconfig.local")
)


class Forbidden(RuntimeError):
    """A test opened a file of the user's or a connection that is not to loopback."""


def _guard(event: str, arguments: tuple[Any, ...]) -> None:
    if event in ("open", "os.listdir", "os.scandir", "os.mkdir") and arguments:
        path = arguments[0]
        if isinstance(path, str | bytes | os.PathLike) and os.fsdecode(path).startswith(FORBIDDEN):
            raise Forbidden(f"{event} of {os.fsdecode(path)}")
    if event == "socket.connect":
        address = arguments[1]
        if isinstance(address, tuple) and not str(address[0]).startswith(("127.", "::1", "localhost")):
            raise Forbidden(f"a connection to {address}")


sys.addaudithook(_guard)

# Hypothesis draws other inputs in each test run. Without these settings it fails a test whose inputs take
# long to draw: that is a limit on wall-clock time.
EXAMPLES = 100 if os.environ.get("GPUJOB_TEST_FULL") else 25
settings.register_profile(
    "tests", deadline=None, max_examples=EXAMPLES, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("tests")

FOLDER_MARKERS = {
    "unit": ("unit",),
    "trainers": ("torch",),
    "host": ("tmux",),
    "ec2": ("ec2", "root"),
}
FIXTURE_MARKERS = {"machine": "sshd", "line": "sshd", "echo": "unit"}


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_setupnodes(config: pytest.Config, specs: list[Any]) -> None:
    """Fork the workers from one process that has imported PyTorch."""
    forkedworkers.use(config, specs)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark each test with its requirements, by its folder and fixtures; others are marked by hand."""
    tests = Path(__file__).parent
    folder_of = functools.cache(lambda path: path.relative_to(tests).parts[0])
    for item in items:
        folder = folder_of(item.path)
        fixtures = getattr(item, "fixturenames", ())
        names = [
            *FOLDER_MARKERS.get(folder, ()),
            *(FIXTURE_MARKERS[f] for f in fixtures if f in FIXTURE_MARKERS),
        ]
        for name in names:
            item.add_marker(name)
        if not any(item.get_closest_marker(name) for name in ("unit", "torch", *needs.MARKERS)):
            raise pytest.UsageError(f"{item.nodeid} has no marker of what it needs; see tests/README.md")


def pytest_collection_finish() -> None:
    gc.freeze()
    gc.enable()
    gc.set_threshold(5_000, 20, 20)


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Print why a test that was run again had failed: it may never fail so again."""
    for report in terminalreporter.stats.get("rerun", ()):
        terminalreporter.write_line(f"{report.nodeid} was run again: {str(report.longrepr)[-3000:]}")


def pytest_unconfigure() -> None:
    torchpython.close_shared()
    forkedhelper.close()
    bytecode.close()
    forkedworkers.close()


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip a test whose requirements are missing; fail it if `scripts/system.sh` can install them."""
    for name, require in needs.MARKERS.items():
        if item.get_closest_marker(name):
            require()


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Sets an empty home and removes the variables that change what commands do."""
    homes = tmp_path_factory.getbasetemp() / "homes"
    homes.mkdir(exist_ok=True)
    # mktemp would list all folders of the tests before, and tmp_path the homes.
    monkeypatch.setenv("HOME", tempfile.mkdtemp(dir=homes))
    for name in list(os.environ):
        if name.startswith(("AWS_", "GPUJOB_", "XDG_")) and name != "GPUJOB_TEST_FULL":
            monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    for name in ("NO_COLOR", "FORCE_COLOR", "TMUX", "TMUX_PANE", "COLUMNS", "SSH_AUTH_SOCK"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(scope="session")
def trials() -> Any:
    """`trials(few, all)` is `all` with GPUJOB_TEST_FULL, else `few`."""
    return lambda few, all_: all_ if os.environ.get("GPUJOB_TEST_FULL") else few
