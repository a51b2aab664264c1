"""How the supervisor of a run is started in tmux."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from orchestrator.core import tmux
from orchestrator.core.layout import Layout
from orchestrator.onhost import launching, processes
from orchestrator.onhost.errors import Refused
from tests.unit.onhost.queue_box import run_id

# Answers as tmux does: `new-session` fails with MESSAGE until it is asked for the third time.
TMUX = """#!/bin/sh
case "$*" in
*-V*) echo tmux 3.3a ;;
*new-session*)
    echo >> asked
    [ "$(wc -l < asked)" -ge 3 ] || { echo "MESSAGE" >&2; exit 1; }
    cp started state.json ;;
*) exit 1 ;;
esac
"""


def launch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, message: str) -> Path:
    """Start a run with a tmux that fails twice; return its folder."""
    layout = Layout(str(tmp_path / "root"))
    folder = Path(layout.run(run_id(0)).folder)
    folder.mkdir(parents=True)
    supervisor = processes.identity(os.getppid())
    started = {"id": run_id(0), "boot": processes.boot(), "supervisor": supervisor, "ended": 1.0}
    (folder / "started").write_text(json.dumps(started))
    (program := tmp_path / "bin" / "tmux").parent.mkdir()
    program.write_text(TMUX.replace("MESSAGE", message))
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    monkeypatch.setattr(launching.time, "sleep", lambda _: None)
    monkeypatch.chdir(folder)
    launching.launch(layout, run_id(0), 0, 0o077)
    return folder


@pytest.mark.parametrize(
    "message",
    [
        "server exited unexpectedly",
        "lost server",
        "no server running on /tmp/x",
        "error connecting to /tmp/x (Connection refused)",
    ],
)
def test_a_run_is_started_although_the_server_of_tmux_was_just_ending(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, message: str
) -> None:
    assert len((launch(tmp_path, monkeypatch, message) / "asked").read_text()) == 3


def test_a_tmux_without_a_version_number_starts_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As one that was built from the sources of the day."""
    program = TMUX.replace("tmux 3.3a", "tmux master")
    monkeypatch.setattr("tests.unit.onhost.test_launching.TMUX", program)
    assert (launch(tmp_path, monkeypatch, "lost server") / "state.json").exists()


def test_another_failure_of_tmux_is_reported_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(Refused, match="can't create socket"):
        launch(tmp_path, monkeypatch, "can't create socket")
    assert len(Path("asked").read_text()) == 1


def test_the_root_may_be_a_link_that_the_user_made(tmp_path: Path) -> None:
    """As to a disk that is larger than that of the home."""
    (tmp_path / "scratch").mkdir()
    (tmp_path / "scratch").chmod(0o750)
    (tmp_path / "root").symlink_to("scratch")
    launching._prepare_tmux(Layout(str(tmp_path / "root")))
    assert (tmp_path / "scratch" / "tmux.conf").read_text() == tmux.CONF
    assert (tmp_path / "scratch").stat().st_mode & 0o777 == 0o750
