"""The helper of a host is sent if it is missing, as often as necessary."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from orchestrator.errors import GpujobError, Unreachable
from orchestrator.targets.helper_host import StartFailure
from orchestrator.targets.ssh import address, bootstrap, openssh
from orchestrator.targets.ssh.bootstrap import PythonFailure
from orchestrator.targets.ssh.host import SshHost
from tests.support import Client, new_client


@pytest.fixture
def client() -> Iterator[Client]:
    with new_client() as new:
        yield new


def opened(client: Client, monkeypatch: pytest.MonkeyPatch, answers: list[str]) -> list[str]:
    """Start the helper of a host that gives `answers` to the attempts; return the actions taken."""
    actions: list[str] = []
    pipe = SimpleNamespace(close=lambda: None)

    def begin(_host: SshHost, _line: str) -> tuple[str, Any, Any]:
        actions.append(answers.pop(0))
        return actions[-1], pipe, None

    monkeypatch.setattr(SshHost, "_begin", begin)
    monkeypatch.setattr(SshHost, "_send_bundle", lambda _host: actions.append("sent"))
    typed = address.Typed("gpu", "127.0.0.1", "ubuntu", None, ())
    host = SshHost(client.context(), SimpleNamespace(typed=typed))  # type: ignore[arg-type]
    host.open("serve")
    return actions


def test_a_helper_that_a_volume_was_mounted_over_is_sent_again(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """During the boot of a spot instance, its volume is mounted over the home."""
    assert opened(client, monkeypatch, ["missing", "missing", "ready"]) == [
        *("missing", "sent", "missing", "sent", "ready")
    ]


def test_a_helper_that_vanishes_is_distinguished_from_a_missing_python(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(Unreachable, match="does not keep the helper"):
        opened(client, monkeypatch, ["missing"] * 9)
    with pytest.raises(GpujobError, match="has no python3"):
        opened(client, monkeypatch, ["python"])
    with pytest.raises(GpujobError, match=r"needs Python 3\.8 or newer; found 3\.6\.15 at /usr/bin/python3"):
        opened(client, monkeypatch, ["old 3.6.15 /usr/bin/python3"])


def test_a_python_that_does_not_run_is_reported_if_no_other_does(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    shim = PythonFailure("no Python of gpu runs", "pyenv: python3: command not found")
    lines: list[str] = []

    def begin(_host: SshHost, line: str) -> tuple[str, Any, Any]:
        lines.append(line)
        if len(lines) == 1:
            raise shim
        return "python", SimpleNamespace(close=lambda: None), None

    monkeypatch.setattr(SshHost, "_begin", begin)
    host = SshHost(client.context(), SimpleNamespace(typed=address.Typed("gpu", "gpu")))  # type: ignore[arg-type]
    with pytest.raises(PythonFailure) as error:
        host.open("helper")
    assert error.value is shim
    assert lines == [bootstrap.command("helper"), bootstrap.command("helper", try_pythons=True)]


class SlowPipe:
    """A command behind start-up files that take `seconds` and print text at `prints`."""

    def __init__(self, seconds: float, prints: tuple[float, ...] = ()) -> None:
        self.now = 0.0
        self.output = [*((at, b"welcome\n") for at in prints), (seconds, b"\x1egpujob ready /root\n")]
        self.is_closed = False
        self.reads_input = False

    def end_input(self) -> None:
        if self.reads_input:
            self.output[0] = (self.now + 1, b"")

    def wait(self, seconds: float) -> bool:
        at = self.output[0][0]
        self.now = min(self.now + seconds, max(at, self.now))
        return self.now >= at

    def receive(self) -> bytes:
        at, block = self.output.pop(0)
        assert self.now >= at, "the patience of `receive` is that of a helper that answers"
        return block

    def close(self) -> None:
        self.is_closed = True


def start(client: Client, pipe: SlowPipe, timeout: int | None = None, answers: bool = True) -> str:
    """Open a helper over the pipe; return what the user was told."""
    ctx = client.context()
    typed = address.Typed("gpu", "127.0.0.1", "ubuntu", None, ())
    resolved = SimpleNamespace(typed=typed, connect_timeout=timeout)
    host = SshHost(ctx, resolved)  # type: ignore[arg-type]
    host._link = SimpleNamespace(open=lambda _: pipe, answers=lambda: answers)  # type: ignore[assignment]
    host.open("helper")
    return ctx.stderr.getvalue()  # type: ignore[attr-defined, no-any-return]


@pytest.mark.parametrize(("seconds", "prints"), [(17, ()), (45, (2, 30)), (59, ())])
def test_slow_start_up_files_are_waited_for_and_named(
    client: Client, seconds: float, prints: tuple[float, ...]
) -> None:
    told = start(client, SlowPipe(seconds, prints))
    assert "waiting for gpu: the start-up files of its shell" in told


def test_a_host_that_starts_the_helper_at_once_causes_no_note(client: Client) -> None:
    assert start(client, SlowPipe(0.1)) == ""


def test_start_up_files_that_never_end_are_reported_after_a_minute(client: Client) -> None:
    pipe = SlowPipe(1e9)
    with pytest.raises(StartFailure, match="within 60 s") as error:
        start(client, pipe)
    assert "~/.bashrc" in error.value.why
    assert "did not end" in error.value.why
    assert (pipe.now, pipe.is_closed) == (65, True)


def test_start_up_files_that_wait_for_input_are_told_from_slow_ones(client: Client) -> None:
    pipe = SlowPipe(1e9)
    pipe.reads_input = True
    with pytest.raises(StartFailure, match="did not run a command") as error:
        start(client, pipe)
    assert "read from stdin" in error.value.why
    assert (pipe.now, pipe.is_closed) == (61, True)


def test_a_longer_connect_timeout_of_the_user_is_respected(client: Client) -> None:
    start(client, SlowPipe(100), timeout=120)


def test_a_host_that_no_longer_answers_is_not_waited_for(client: Client) -> None:
    pipe = SlowPipe(1e9)
    with pytest.raises(Unreachable, match="stopped answering"):
        start(client, pipe, answers=False)
    assert pipe.now == 5


def test_a_host_whose_connections_are_kept_open_is_reported(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As by a program that a start-up file leaves in the background: ssh waits for its end."""
    monkeypatch.setattr(openssh, "_CHECK_SECONDS", 0.2)
    monkeypatch.setattr(openssh.OpenSSH, "ensure_master", lambda _: None)
    monkeypatch.setattr(openssh.OpenSSH, "words", lambda _: ["sh", "-c", "exec sleep 60"])
    resolved = SimpleNamespace(typed=address.Typed("gpu", "gpu"))
    with pytest.raises(StartFailure, match="does not end a connection") as error:
        openssh.OpenSSH(client.context(), resolved).check()  # type: ignore[arg-type]
    assert "~/.bashrc" in error.value.why


def test_the_sockets_of_ssh_are_elsewhere_if_tmp_cannot_be_used(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its folder there may be another user's, and /tmp may be read-only."""
    planted = client.home / "planted"
    planted.symlink_to(client.home)
    monkeypatch.setattr(openssh, "_FOLDER", str(planted))
    runtime = client.home / "run"
    client.env["XDG_RUNTIME_DIR"] = str(runtime)
    own = client.state_dir / "ssh"
    assert openssh._control_folder(client.context()) == own, "it does not create what the system creates"
    runtime.mkdir()
    used = openssh._control_folder(client.context())
    assert (used, used.stat().st_mode & 0o777) == (runtime / "gpujob-ssh", 0o700)
    monkeypatch.setattr(os, "access", lambda *_: False)
    with pytest.raises(GpujobError, match="no folder for the connections") as error:
        openssh._control_folder(client.context())
    assert "planted is not a folder of this user alone" in error.value.why
    monkeypatch.undo()
    client.env["XDG_RUNTIME_DIR"] = "/" + "x" * 60
    monkeypatch.setattr(openssh, "_FOLDER", str(planted))
    assert openssh._control_folder(client.context()) == own, "a socket there would have too long a path"
    assert Path(own).is_dir()
