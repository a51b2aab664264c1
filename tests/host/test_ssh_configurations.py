"""Configurations of ssh_config and sshd: each command works wherever plain `ssh` connects."""

from __future__ import annotations

import os
import pty
import re
import shlex
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from orchestrator import registry
from orchestrator.commands import config
from orchestrator.onhost import folders
from tests.host.chaos import Trials
from tests.host.machines import log_in_to, new_machine
from tests.rigs import keys
from tests.rigs.fakehost import FakeHost
from tests.rigs.patience import wait_until
from tests.support import Client

pytestmark = pytest.mark.sshd
ON = ("--on", "GpuBox")


@dataclass
class Setting:
    """A user's machine and a host that is about to be configured."""

    client: Client
    machine: FakeHost
    stack: ExitStack
    lines: list[str] = field(default_factory=list)

    @property
    def home(self) -> Path:
        return self.client.home

    def key(self, line: str) -> None:
        """Replace the IdentityFile of the configuration."""
        self.lines.append(line)

    def agent(self, *paths: Path) -> None:
        """Start an agent with keys, for as long as the test runs."""
        socket_path = self.home / "agent"
        agent = subprocess.Popen(["ssh-agent", "-D", "-a", socket_path], stdout=subprocess.DEVNULL)
        self.stack.callback(agent.wait)
        self.stack.callback(agent.kill)
        wait_until(socket_path.exists, "the agent listens")
        self.client.env["SSH_AUTH_SOCK"] = str(socket_path)
        subprocess.run(["ssh-add", "-q", *paths], env=self.client.env, check=True)

    def plain_ssh(self, *words: str) -> subprocess.Popen[bytes]:
        settings = ("BatchMode=yes", "RemoteCommand=none", "ClearAllForwardings=yes", "PermitLocalCommand=no")
        options = [word for setting in settings for word in ("-o", setting)]
        ssh = ["ssh", "-F", self.client.env["GPUJOB_SSH_CONFIG"], *options, *words]
        return subprocess.Popen(ssh, env=self.client.env)


def a_key_of_kind(form: str) -> Callable[[Setting], None]:
    def configure(at: Setting) -> None:
        key = at.machine.folder / "other"
        words = ["ssh-keygen", "-q", *shlex.split(form), "-N", "", "-f", str(key)]
        subprocess.run(words, check=True)
        with (at.machine.folder / "authorized_keys").open("w") as file:
            file.write(keys.public_key(key) + "\n")
        at.key(f"IdentityFile {key}")

    return configure


def lines(*text: str) -> Callable[[Setting], None]:
    return lambda at: at.lines.extend([*text, f"IdentityFile {at.machine.user_key}"])


def a_token_in_the_key_path(at: Setting) -> None:
    at.machine.user_key.rename(at.machine.folder / f"id_{at.machine.user}")
    at.key(f"IdentityFile {at.machine.folder}/id_%r")


def only_the_public_half_and_a_full_agent(at: Setting) -> None:
    others = [at.machine.add_key(f"other{number}", known=False) for number in range(7)]
    at.agent(*others, at.machine.user_key)
    at.key(f"IdentityFile {keys.public_half(at.machine.user_key)}")
    at.lines.append("IdentitiesOnly yes")
    at.machine.user_key.unlink()


def an_encrypted_key_in_the_agent(at: Setting) -> None:
    at.agent(at.machine.user_key)
    subprocess.run(["ssh-keygen", "-q", "-p", "-N", "secret", "-f", at.machine.user_key], check=True)
    at.key(f"IdentityFile {at.machine.user_key}")


def two_keys_in_turn(at: Setting) -> None:
    at.key(f"IdentityFile {at.machine.user_key}")
    at.key(f"IdentityFile {at.machine.add_key('second')}")


def a_port_that_is_taken(at: Setting) -> None:
    taken = at.stack.enter_context(socket.create_server(("127.0.0.1", 0)))
    forward = f"LocalForward {taken.getsockname()[1]} localhost:1"
    lines(forward, "ExitOnForwardFailure yes")(at)


def a_proxy_command(at: Setting) -> None:
    machine = at.machine
    trust = "-o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o LogLevel=QUIET"
    hop = f"{machine.user}@{machine.ip} -p {machine.port}"
    lines(f"ProxyCommand ssh -F none -i {machine.user_key} {trust} -W %h:%p {hop}")(at)


def the_users_own_master(at: Setting) -> None:
    lines(f"ControlPath {at.home}/cm-%C")(at)


def a_certified_host_key(at: Setting) -> None:
    authority = keys.make_key(at.home / "authority")
    host_key = at.machine.folder / "host_key.pub"
    words = ["ssh-keygen", "-q", "-s", str(authority), "-I", "host", "-h", str(host_key)]
    subprocess.run(words, check=True)
    name = f"[{at.machine.ip}]:{at.machine.port}"
    (at.home / "user_known_hosts").write_text(f"@cert-authority {name} {keys.public_key(authority)}\n")
    lines()(at)


def a_user_certificate(at: Setting) -> None:
    authority = keys.make_key(at.home / "authority")
    words = ["ssh-keygen", "-q", "-s", str(authority), "-I", "u", "-n", at.machine.user]
    subprocess.run([*words, str(keys.public_half(at.machine.user_key))], check=True)
    line = f"cert-authority {keys.public_key(authority)}\n"
    (at.machine.folder / "authorized_keys").write_text(line)
    lines()(at)


@dataclass(frozen=True)
class Case:
    """What is done to the client, lines for sshd, and what carries the control connection then.

    `has_master`: the user has an open connection, and the host accepts no other. `is_rare`: tested with
    GPUJOB_TEST_FULL alone.
    """

    name: str
    configure: Callable[[Setting], None]
    sshd: str = ""
    transport: str = "OpenSSH"
    has_master: bool = False
    is_rare: bool = False


CASES = [
    Case("plain", lines(), transport="fabric"),
    Case("chacha20 only", lines(), "Ciphers chacha20-poly1305@openssh.com"),
    Case("sntrup761 only", lines(), "KexAlgorithms sntrup761x25519-sha512@openssh.com"),
    Case("a PKCS#8 key", a_key_of_kind("-t ecdsa -m PKCS8")),
    Case("a PEM key", a_key_of_kind("-t ecdsa -m PEM"), transport="fabric", is_rare=True),
    Case("a token in IdentityFile", a_token_in_the_key_path, is_rare=True),
    Case("IdentitiesOnly, .pub, full agent", only_the_public_half_and_a_full_agent),
    Case("an encrypted key in the agent", an_encrypted_key_in_the_agent, "MaxAuthTries 1"),
    Case("two keys in turn", two_keys_in_turn, "AuthenticationMethods publickey,publickey"),
    Case("MaxSessions 1", lines(), "MaxSessions 1"),
    Case("the user's own master", the_users_own_master, has_master=True),
    Case("RemoteCommand", lines("RemoteCommand echo other", "RequestTTY force"), transport="fabric"),
    Case("a taken LocalForward", a_port_that_is_taken, transport="fabric"),
    Case("no session", lines("SessionType none", "StdinNull yes"), transport="fabric", is_rare=True),
    Case(
        "LocalCommand",
        lines("PermitLocalCommand yes", "LocalCommand echo local"),
        transport="fabric",
        is_rare=True,
    ),
    Case(
        "forwarded agent and X11",
        lines("ForwardAgent yes", "ForwardX11 yes"),
        transport="fabric",
        is_rare=True,
    ),
    Case("ProxyCommand", a_proxy_command, is_rare=True),
    Case("an algorithm of the client", lines("Ciphers chacha20-poly1305@openssh.com")),
    Case(
        "a host certificate",
        a_certified_host_key,
        "HostCertificate {folder}/host_key-cert.pub",
    ),
    Case("a user certificate", a_user_certificate, is_rare=True),
]


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
    shown = b""
    while text not in shown:
        try:
            shown += os.read(terminal, 1 << 16)
        except OSError:
            break
    assert text in shown, shown
    os.write(terminal, b"\x02d")
    while True:
        try:
            if not os.read(terminal, 1 << 16):
                break
        except OSError:
            break
    os.close(terminal)
    os.waitpid(pid, 0)


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


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_requests_files_and_shells_work_where_plain_ssh_does(
    setting: Setting, case: Case, trials: Trials
) -> None:
    if case.is_rare and not trials(0, 1):
        pytest.skip("with GPUJOB_TEST_FULL=1")
    allowed = log_in(setting, case)
    client, machine = setting.client, setting.machine
    doctor = client.run("doctor", *ON)
    assert doctor.code == 0, doctor.err
    assert case.transport in doctor.out
    data = client.write("set/a.txt", "data").parent
    ctx = client.context()
    with registry.target(ctx, config.load(ctx), ON[1]).connect() as host:
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
    if case.name not in trials(("MaxSessions 1",), [case.name for case in CASES]):
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
