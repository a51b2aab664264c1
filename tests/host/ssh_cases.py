"""Configurations of ssh_config and sshd with which plain `ssh` connects."""

from __future__ import annotations

import shlex
import socket
import subprocess
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from tests.rigs import keys
from tests.rigs.fakehost import FakeHost
from tests.rigs.patience import wait_until
from tests.support import Client


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
