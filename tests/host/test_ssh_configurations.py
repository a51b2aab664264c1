"""Configurations of ssh_config and sshd: each command works wherever plain `ssh` connects."""

from __future__ import annotations

import contextlib
import os
import pty
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from orchestrator import registry, settings_files
from orchestrator.onhost import folders
from tests.host.chaos import Trials
from tests.host.machines import log_in_to, new_machine
from tests.host.ssh_cases import CASES, Case, Setting
from tests.rigs.fakehost import FakeHost
from tests.rigs.patience import wait_until
from tests.support import Client

pytestmark = pytest.mark.sshd
ON = ("--on", "GpuBox")


@pytest.fixture
def setting(client: Client) -> Iterator[Setting]:
    with ExitStack() as stack:
        machine = new_machine(client)
        yield Setting(client, machine, stack)
        machine.kill_machine()


def start(at: Setting, case: Case) -> None:
    machine = at.machine
    case.configure(at)
    sshd_config = machine.folder / "sshd_config"
    extra = case.sshd.format(folder=machine.folder)
    sshd_config.write_text(f"{extra}\n{sshd_config.read_text()}")
    machine.start()
    log_in_to(at.client, machine, known=not (at.home / "user_known_hosts").exists(), name="GpuBox")
    written = at.home / "ssh_config"
    others = [line for line in written.read_text().splitlines() if "IdentityFile" not in line]
    written.write_text("\n  ".join([*others, *at.lines]) + "\n")


def rejected(machine: FakeHost) -> list[int]:
    """Return for each connection how many keys the host has rejected."""
    attempts: dict[str, int] = {}
    for line in machine.log_text().splitlines():
        if found := re.search(r"(?:Connection from|Failed publickey).*? port (\d+)", line):
            attempts[found[1]] = attempts.get(found[1], -1) + 1
    return list(attempts.values())


def shows(at: Setting, text: bytes, *words: str) -> None:
    """Run a command on a terminal until it shows `text`, then detach as a user does."""
    pid, terminal = pty.fork()
    if pid == 0:  # pragma: no cover
        gpujob = [sys.executable, "-c", "from orchestrator.cli import script; script()"]
        os.chdir(at.client.project)
        os.execve(sys.executable, [*gpujob, *words], {**at.client.env, "TERM": "xterm-256color"})
    received = []

    def read() -> None:
        with contextlib.suppress(OSError):  # how a terminal ends
            while block := os.read(terminal, 1 << 16):
                received.append(block)

    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    try:
        wait_until(lambda: text in b"".join(received) or not reader.is_alive(), "the command shows its text")
        assert text in b"".join(received), b"".join(received)
        wait_until(lambda: detached(terminal, reader), "the keys detach")
        wait_until(lambda: os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT), "the command ends")
    finally:
        os.kill(pid, signal.SIGKILL)  # it is not reaped yet
        os.waitpid(pid, 0)
        os.close(terminal)


def detached(terminal: int, reader: threading.Thread) -> bool:
    """Press the keys that detach, again as long as the command runs: tmux, while it starts, may drop them."""
    with contextlib.suppress(OSError):
        os.write(terminal, b"\x02d")
    reader.join(1.0)
    return not reader.is_alive()


def log_in(at: Setting, case: Case) -> int:
    """Start the host and log in with plain `ssh`; return how many keys the host rejected meanwhile."""
    start(at, case)
    words = ["-fNM", "GpuBox"] if case.has_master else ["-o", "ControlPath=none", "-N", "GpuBox"]
    ssh = at.plain_ssh(*words)
    wait_until(lambda: "Accepted publickey" in at.machine.log_text(), "plain ssh logs in")
    if case.has_master:
        ssh.wait()
        (at.machine.folder / "authorized_keys").write_text("")
    else:
        ssh.kill()
        ssh.wait()
    return max(rejected(at.machine))


OWN_MASTER = ("the user's own master",)
ADDED_TO_SESSIONS = ("RemoteCommand", "a taken LocalForward")


def cases(names: tuple[str, ...]) -> pytest.MarkDecorator:
    chosen = [case for case in CASES if case.name in names]
    assert len(chosen) == len(names)
    return pytest.mark.parametrize("case", chosen, ids=lambda case: case.name)


@cases(tuple(case.name for case in CASES if case.name not in OWN_MASTER + ADDED_TO_SESSIONS))
def test_requests_files_and_shells_work_where_plain_ssh_does(
    setting: Setting, case: Case, trials: Trials
) -> None:
    if case.is_rare and not trials(0, 1):
        pytest.skip("with GPUJOB_TEST_FULL=1")
    require_requests_files_and_shells(setting, case)


@cases(OWN_MASTER)
def test_an_open_connection_of_the_user_is_used_and_none_is_opened(setting: Setting, case: Case) -> None:
    """As after a login with a code that cannot be typed again: the host accepts no other."""
    require_requests_files_and_shells(setting, case)
    log = setting.machine.log_text()
    assert (log.count("Connection from"), log.count("Accepted publickey")) == (1, 1), log


@cases(ADDED_TO_SESSIONS)
def test_what_ssh_config_adds_to_a_session_stops_no_request(setting: Setting, case: Case) -> None:
    require_requests_files_and_shells(setting, case)


def require_requests_files_and_shells(setting: Setting, case: Case) -> None:
    allowed = log_in(setting, case)
    client, machine = setting.client, setting.machine
    doctor = client.run("doctor", *ON)
    assert doctor.code == 0, doctor.err
    assert case.transport in doctor.out
    data = client.write("set/a.txt", "data").parent
    ctx = client.context()
    with registry.target(ctx, settings_files.load(ctx), ON[1]).connect() as host:
        fingerprint = folders.describe("set", str(data)).fingerprint
        host.send_data("set", fingerprint, data, lambda count: None)
        folder = str(machine.home / ".gpujob/data/set" / fingerprint)
        host.receive(folder, ["a.txt"], client.project, lambda count: None)
        words, env = host.shell(None)
    assert (client.project / "a.txt").read_text() == "data"
    shell = subprocess.run([*words, "echo $((6*7))"], env=env, capture_output=True, check=False)
    assert b"42" in shell.stdout, shell.stderr
    assert max(rejected(machine)) <= allowed, machine.log_text()


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_every_command_works_where_plain_ssh_connects(setting: Setting, case: Case, trials: Trials) -> None:
    if case.name != "MaxSessions 1" and not trials(0, 1):
        pytest.skip("with GPUJOB_TEST_FULL=1")
    allowed = log_in(setting, case)
    client = setting.client
    client.write("set/a.txt", "data")
    client.write(".gitignore", "set/\n")
    body = "import os, time\nprint(open(os.environ['GPUJOB_DATA_SET'] + '/a.txt').read(), flush=True)\n"
    client.job(body + "open('out', 'w').write('42')\ntime.sleep(300)\n", data={"set": "set"}, outputs=["out"])
    deployed = client.run("deploy", "job", *ON)
    assert deployed.code == 0, deployed.err
    shows(setting, b"data", "monitor", "--attach", *ON)
    stopped = client.run("stop", *ON, "--now")
    assert stopped.code == 0, stopped.err
    assert client.run("monitor", "--stream", *ON).out == "data\n"
    fetched = client.run("fetch", *ON, "--to", "home")
    assert fetched.code == 0, fetched.err
    assert (client.project / "home/outputs/out").read_text() == "42"
    assert max(rejected(setting.machine)) <= allowed, setting.machine.log_text()


def test_an_unknown_host_key_is_shown_whatever_ssh_config_adds(client: Client, machine: FakeHost) -> None:
    more = f"  RemoteCommand echo\n  SessionType none\n  ControlPath {client.home}/cm-%C\n"
    log_in_to(client, machine, more, known=False, name="GpuBox")
    refused = client.run("status", *ON)
    assert refused.code == 4
    assert f"gpujob hosts attach GpuBox --fingerprint {machine.fingerprint()}" in refused.err


@pytest.mark.parametrize("what", ["a passphrase", "open permissions"])
def test_a_key_that_ssh_does_not_use_is_named_with_the_remedy(
    client: Client, machine: FakeHost, what: str
) -> None:
    log_in_to(client, machine, name="GpuBox")
    key = machine.user_key
    if what == "a passphrase":
        subprocess.run(["ssh-keygen", "-q", "-p", "-N", "secret", "-f", key], check=True)
    else:
        key.chmod(0o644)
    refused = client.run("status", *ON)
    assert (refused.code, "accepts no key" in refused.err) == (4, True)
    remedy = f"ssh-add {key}" if what == "a passphrase" else f"chmod 600 {key}"
    assert f"next: {remedy}" in refused.err
