"""The processes of a run are found by mark, descent and session, and reported where they cannot be ended."""

from __future__ import annotations

import mmap
import os
import secrets
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.core.layout import Layout, scratch
from orchestrator.onhost import files, processes, run_processes, shared_memory
from orchestrator.onhost.processes import Entry, Snapshot
from orchestrator.onhost.records import State
from orchestrator.onhost.supervisor import Supervisor
from tests.rigs.patience import wait_until

SUPERVISOR = {"pid": 10, "ticks": 1}
CHILD = {"pid": 20, "ticks": 2}
PANE, TAIL, TRAINER, SUDO, OTHER = 10, 11, 20, 21, 90
TABLE = {
    1: Entry(0, 1, 0),
    PANE: Entry(1, 10, 1),
    TAIL: Entry(10, 10, 2),
    TRAINER: Entry(10, 20, 2),
    SUDO: Entry(20, 20, 3),
    22: Entry(21, 22, 4),  # what sudo started, in a session of its own and without the mark
    OTHER: Entry(1, 90, 5),
}


def state(**changes: object) -> State:
    return State(**{"boot": processes.boot(), "supervisor": SUPERVISOR, "child": CHILD, **changes})  # type: ignore[arg-type]


def find(table: dict[int, Entry], of: State | None, marks: dict[str, list[int]] | None = None) -> list[int]:
    return run_processes.find("mark", of, Snapshot(table, marks or {}))


def without(*pids: int) -> dict[int, Entry]:
    """Return the table after these have ended: their children belong to init."""
    left = {pid: entry for pid, entry in TABLE.items() if pid not in pids}
    return {pid: entry._replace(parent=1) if entry.parent in pids else entry for pid, entry in left.items()}


def test_descendants_without_the_mark_belong_to_the_run() -> None:
    assert find(TABLE, state()) == [TRAINER, SUDO, 22]


def test_the_supervisor_and_what_shares_its_session_are_no_members() -> None:
    assert not {PANE, TAIL, OTHER} & set(find(TABLE, state(), {"mark": [TRAINER]}))


def test_a_supervisor_whose_session_began_outside_the_pid_namespace_has_no_members_in_it() -> None:
    """/proc shows session 0, also of what the first process of a machine started without a session."""
    outside = {pid: e._replace(session=0) for pid, e in TABLE.items() if pid in (PANE, TAIL, OTHER)}
    assert find(TABLE | outside, state(), {"mark": [TRAINER]}) == [TRAINER, SUDO, 22]


def test_a_session_mate_of_a_marked_process_is_found_without_a_supervisor() -> None:
    assert find(without(PANE, TAIL), None, {"mark": [TRAINER]}) == [TRAINER, SUDO, 22]
    assert find(without(PANE, TAIL, TRAINER), None, {"mark": [SUDO]}) == [SUDO, 22]


def test_recorded_processes_are_found_after_all_their_parents_have_ended() -> None:
    recorded = [{"pid": SUDO, "ticks": 3}, {"pid": 22, "ticks": 4}]
    assert find(without(PANE, TAIL, TRAINER, SUDO), state(processes=recorded)) == [22]


def test_a_reused_pid_is_no_member_of_the_run() -> None:
    recorded = [{"pid": OTHER, "ticks": 4}]
    assert find(without(PANE, TAIL, TRAINER, SUDO, 22), state(processes=recorded)) == []
    assert find(TABLE, state(boot="another:boot")) == []


def test_sessions_outside_of_a_pid_namespace_are_not_joined() -> None:
    table = {20: Entry(1, 0, 2), 21: Entry(1, 0, 3)}
    assert find(table, None, {"mark": [20]}) == [20]


def test_processes_that_may_not_be_signalled_are_returned_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[int] = []

    def kill(pid: int, number: int) -> None:
        sent.append(pid)
        raise PermissionError

    monkeypatch.setattr(os, "kill", kill)
    assert processes.kill(lambda: [77], seconds=10**6) == [77]
    assert sent == [77]


@pytest.fixture
def sleeper() -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(["sleep", "1000"], start_new_session=True, env={})
    # Popen returns once the kernel has begun to replace the program, before it shows the new command line.
    wait_until(lambda: b"1000" in Path(f"/proc/{process.pid}/cmdline").read_bytes(), "sleep has been started")
    yield process
    process.kill()
    process.wait()


def test_a_real_process_is_found_by_its_record_and_described(sleeper: subprocess.Popen[bytes]) -> None:
    record = run_processes.identities([sleeper.pid])
    assert run_processes.find("", State(boot=processes.boot(), processes=record)) == [sleeper.pid]
    described = processes.describe(sleeper.pid)
    assert (described["pid"], described["command"]) == (sleeper.pid, "sleep 1000")
    assert f"pid {sleeper.pid} of {described['user']} (sleep 1000)" == run_processes.text([sleeper.pid])
    sleeper.send_signal(signal.SIGKILL)
    sleeper.wait()
    assert run_processes.find("", State(boot=processes.boot(), processes=record)) == []


def test_a_process_that_writes_to_the_log_is_found_without_a_mark(tmp_path: Path) -> None:
    """As one that left its session and cleared its environment before the supervisor was killed."""
    log = tmp_path / "log"
    with log.open("ab") as file:
        process = subprocess.Popen(["sleep", "1000"], start_new_session=True, env={}, stdout=file)
    with process:
        assert run_processes.find("", None, log=str(log)) == [process.pid]
        log.unlink()
        assert run_processes.find("", None, log=str(log)) == [process.pid]
        assert run_processes.find("", None, log=str(tmp_path / "other" / "log")) == []
        process.kill()
    assert run_processes.find("", None, log=str(log)) == []


MAIN_THREAD_ENDS = """
import ctypes, threading, time
threading.Thread(target=time.sleep, args=(1000,)).start()
print("started", flush=True)
ctypes.CDLL(None).pthread_exit(None)
"""


def test_a_process_whose_main_thread_has_ended_is_found_and_ended() -> None:
    mark = secrets.token_hex(16)
    words, env = [sys.executable, "-c", MAIN_THREAD_ENDS], {"GPUJOB_MARK": mark}
    with subprocess.Popen(words, env=env, stdout=subprocess.PIPE, start_new_session=True) as process:
        assert process.stdout
        assert process.stdout.readline()
        wait_until(lambda: processes._stat(process.pid)[0] == "Z", "the main thread has ended")
        assert run_processes.find(mark, None) == [process.pid]
        assert sys.executable in str(processes.describe(process.pid)["command"])
        assert processes.is_alive(processes.identity(process.pid), processes.boot())
        processes.kill_marked(mark)
        assert process.wait() == -signal.SIGKILL
        assert run_processes.find(mark, None) == []


def test_a_supervisor_records_and_warns_of_what_it_may_not_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = "job-20261121T101112-1a2b"
    layout = Layout(str(tmp_path))
    Path(layout.run(run).folder).mkdir(parents=True)
    files.write_json(layout.run(run).run_json, {"id": run, "mark": "f" * 32})
    supervisor = Supervisor(layout.root, run)
    try:
        monkeypatch.setattr(run_processes, "find", lambda *_, **__: [os.getppid()])
        monkeypatch.setattr(processes, "send", lambda pids, _: list(pids))
        supervisor._kill()
        supervisor._kill()
    finally:
        os.close(supervisor.log)
        shutil.rmtree(scratch("f" * 32), ignore_errors=True)
    state = State.load(layout.run(run).state)
    assert state
    assert [one["pid"] for one in state.left] == [os.getppid()]
    warnings = Path(layout.run(run).events).read_text().splitlines()
    assert len(warnings) == 1
    assert f"this user may not end pid {os.getppid()} of" in warnings[0]


@pytest.fixture
def shared_file() -> Iterator[Path]:
    path = Path(f"/dev/shm/gpujob-test-{secrets.token_hex(8)}")
    yield path
    path.unlink(missing_ok=True)


def map_file(path: Path) -> mmap.mmap:
    with path.open("w+b") as file:
        file.truncate(mmap.PAGESIZE)
        return mmap.mmap(file.fileno(), 0)


def test_shared_memory_from_before_a_run_is_not_of_the_run(shared_file: Path) -> None:
    shared_file.touch()
    memory = shared_memory.SharedMemory([])
    with map_file(shared_file):
        assert str(shared_file) not in memory.find([os.getpid()])


@pytest.mark.parametrize("is_recorded", [False, True])
def test_shared_memory_that_a_run_makes_is_found(shared_file: Path, is_recorded: bool) -> None:
    if is_recorded:
        shared_file.touch()
    memory = shared_memory.SharedMemory([str(shared_file)] if is_recorded else [])
    with map_file(shared_file):
        assert str(shared_file) in memory.find([os.getpid()])


def test_a_file_below_another_folder_named_dev_shm_is_not_shared(tmp_path: Path, shared_file: Path) -> None:
    shared_file.touch()
    elsewhere = tmp_path / "dev" / "shm" / shared_file.name
    elsewhere.parent.mkdir(parents=True)
    with map_file(elsewhere):
        assert str(shared_file) not in shared_memory.mapped([os.getpid()])


def test_shared_memory_of_a_container_is_not_that_of_the_host(
    shared_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shared_file.touch()
    about = shared_file.stat()
    line = "7f0-7f1 rw-s 00000000 %02x:%02x %d   " + str(shared_file)
    own = line % (os.major(about.st_dev), os.minor(about.st_dev), about.st_ino)
    other = line % (os.major(about.st_dev), os.minor(about.st_dev) + 1, about.st_ino)
    for text, found in ((own, {str(shared_file)}), (other, set())):
        monkeypatch.setattr(processes, "content", lambda *_, text=text: text.encode())
        assert shared_memory.mapped([1]) == found


def test_a_log_that_is_a_link_does_not_take_the_processes_of_another_run(tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    (tmp_path / "run").mkdir()
    (tmp_path / "moved").symlink_to("other")
    (tmp_path / "run" / "log").symlink_to("../other/log")
    real = str(tmp_path.resolve() / "other" / "log")
    snapshot = Snapshot({77: processes.Entry(1, 77, 5)}, {}, {real: [77]})
    found = [run_processes.find("", None, snapshot, f"{tmp_path}/{name}/log") for name in ("run", "moved")]
    assert found == [[], [77]]


def test_threads_of_the_kernel_are_not_searched_for_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    """They are half of the processes of many hosts, and have neither environment nor files."""
    own = os.getpid()
    flags = {own: "4194304", 2: "2129984"}
    fields = {pid: ["S", "0", "0", "0", "0", "-1", flag, *["1"] * 20] for pid, flag in flags.items()}
    read: list[int] = []
    monkeypatch.setattr(processes, "_pids", lambda: list(flags))
    monkeypatch.setattr(processes, "_stat", lambda pid: fields[pid])
    monkeypatch.setattr(processes, "variable", lambda pid, _: read.append(pid))
    monkeypatch.setattr(processes, "_output_path", lambda pid, _: read.append(pid) or "")
    snapshot = processes.snapshot()
    assert {pid: entry.is_kernel for pid, entry in snapshot.table.items()} == {own: False, 2: True}
    assert set(read) == {own}


def test_a_process_whose_name_is_no_text_is_found_like_any_other() -> None:
    """The kernel cuts a name after 15 bytes, also within a letter."""
    name = "open('/proc/self/comm', 'wb').write(b'training-\\xc3'); print(flush=True); input()"
    process = subprocess.Popen([sys.executable, "-c", name], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    with process:
        assert process.stdout
        process.stdout.readline()
        assert processes.table()[process.pid].parent == os.getpid()
        process.communicate(b"\n", timeout=60)
