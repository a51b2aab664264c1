"""A FakeHost has its own home, keys and processes, which end with it."""

from __future__ import annotations

import os
import shlex
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.rigs import keys, needs
from tests.rigs.fakehost import FakeHost
from tests.rigs.patience import PATIENCE, wait_until
from tests.rigs_test.conftest import Machines

ISOLATED = [True, False] if needs.is_root() else [False]


def run(*words: str, **more: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(words, capture_output=True, text=True, timeout=PATIENCE, check=False, **more)  # type: ignore[call-overload, no-any-return]


def ssh_with_key(host: FakeHost, key: Path) -> subprocess.CompletedProcess[str]:
    options = [word.replace(str(host.user_key), str(key)) for word in host.ssh_options()]
    return run("ssh", *options, "fakehost", "echo in")


def in_background(host: FakeHost) -> Callable[[], bool]:
    """Start a daemon over SSH that locks a file; return a function that tests whether it is alive."""
    lock = host.home / "lock"
    result = host.ssh(f"setsid flock -n {lock} sleep 600 >/dev/null 2>&1 </dev/null & sleep 0.1")
    assert result.returncode == 0, result.stderr
    return lambda: run("flock", "-n", str(lock), "true").returncode != 0


def test_three_hosts_at_once_have_separate_homes_and_keys(machine: Machines) -> None:
    hosts = [machine(ip=f"127.0.0.{n}") for n in (2, 3, 4)]
    for host in hosts:
        assert host.ssh(f"echo {host.ip} > ~/own && pwd").stdout == f"{host.home}\n"
    assert [host.ssh("cat own").stdout.strip() for host in hosts] == [host.ip for host in hosts]
    assert len({host.fingerprint() for host in hosts}) == 3
    assert "Permission denied (publickey)" in ssh_with_key(hosts[0], hosts[1].user_key).stderr


def test_a_swapped_host_key_is_refused(machine: Machines) -> None:
    host = machine(ip="127.0.0.2")
    before = host.fingerprint()
    assert host.ssh("true").returncode == 0
    host.swap_host_key()
    result = host.ssh("true")
    assert result.returncode == 255
    assert "REMOTE HOST IDENTIFICATION HAS CHANGED" in result.stderr
    assert host.fingerprint() in result.stderr
    assert host.fingerprint() != before


def test_the_fingerprint_and_the_known_hosts_line_are_openssh_s(machine: Machines, tmp_path: Path) -> None:
    host = machine(ip="127.0.0.2")
    known = tmp_path / "known_hosts"
    known.write_text(host.known_hosts_line() + "\n")
    assert host.fingerprint() in run("ssh-keygen", "-l", "-f", str(known)).stdout
    scanned = run("ssh-keyscan", "-t", "ed25519", "-p", str(host.port), host.ip).stdout
    assert scanned.strip() == host.known_hosts_line()


def test_a_user_s_config_reaches_the_machine_by_its_alias(machine: Machines, tmp_path: Path) -> None:
    host = machine(ip="127.0.0.2")
    config, known = tmp_path / "config", tmp_path / "known_hosts"
    config.write_text(host.ssh_config("gpu") + f"  UserKnownHostsFile {known}\n  IdentityAgent none\n")
    known.write_text(host.known_hosts_line() + "\n")
    assert run("ssh", "-F", str(config), "-o", "BatchMode=yes", "gpu", "pwd").stdout == f"{host.home}\n"


@pytest.mark.parametrize("isolate", ISOLATED)
def test_kill_machine_ends_what_runs_in_the_background(machine: Machines, isolate: bool) -> None:
    host = machine(ip="127.0.0.2", isolate=isolate)
    alive = in_background(host)
    assert alive()
    host.kill_machine()
    assert not alive()
    assert "Connection refused" in host.ssh("true").stderr


@pytest.mark.parametrize("isolate", ISOLATED)
def test_a_reboot_keeps_the_disk_and_the_keys_and_ends_every_process(
    machine: Machines, isolate: bool
) -> None:
    host = machine(ip="127.0.0.2", isolate=isolate)
    before = (host.address, host.known_hosts_line())
    alive = in_background(host)
    host.ssh("echo kept > file")
    host.reboot()
    assert not alive()
    assert host.ssh("cat file").stdout == "kept\n"
    assert (host.address, host.known_hosts_line()) == before


@pytest.mark.root
def test_nothing_outlives_a_test_process_that_is_killed(machine: Machines, tmp_path: Path) -> None:
    needs.require("flock")
    script = f"""
import os, signal
from pathlib import Path
from tests.rigs.fakehost import FakeHost
host = FakeHost(Path({str(tmp_path / "m")!r}), ip="127.0.0.9")
host.start()
host.ssh("setsid flock ~/lock sleep 600 >/dev/null 2>&1 </dev/null & sleep 0.1")
print(host.port, os.system(f"flock -n {{host.home}}/lock true"), flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""
    result = run(sys.executable, "-c", script, cwd=Path(__file__).parent.parent.parent)
    port, locked = result.stdout.split()
    assert (result.returncode, int(locked) != 0) == (-9, True), result.stderr
    lock = tmp_path / "m/home/lock"
    wait_until(lambda: run("flock", "-n", str(lock), "true").returncode == 0, "it has ended")
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.9", int(port)), timeout=PATIENCE)


def test_a_noisy_bashrc_prints_in_front_of_every_command(machine: Machines, tmp_path: Path) -> None:
    host = machine(ip="127.0.0.2", noisy_bashrc="Welcome; it's $5")
    assert host.ssh("echo done").stdout == "Welcome; it's $5\ndone\n"
    shell = shlex.join(["ssh", *host.ssh_options()])
    assert "is your shell clean" in run("rsync", "-e", shell, __file__, f"fakehost:{tmp_path}").stderr


def test_the_shell_and_the_locale_are_the_given_ones(machine: Machines) -> None:
    host = machine(ip="127.0.0.2", shell="dash", locale="C", noisy_bashrc="not read by dash")
    assert host.ssh("echo $0 $SHELL; locale charmap").stdout.split() == [
        needs.tool("dash"),
        needs.tool("dash"),
        "ANSI_X3.4-1968",
    ]


def test_the_default_locale_is_utf8_and_no_client_variable_is_passed(
    machine: Machines, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LC_ALL", "C")
    host = machine(ip="127.0.0.2")
    assert host.ssh("locale charmap; echo $LC_ALL").stdout == "UTF-8\n\n"


def test_a_planted_program_precedes_the_system_one(machine: Machines, tmp_path: Path) -> None:
    tools = tmp_path / "tools"
    tools.mkdir()
    (tools / "git").symlink_to("/bin/echo")
    host = machine(ip="127.0.0.2", path_prepend=(tools,))
    host.plant("tmux", "#!/bin/sh\necho tmux 1.8\n")
    assert host.ssh("tmux -V; git planted").stdout == "tmux 1.8\nplanted\n"


def test_rsa_and_encrypted_keys_are_accepted_and_an_unknown_key_is_not(machine: Machines) -> None:
    host = machine(ip="127.0.0.2")
    rsa = host.add_key("id_rsa", "rsa")
    assert "BEGIN RSA PRIVATE KEY" in rsa.read_text()
    assert ssh_with_key(host, rsa).stdout == "in\n"
    assert ssh_with_key(host, host.add_key("stranger", known=False)).returncode == 255
    locked = host.add_key("locked", passphrase="secret")
    assert ssh_with_key(host, locked).returncode == 255
    assert run("ssh-keygen", "-p", "-q", "-P", "secret", "-N", "", "-f", str(locked)).returncode == 0
    assert ssh_with_key(host, locked).stdout == "in\n"


def test_sftp_and_scp_reach_the_home(machine: Machines, tmp_path: Path) -> None:
    host = machine(ip="127.0.0.2")
    sent, back = tmp_path / "sent", tmp_path / "back"
    sent.write_text("some text")
    assert run("scp", *host.ssh_options(), str(sent), "fakehost:got").returncode == 0
    assert (host.home / "got").read_text() == "some text"
    assert run("sftp", *host.ssh_options(), "fakehost:got", str(back)).returncode == 0
    assert back.read_text() == "some text"


def test_given_sshd_lines_take_precedence_and_the_log_is_readable(machine: Machines) -> None:
    host = machine(ip="127.0.0.2", config="LogLevel DEBUG1\nAcceptEnv LANG\n")
    assert host.ssh("echo $LANG", env={**os.environ, "LANG": "C"}).returncode == 0
    assert host.fingerprint() not in host.log_text()
    assert f"Accepted key ED25519 {keys.fingerprint(keys.public_key(host.user_key))}" in host.log_text()
    assert "debug1:" in host.log_text()


def test_an_sshd_that_does_not_start_reports_the_reason(machine: Machines) -> None:
    with pytest.raises(RuntimeError, match="Bad configuration option: Nonsense"):
        machine(ip="127.0.0.2", config="Nonsense yes")


@pytest.mark.root
def test_machines_have_a_tmp_of_their_own_which_a_reboot_empties(machine: Machines) -> None:
    one, two = machine(ip="127.0.0.2"), machine(ip="127.0.0.3")
    one.ssh("touch /tmp/mine")
    assert (one.folder / "tmp/mine").exists()
    assert [host.ssh("ls -d /tmp/mine").returncode for host in (one, two)] == [0, 2]
    one.reboot()
    assert one.ssh("ls -d /tmp/mine").returncode == 2
