"""A complete training on EC2: machines with real systemd, cloud-init, sshd and tmux."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

from orchestrator import files
from orchestrator.instances import boot, connection
from orchestrator.targets.ssh import hostkeys
from orchestrator.targets.ssh.host import SshHost
from tests.ec2 import user
from tests.ec2.test_rig import aws
from tests.ec2.user import UP
from tests.host.test_blendshapes import SETS
from tests.rigs.ec2.fake import FakeEC2
from tests.rigs.torchpython import environment as torchpython
from tests.support import Client, Result

HOST_KEY = "/etc/ssh/ssh_host_ed25519_key"
ON_BOX = ("--set", "resources.ec2.types=[g5.xlarge]")


def forking_trainings(client: Client, ec2: FakeEC2) -> tuple[str, ...]:
    """Let trainings of the client and of its instances be forked; return options of their deploy."""
    client.python = torchpython.shared().python
    ec2.set(visible=[*ec2.settings.visible, str(torchpython.shared().folder)])
    return ("--set", f"env.python={client.python}")


PRIVATE = re.compile(rb"-----BEGIN[A-Z ]* PRIVATE KEY-----")


@pytest.fixture
def typed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Record the arguments of every program that this process starts."""
    arguments: list[str] = []
    real = subprocess.Popen.__init__

    def begin(self: Any, args: Any, *more: Any, **kwargs: Any) -> None:
        arguments.extend([args] if isinstance(args, str) else map(str, args))
        real(self, args, *more, **kwargs)

    monkeypatch.setattr(subprocess.Popen, "__init__", begin)
    return arguments


def test_a_training_on_ec2_starts_and_ends_with_an_empty_account(
    ec2: FakeEC2, client: Client, typed: list[str]
) -> None:
    ec2.set(kind="booted")
    ec2.inject("RunInstances", "InsufficientInstanceCapacity", az="us-east-1a")
    ec2.inject("RunInstances", after=True, az="us-east-1b")
    python = forking_trainings(client, ec2)
    assert client.run("prepare", "blendshapes", "--sample", "sample", "--size", "600").code == 0
    deploy = ("deploy", "blendshapes", "--on", "ec2", "--data", "sample", *SETS, *ON_BOX, *python)
    result = user.run(client, *deploy, "--max-hours", "1", "--follow", "--yes")
    assert result.code == 0, result.err + result.out
    assert list(ec2.states().values()) == ["running"]
    instance = user.only(client)
    assert (instance.zone, instance.host_key_rotated, instance.ready) == ("us-east-1b", True, True)

    results = _status(client, instance.id)
    _the_first_host_key_is_nowhere(ec2, client, instance.id)
    _no_secret(ec2, client, [result, results], typed)

    fetched = user.run(client, "fetch")
    assert fetched.code == 0, fetched.err
    assert "is terminated; it cost about $" in fetched.err
    assert ec2.states() == {instance.id: "terminated"}
    assert ec2.leftovers() == []
    _best_and_last_are_home(client)
    _no_secret(ec2, client, [fetched], typed)
    cost = user.run(client, "cost", "--json").json
    assert [list(row["runs"]) for row in cost["instances"]] == [[instance.run or _run(client)]]


def _status(client: Client, box_id: str) -> Result:
    results = user.run(client, "status", "--json")
    (run,) = results.json["runs"]
    assert (run["state"], run["target"]) == ("succeeded", f"ec2://{box_id}")
    (host,) = [one for one in results.json["hosts"] if one["instance"]]
    assert host["instance"]["worst_case_usd"] == pytest.approx(1.03, abs=0.05)
    assert host["instance"]["run"] == run["id"]
    return results


def _run(client: Client) -> str:
    (run,) = (client.project / "fetched").glob("*-*")
    return run.name


def _best_and_last_are_home(client: Client) -> None:
    home = client.project / "fetched" / _run(client)
    for mark in ("best", "last"):
        step = (home / "checkpoints" / mark).read_text().strip()
        assert (home / "checkpoints" / step / "model.safetensors").is_file()
    assert client.run("verify", str(home)).code == 0


def _first_key(ec2: FakeEC2) -> tuple[bytes, str]:
    """Return a line of the private host key in the user-data, and the public key."""
    user_data = _user_data()
    public = re.search(r"ed25519_public: \"(ssh-ed25519 \S+)\"", user_data)
    private = re.search(r"ed25519_private: \"(.*?)\"\n", user_data)
    assert public
    assert private
    return private[1].split("\\n")[2].encode(), public[1].split()[1]


def _user_data() -> str:
    import base64  # noqa: PLC0415

    (instance,) = (
        one["InstanceId"]
        for reservation in aws().describe_instances()["Reservations"]
        for one in reservation["Instances"]
        if one["State"]["Name"] == "running"
    )
    user_data = aws().describe_instance_attribute(InstanceId=instance, Attribute="userData")
    return base64.b64decode(user_data["UserData"]["Value"]).decode()


def _the_first_host_key_is_nowhere(ec2: FakeEC2, client: Client, box_id: str) -> None:
    secret, public = _first_key(ec2)
    code, now = ec2.run(box_id, "cat", f"{HOST_KEY}.pub")
    assert code == 0
    assert public not in now
    assert ec2.run(box_id, "grep", "-rlF", secret.decode(), "/etc/ssh")[0] == 1
    assert ec2.run(box_id, "sh", "-c", f"ls {HOST_KEY}.next*")[0] != 0
    on_record = hostkeys.own_file(client.context()).read_text().splitlines()
    assert [line.split()[2] for line in on_record] == [now.split()[1]]
    for path in _files(client.home):
        assert secret not in path.read_bytes(), path


def _files(*folders: Path) -> list[Path]:
    return [path for folder in folders for path in folder.rglob("*") if path.is_file()]


def _no_secret(ec2: FakeEC2, client: Client, results: list[Result], typed: list[str]) -> None:
    """Check that no output, file or argument contains the AWS secret or the user's private key."""
    private = connection.user_key(client.context())
    key_line = private.read_bytes().splitlines()[2]
    canaries = (b"rig-secret-canary", key_line)
    for path in _files(client.home):
        content = path.read_bytes()
        assert not any(canary in content for canary in canaries) or path == private, path
        assert not PRIVATE.search(content) or path == private, path
    assert private.stat().st_mode & 0o077 == 0
    shown = "\n".join([*typed, *(result.out + result.err for result in results)]).encode()
    for call in ec2.calls():
        shown += repr(call["parameters"]).encode()
    living = [key for key, state in ec2.states().items() if state == "running"]
    if living:
        shown += _user_data().encode()
        home = ec2.disk(living[0]) / "home" / "ubuntu"
        shown += b"".join(path.read_bytes() for path in _files(home) if path.stat().st_size < 1 << 20)
    for canary in canaries:
        assert canary not in shown


def test_another_machine_at_the_same_address_is_refused_with_exit_4(ec2: FakeEC2, client: Client) -> None:
    assert user.run(client, *UP).code == 0
    instance = user.only(client)
    label = f"ec2://{instance.id}"
    swap = f"rm {HOST_KEY}*; ssh-keygen -q -t ed25519 -N '' -f {HOST_KEY} && kill -HUP $(cat /run/sshd.pid)"
    end_connections = "pkill -KILL -u ubuntu"  # that machine has none of this one's
    assert ec2.run(instance.id, "sh", "-c", f"{swap} && {end_connections}")[0] == 0
    ec2.until(lambda: user.run(client, "status", "--on", label).code == 4)
    refused = user.run(client, "deploy", "job", "--on", label) if _job(client) else None
    assert refused
    assert refused.code == 4
    assert f"the host key of {label} has changed" in refused.err


def _job(client: Client) -> bool:
    client.job("print('hello')")
    return True


def test_a_wrong_host_key_at_the_first_connection_is_refused(
    ec2: FakeEC2, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As with a man in the middle: the instance shows another key than the one in its user-data."""
    real = boot.new_host_key
    monkeypatch.setattr(
        boot, "new_host_key", lambda: boot.KeyPair(private=real().private, public=real().public)
    )
    result = user.run(client, *UP)
    assert result.code == 4, result.err
    assert "host key" in result.err
    assert not user.only(client).ready


@pytest.mark.filterwarnings(
    "ignore::pytest.PytestUnraisableExceptionWarning"
)  # its child processes, which the kill left running
@pytest.mark.parametrize("at", range(1, 13))
def test_a_client_killed_while_the_host_key_changes_can_still_log_in(
    ec2: FakeEC2, client: Client, monkeypatch: pytest.MonkeyPatch, trials: Any, at: int
) -> None:
    """`make test` tries every second point: before and after each write of known_hosts and each request."""
    if at % trials(4, 1):
        pytest.skip("in `make test-full`")
    with monkeypatch.context() as patched:
        count = iter(range(1, 1000))

        def watched(where: Any, name: str) -> None:
            real = getattr(where, name)

            def around(*words: Any, **more: Any) -> Any:
                _point(next(count), at)
                arguments = real(*words, **more)
                _point(next(count), at)
                return arguments

            patched.setattr(where, name, around)

        for where, name in ((files, "write"), (SshHost, "ask"), (SshHost, "run")):
            watched(where, name)
        with pytest.raises(_Killed):
            raise AssertionError(user.run(client, *UP).err)
    again = user.run(client, *UP)
    assert again.code == 0, again.err
    assert len(ec2.states()) == 1
    assert user.only(client).host_key_rotated
    on_record = hostkeys.own_file(client.context()).read_text().splitlines()
    now = ec2.run(user.only(client).id, "cat", f"{HOST_KEY}.pub")[1]
    assert [line.split()[2] for line in on_record] == [now.split()[1]]


class _Killed(BaseException):
    pass


def _point(count: int, at: int) -> None:
    if count == at:
        raise _Killed


def test_a_gpu_job_does_not_start_where_the_driver_is_broken(ec2: FakeEC2, client: Client) -> None:
    ec2.set(gpu_driver="mismatch")
    client.job("print('on the CPU')")
    words = ("deploy", "job", "--on", "ec2", "--max-hours", "1", "--yes", *ON_BOX)
    clock = user.Clock()
    quickly = lambda seconds: clock.sleep(seconds * (100 if seconds == connection.GPU_PAUSE else 1))  # noqa: E731
    result = user.run(client, *words, sleep=quickly, now=clock.now)
    assert result.code == 1, result.err
    assert "Driver/library version mismatch" in result.err
    label = user.only(client).label
    assert f"gpujob hosts down {label}" in result.err
    assert user.run(client, "status", "--json").json["runs"] == []
    down = user.run(client, "hosts", "down", label, "--yes")
    assert down.code == 0, down.err
    assert ec2.leftovers() == []
