"""Where machines share a folder of runs, a run of another machine is neither lost nor stopped from here."""

from __future__ import annotations

import fcntl
import os
import time
from pathlib import Path
from typing import Any

import pytest

from orchestrator.core import runfacts, runstate
from orchestrator.core.layout import Layout
from orchestrator.onhost import cleaning, elsewhere, files, processes, run_facts, run_processes, runs, staging
from orchestrator.onhost.errors import Refused
from orchestrator.onhost.records import RunSpec, State

RUN = "job-20261121T101112-1a2b"


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    root = Layout(str(tmp_path))
    Path(root.run(RUN).checkpoints).mkdir(parents=True)
    files.write_json(root.run(RUN).run_json, {"id": RUN, "job": "job", "mark": "m" * 32, "created": 1.0})
    return root


def record(layout: Layout, heartbeat: float = 0.0, **changes: Any) -> State:
    """Write the state of a run that is alive on the machine `node-a`."""
    paths = layout.run(RUN)
    known = {
        "host": "node-a",
        "machine": "a" * 32,
        "boot": "another:boot",
        "heartbeat": heartbeat or time.time(),
    }
    supervisor = {"pid": os.getpid(), "ticks": 1}
    files.write_json(paths.state, {"id": RUN, "supervisor": supervisor, "started": 1.0, **known, **changes})
    if heartbeat:
        os.utime(paths.state, (heartbeat, heartbeat))
    state = State.load(paths.state)
    assert state
    return state


def shown(layout: Layout) -> runstate.RunState:
    run = run_facts.find(layout, RUN, 5)
    assert run
    facts = runfacts.parse_run(run.to_json())
    assert facts
    return runstate.fold(facts, time.time())


def test_a_machine_that_hides_its_boot_id_is_told_from_others(monkeypatch: pytest.MonkeyPatch) -> None:
    """As some containers do."""
    monkeypatch.setattr(processes, "_BOOT_ID", "/proc/sys/none")
    boot = processes.boot.__wrapped__
    assert os.uname().nodename in boot()
    assert boot() == boot()
    own = processes.identity(os.getpid())
    assert processes.is_alive(own, processes.boot())


def test_a_run_of_another_machine_is_elsewhere_by_its_name(layout: Layout) -> None:
    record(layout)
    state = shown(layout)
    assert isinstance(state, runstate.Elsewhere)
    assert state.host == "node-a"
    assert isinstance(state, runstate.GOING)


@pytest.mark.parametrize("operation", ["stop", "resume", "clean"])
def test_only_the_other_machine_may_stop_resume_or_clean_its_run(layout: Layout, operation: str) -> None:
    record(layout)
    before = Path(layout.run(RUN).state).read_bytes()
    operations = {
        "stop": lambda: runs.stop(layout, RUN, "me", True),
        "resume": lambda: runs.start(layout, runs.StartRequest(RunSpec.parse({"id": RUN}), resume=True)),
        "clean": lambda: cleaning.clean(layout, RUN, True),
    }
    with pytest.raises(Refused, match="node-a") as refused:
        operations[operation]()
    assert refused.value.kind == "elsewhere"
    assert Path(layout.run(RUN).state).read_bytes() == before


def test_the_log_of_a_run_elsewhere_is_followed_and_fetched_as_a_copy(layout: Layout) -> None:
    record(layout)
    log = Path(layout.run(RUN).folder, "log")
    log.write_text("line\n")
    assert not run_processes.has_ended(layout, RUN)
    staging.stage(layout, RUN, "all")
    assert log.stat().st_nlink == 1  # a link would change under its hash


def test_a_stale_heartbeat_of_another_machine_is_lost_and_names_it(layout: Layout) -> None:
    record(layout, heartbeat=time.time() - 10 * elsewhere.FRESH)
    state = shown(layout)
    assert isinstance(state, runstate.Lost)
    assert state.host == "node-a"


def test_a_lock_that_is_held_proves_that_a_run_is_alive(layout: Layout) -> None:
    record(layout, heartbeat=time.time() - 10 * elsewhere.FRESH)
    with Path(layout.run(RUN).alive).open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        assert isinstance(shown(layout), runstate.Elsewhere)
    assert isinstance(shown(layout), runstate.Lost)


def test_a_run_before_a_reboot_of_this_machine_is_lost_at_once(layout: Layout) -> None:
    record(layout, host=elsewhere.host_name(), machine=elsewhere.machine_id())
    state = shown(layout)
    assert isinstance(state, runstate.Lost)
    assert state.host is None


def test_a_supervisor_holds_the_lock_and_its_children_do_not(layout: Layout) -> None:
    paths = layout.run(RUN)
    handle = elsewhere.hold(paths)
    assert handle is not None
    assert not os.get_inheritable(handle)
    state = record(layout, heartbeat=1.0, host="")
    assert elsewhere.find(paths, state) == "another machine"
    os.close(handle)
    assert elsewhere.find(paths, state) is None


def test_machines_that_share_a_root_have_sockets_of_their_own(
    layout: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(elsewhere, "_is_shared", lambda root: True)
    here = elsewhere.layout(layout.root)
    monkeypatch.setattr(elsewhere, "host_name", lambda: "node-b")
    assert here.tmux_socket != elsewhere.layout(layout.root).tmux_socket
    assert here.run(RUN).folder == layout.run(RUN).folder


def test_a_stage_of_another_machine_is_kept_for_a_week(layout: Layout) -> None:
    parent = Path(layout.run(RUN).stage)
    names = ("1-999-1", "1-999-1-" + elsewhere.machine_key(), "1-999-1-00000000", "1-999-2-00000000")
    for name in names:
        (parent / name).mkdir(parents=True)
    os.utime(parent / names[3], (1.0, 1.0))
    own = staging.make_own_folder(str(parent))
    assert {path.name for path in parent.iterdir()} == {names[2], own}
    again = staging.make_own_folder(str(parent))
    assert {path.name for path in parent.iterdir()} == {names[2], own, again}


@pytest.mark.parametrize(
    ("kind", "shared"),
    [
        *((kind, True) for kind in ("nfs4", "lustre", "fuse", "fuse.sshfs", "ocfs2")),
        *((kind, False) for kind in ("ext4", "overlay", "fuseblk")),
    ],
)
def test_a_network_file_system_is_recognised_by_its_mount(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, kind: str, shared: bool
) -> None:
    mounts = tmp_path / "mountinfo"
    mounts.write_text(f"1 0 8:1 / / rw - ext4 /dev/a rw\n2 1 0:5 / /home rw shared:1 - {kind} srv:/home rw\n")
    monkeypatch.setattr(elsewhere, "_MOUNTS", str(mounts))
    monkeypatch.setattr(os.path, "realpath", lambda path: path)
    assert elsewhere._is_shared("/home/ana/.gpujob") is shared
    assert elsewhere._is_shared("/homes/.gpujob") is False


def test_a_mount_may_have_a_name_with_blanks(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    mounts = tmp_path / "mountinfo"
    mounts.write_text("1 0 8:1 / / rw - ext4 /dev/a rw\n2 1 0:5 / /our\\040homes rw - nfs srv:/home rw\n")
    monkeypatch.setattr(elsewhere, "_MOUNTS", str(mounts))
    monkeypatch.setattr(os.path, "realpath", lambda path: path)
    assert elsewhere._is_shared("/our homes/ana/.gpujob")


def test_a_mount_may_have_a_name_that_is_not_text(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    mounts = tmp_path / "mountinfo"
    mounts.write_bytes(b"1 0 8:1 / / rw - ext4 /dev/a rw\n2 1 0:5 / /media/cl\xe9 rw - cifs //srv/a rw\n")
    monkeypatch.setattr(elsewhere, "_MOUNTS", str(mounts))
    monkeypatch.setattr(os.path, "realpath", lambda path: path)
    assert elsewhere._is_shared("/home/ana/.gpujob") is False
    assert elsewhere._is_shared(os.fsdecode(b"/media/cl\xe9/.gpujob")) is True
