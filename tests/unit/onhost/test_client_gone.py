"""A helper whose client is gone ends, whatever it does; what does not fit on the client is not even read."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from orchestrator.core import jsontext
from orchestrator.core.layout import Layout
from orchestrator.core.logquery import EVERYTHING
from orchestrator.onhost import files, helper, run_processes, staging
from orchestrator.onhost.errors import Refused
from orchestrator.onhost.staging import ClientSpace
from orchestrator.targets import helper_host
from tests.rigs.patience import wait_until

pytestmark = pytest.mark.slow

RUN = "job-20261121T101112-1a2b"
TIB = 1 << 40


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    root = Layout(str(tmp_path))
    Path(root.run(RUN).checkpoints).mkdir(parents=True)
    files.write_json(root.run(RUN).state, {"id": RUN, "ended": 1.0})
    return root


def sparse(layout: Layout, name: str, size: int) -> Path:
    """Write a file that takes no space on the disk."""
    path = Path(layout.run(RUN).checkpoints, name)
    with path.open("wb") as handle:
        handle.truncate(size)
    return path


def start_helper(layout: Layout, tmp_path: Path, *words: str) -> subprocess.Popen[bytes]:
    bundle = helper_host.install(tmp_path / "onhost")
    line = [sys.executable, "-I", str(bundle), words[0], layout.root, *words[1:]]
    return subprocess.Popen(line, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)


def leave(process: subprocess.Popen[bytes]) -> None:
    """Close the pipes of a helper, as the end of its client does; wait until it has ended."""
    assert process.stdin
    assert process.stdout
    process.stdout.close()
    process.stdin.close()
    try:
        wait_until(lambda: process.poll() is not None, "the helper ends")
    finally:
        process.kill()
        process.wait()


def test_a_helper_that_reads_a_huge_file_ends_with_its_client(layout: Layout, tmp_path: Path) -> None:
    sparse(layout, "model.pt", 8 * TIB)
    process = start_helper(layout, tmp_path, "helper")
    assert process.stdin
    process.stdin.write(json.dumps({"id": 1, "op": "stage", "run": RUN, "which": "all"}).encode() + b"\n")
    process.stdin.flush()
    stage = Path(layout.run(RUN).stage)
    wait_until(lambda: list(stage.glob("*/pinned")), "it reads the file")
    leave(process)
    small = sparse(layout, "model.pt", 0)
    small.unlink()
    staging.stage(layout, RUN, "all")
    assert len(list(stage.iterdir())) == 1  # what the helper left is removed by the next fetch


def test_a_helper_that_follows_a_silent_log_ends_with_its_client(layout: Layout, tmp_path: Path) -> None:
    Path(layout.run(RUN).state).unlink()  # the run has not ended
    process = start_helper(layout, tmp_path, "follow", RUN, "log", "0", EVERYTHING.to_word())
    assert process.stdout
    assert process.stdout.readline() == b"0\n"  # a heartbeat
    os.utime(layout.run(RUN).folder)
    leave(process)


@pytest.mark.parametrize("which", ["best", "all"])
def test_a_fetch_that_does_not_fit_is_refused_before_a_byte_is_read(layout: Layout, which: str) -> None:
    sparse(layout, "model.pt", 8 * TIB)
    with pytest.raises(Refused) as refused:
        staging.stage(layout, RUN, which, ClientSpace(TIB, {}))
    assert refused.value.kind == "client-space"
    assert refused.value.details["largest"][0] == {"path": "checkpoints/model.pt", "bytes": 8 * TIB}  # type: ignore[index]
    assert not Path(layout.run(RUN).stage).exists()


def test_files_that_the_client_has_need_no_space_again(layout: Layout) -> None:
    Path(layout.run(RUN).checkpoints, "model.pt").write_bytes(b"x" * 1000)
    staging.stage(layout, RUN, "all", ClientSpace(200, {"checkpoints/model.pt": 1000}))
    with pytest.raises(Refused):
        staging.stage(layout, RUN, "all", ClientSpace(200, {"checkpoints/model.pt": 999}))


def test_a_copy_that_would_fill_the_disk_of_a_live_run_is_left_out(
    layout: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run_processes, "has_ended", lambda *_: False)
    sparse(layout, "model.pt", 8 * TIB)
    assert staging.stage(layout, RUN, "all")["no_room"] == ["checkpoints/model.pt"]


def refuse_locks(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    def flock(*_: Any) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", flock)


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, 524])
def test_a_file_system_without_locks_is_named_with_what_to_do(
    layout: Layout, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    refuse_locks(monkeypatch, number)
    reply = helper.answer(layout, {"id": 1, "op": "start", "spec": {"id": RUN}})
    assert reply["refused"]["kind"] == "no-locks"
    assert layout.start_lock in reply["refused"]["message"]
    assert "GPUJOB_ROOT" in str(helper_host._refusal(jsontext.Object(reply["refused"])).next_step)


def test_any_other_fault_of_a_lock_is_not_taken_for_a_missing_one(
    layout: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    refuse_locks(monkeypatch, errno.EIO)
    with pytest.raises(OSError, match="Input/output error"), files.lock(layout.start_lock):
        pass
