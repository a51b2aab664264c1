"""What carries the control connection is chosen before anything is authenticated."""

from __future__ import annotations

import base64
import subprocess
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.targets.ssh import address, link
from tests.support import Client, new_client
from tests.unit.targets.test_address import understood


@pytest.fixture
def client() -> Iterator[Client]:
    with new_client() as new:
        yield new


def make(path: Path, *form: str, passphrase: str = "") -> Path:
    words = ["ssh-keygen", "-q", *(form or ("-t", "ed25519")), "-N", passphrase, "-f", str(path)]
    subprocess.run(words, check=True)
    return path


def with_keys(*paths: Path, config: str = "", socket: str | None = None) -> address.Resolved:
    plain = "host gpu\nuser ana\nhostname 10.0.0.7\nport 22\n"
    return understood(plain + "".join(f"identityfile {path}\n" for path in paths) + config, socket)


@pytest.mark.parametrize(
    "form", ["-t ed25519", "-t rsa -b 1024", "-t ecdsa", "-t rsa -b 1024 -m PEM", "-t ecdsa -m PEM"]
)
def test_fabric_is_used_with_one_plain_key_of_any_kind(tmp_path: Path, form: str) -> None:
    assert link.reason_in_keys(with_keys(make(tmp_path / "key", *form.split()))) == ""


@pytest.mark.parametrize(
    ("form", "reason"),
    [
        ("-t ed25519", "has a passphrase"),
        ("-t rsa -b 1024 -m PEM", "has a passphrase"),
        ("-t rsa -b 1024 -m PKCS8", "has a passphrase"),
    ],
)
def test_a_key_with_a_passphrase_is_left_to_openssh(tmp_path: Path, form: str, reason: str) -> None:
    key = make(tmp_path / "key", *form.split(), passphrase="secret")
    assert reason in link.reason_in_keys(with_keys(key))


def test_keys_that_paramiko_may_not_read_are_left_to_openssh(tmp_path: Path) -> None:
    pkcs8 = make(tmp_path / "pkcs8", "-t", "ecdsa", "-m", "PKCS8")
    plain = make(tmp_path / "plain")
    assert "no plain private key" in link.reason_in_keys(with_keys(pkcs8))
    assert "no plain private key" in link.reason_in_keys(with_keys(Path(f"{plain}.pub")))
    assert "several keys" in link.reason_in_keys(with_keys(plain, pkcs8))
    assert "no key file" in link.reason_in_keys(with_keys(tmp_path / "none"))
    assert "has a token" in link.reason_in_keys(with_keys(plain, Path("/keys/%h")))
    Path(f"{plain}-cert.pub").touch()
    assert "certificate" in link.reason_in_keys(with_keys(plain))


def test_a_key_of_a_hardware_token_is_left_to_openssh(tmp_path: Path) -> None:
    """In the form of OpenSSH's PROTOCOL.key."""

    def packed(*parts: bytes) -> bytes:
        return b"".join(len(part).to_bytes(4, "big") + part for part in parts)

    public = packed(b"sk-ssh-ed25519@openssh.com", b"k" * 32, b"ssh:")
    body = b"openssh-key-v1\0" + packed(b"none", b"none", b"") + b"\0\0\0\1" + packed(public, b"p" * 99)
    lines = ["-----BEGIN OPENSSH PRIVATE KEY-----", *textwrap.wrap(base64.b64encode(body).decode(), 70)]
    (tmp_path / "key").write_text("\n".join([*lines, "-----END OPENSSH PRIVATE KEY-----", ""]))
    (tmp_path / "key").chmod(0o600)
    assert "only OpenSSH supports" in link.reason_in_keys(with_keys(tmp_path / "key"))


@pytest.mark.parametrize("content", [b"", b"-----BEGIN OPENSSH PRIVATE KEY-----\n", b"\xff" * 99, b"a " * 99])
def test_a_file_that_holds_no_key_is_left_to_openssh(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "key").write_bytes(content)
    (tmp_path / "key").chmod(0o600)
    assert link.reason_in_keys(with_keys(tmp_path / "key"))


def test_an_agent_matters_only_if_it_has_keys(tmp_path: Path, client: Client) -> None:
    """macOS starts one for every user."""
    programs = tmp_path / "bin"
    programs.mkdir()
    client.env["PATH"] = f"{programs}:{client.env['PATH']}"
    resolved = with_keys(make(tmp_path / "key"), socket="/tmp/agent")
    for code, reason in ((0, "the ssh agent has keys"), (1, ""), (2, "")):
        (programs / "ssh-add").write_text(f'#!/bin/sh\n[ "$SSH_AUTH_SOCK" = /tmp/agent ] && exit {code}\n')
        (programs / "ssh-add").chmod(0o755)
        assert link.reason_for_openssh(client.context(), resolved) == reason


def test_a_key_that_others_can_read_is_left_to_openssh_which_refuses_it(tmp_path: Path) -> None:
    key = make(tmp_path / "key")
    key.chmod(0o640)
    assert "can be read by others" in link.reason_in_keys(with_keys(key))


def test_a_reason_is_remembered_for_its_host_alone(tmp_path: Path, client: Client) -> None:
    key = make(tmp_path / "key")
    ctx = client.context()
    link.remember(ctx, with_keys(key), "the host allows too few sessions")
    assert link.reason_for_openssh(ctx, with_keys(key)) == "the host allows too few sessions"
    other = with_keys(key, config="hostkeyalias i-1\n")
    assert link.reason_for_openssh(ctx, other) == ""
    for damage in (b"[", b'{"reason": 3}', b'{"reason": "\\u001b[2J"}', b"\xff"):
        for file in (ctx.state_dir / "transports").iterdir():
            file.write_bytes(damage)
        assert link.reason_for_openssh(ctx, with_keys(key)) == ""


def test_what_the_configuration_adds_to_a_session_is_undone() -> None:
    config = (
        "remotecommand tmux\nsessiontype none\nrequesttty force\nclearallforwardings no\nforwardagent yes\n"
    )
    neutral = with_keys(config=config).neutral
    expected = "RemoteCommand=none RequestTTY=no SessionType=default ForwardAgent=no ClearAllForwardings=yes"
    assert set(neutral) == set(expected.split())
    assert with_keys().neutral == (), "an old ssh does not know an option that it does not print"
