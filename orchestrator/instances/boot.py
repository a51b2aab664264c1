"""Makes an instance usable: its user-data and start, the wait for its boot, and its own host key."""

from __future__ import annotations

import json
import re
import tempfile
from pathlib import Path

import msgspec
from msgspec.structs import replace

from orchestrator import files
from orchestrator.context import Context
from orchestrator.errors import GpujobError, Unreachable, UsageError
from orchestrator.instances import answers, changes, connection, errors, lifecycle
from orchestrator.instances.cloud import Account
from orchestrator.instances.connection import InstanceHost
from orchestrator.instances.errors import AwsError
from orchestrator.instances.instance import Instance
from orchestrator.instances.spec import BOOT_SECONDS, LaunchSpec
from orchestrator.targets import helper
from orchestrator.targets.base import Refused
from orchestrator.targets.ssh import hostkeys
from orchestrator.targets.ssh.hostkeys import HostKey, UnknownHostKey

USER_DATA_LIMIT = 16384  # bytes, before base64 (RunInstances)
READY = "/run/gpujob/ready"
ANY_VOLUME = "/dev/disk/by-id/nvme-Amazon_Elastic_Block_Store_vol*"
_POLL_SECONDS = 2.0
_OPEN_SECONDS = 150.0  # seconds without an answer after which port 22 is opened to this client once more
_PLACEHOLDER = re.compile(r"@([a-z_]+)@")
_COMMENT = re.compile(r"^ *#(?!cloud-config|!).*\n", re.MULTILINE)
_USER = re.compile(r"[a-z_][a-z0-9_-]{0,31}\Z")
_KEY = re.compile(r"(ssh|ecdsa|sk)-[a-z0-9@.-]+ [A-Za-z0-9+/=]+( [\w@.: -]*)?\Z")
_DISKS = re.compile(r"(/dev/[\w./*-]+)?\Z")
_HOST_KEY = "/etc/ssh/ssh_host_ed25519_key"
_MAKE_SCRIPT = f"""
next={_HOST_KEY}.next
[ -s $next.pub ] || {{ rm -f $next; ssh-keygen -q -t ed25519 -N "" -C "" -f $next; }}
cat $next.pub
"""
_SWITCH_SCRIPT = f"""
if [ -s {_HOST_KEY}.next ]; then mv -f {_HOST_KEY}.next {_HOST_KEY}; fi
if [ -s {_HOST_KEY}.next.pub ]; then mv -f {_HOST_KEY}.next.pub {_HOST_KEY}.pub; fi
systemctl reload ssh 2>/dev/null || systemctl reload sshd 2>/dev/null || kill -HUP "$(cat /run/sshd.pid)"
at=$(sshd -T 2>/dev/null | sed -n 's/^listenaddress \\([0-9.]*\\):.*/\\1/p' | head -n 1)
key=$(cut -d ' ' -f 2 {_HOST_KEY}.pub)
for _ in $(seq 50); do
  ssh-keyscan -T 2 -t ed25519 "${{at:-127.0.0.1}}" 2>/dev/null | grep -qF "$key" && exit
  sleep 0.1
done
echo "sshd does not offer its new key" >&2
exit 1
"""
_AS_ROOT = ["sudo", "-n", "sh", "-ec"]
MAKE_NEXT = [*_AS_ROOT, _MAKE_SCRIPT]
"""Command that prints the next public host key, `ssh-ed25519 BASE64`, creating it if there is none."""
SWITCH_TO_NEXT = [*_AS_ROOT, _SWITCH_SCRIPT]
"""Command after which sshd uses the next host key and the previous one is deleted.

sshd uses only one key of a type, so meanwhile the client accepts both.
"""


class KeyPair(msgspec.Struct, frozen=True):
    """An ed25519 key pair in OpenSSH's format; `public` has no comment."""

    private: str
    public: str


class UserData(msgspec.Struct, frozen=True):
    """The values of templates/cloud-init.yaml.

    authorized_key, host_public: one line each; host_private: an OpenSSH key. deadline: when the instance
    shuts itself down, in seconds since 1970. boot_grace: how long its lease lasts after every boot, in
    seconds. data: device path of the disk to mount at ~/.gpujob (ANY_VOLUME, or that of `volume_path`),
    formatted only if it is blank; "" for none. ready: the file that is written once the instance can be used.
    """

    user: str
    authorized_key: str
    host_private: str
    host_public: str
    deadline: int
    boot_grace: int
    spot: bool = False
    data: str = ""
    ready: str = READY

    def render(self, template: str) -> str:
        """Returns the user-data. UsageError if a value is not valid or the text is too long for EC2."""
        self._validate()
        values = {
            "user": self.user,
            "authorized_key": json.dumps(self.authorized_key),
            "host_private": json.dumps(self.host_private),
            "host_public": json.dumps(self.host_public),
            "deadline": str(self.deadline),
            "boot_grace": str(self.boot_grace),
            "spot": "yes" if self.spot else "no",
            "data": self.data,
            "marker": self.ready,
        }
        text = _PLACEHOLDER.sub(lambda match: values[match[1]], _COMMENT.sub("", template))
        if (size := len(text.encode())) > USER_DATA_LIMIT:
            raise UsageError("the user-data is too long", f"{size} bytes; EC2 takes {USER_DATA_LIMIT}")
        return text

    def _validate(self) -> None:
        checks = {
            "user name": _USER.match(self.user),
            "authorized key": _KEY.match(self.authorized_key),
            "host key": _KEY.match(self.host_public) and "PRIVATE KEY" in self.host_private,
            "deadline": 0 < self.deadline < 10**11,
            "boot grace": 0 < self.boot_grace < 10**6,
            "data disk": _DISKS.match(self.data),
            "ready file": re.match(r"/[\w./-]+\Z", self.ready),
        }
        for name, is_valid in checks.items():
            if not is_valid:
                raise UsageError(f"the {name} of the new instance is not valid")


def new_host_key() -> KeyPair:
    """Returns the first host key of a new instance, replaced later, since others may read the user-data."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "host"
        connection.generate_key(path, "")
        private = path.read_text("utf-8")
        kind, blob = path.with_name("host.pub").read_text("utf-8").split()[:2]
    return KeyPair(private, f"{kind} {blob}")


def user_data(ctx: Context, spec: LaunchSpec, host_key: KeyPair) -> str:
    """Returns the user-data of an instance, which it reads at every boot."""
    template = (files.folder("templates") / "cloud-init.yaml").read_text("utf-8")
    new_volume = ANY_VOLUME if spec.data_gb else ""
    return UserData(
        user=spec.login_user,
        authorized_key=connection.public_key(ctx),
        host_private=host_key.private,
        host_public=host_key.public,
        deadline=int(spec.deadline),
        boot_grace=BOOT_SECONDS,
        spot=spec.spot,
        data=volume_path(spec.volume) if spec.volume else new_volume,
    ).render(template)


def volume_path(volume_id: str) -> str:
    """Returns the device path that the EBS volume `vol-…` has on an instance."""
    return ANY_VOLUME.replace("vol*", volume_id.replace("-", ""))


def wait_until_ready(account: Account, instance: Instance) -> Instance:
    """Waits until the instance can be used; returns its new record. May be interrupted and repeated.

    Raises Ended if the instance ends meanwhile, Unreachable if its boot fails.
    """
    if instance.ready:
        return instance
    instance = lifecycle.wait_until(account, instance, "running")
    if instance.volume_to_attach:
        changes.attach_volume(account, instance)
    address = connection.resolve(account.ctx, instance)
    first_key = instance.first_host_key
    if first_key and not instance.host_key_rotated and not hostkeys.known(account.ctx, address):
        hostkeys.record(account.ctx, address, HostKey(*first_key.split()))
    lifecycle.allow_ssh(account, instance)
    account.ctx.talk(f"{instance.id} runs at {instance.address}; waiting for it to boot")
    host = _wait_for_marker(account, instance)
    try:
        if not instance.host_key_rotated:
            instance = _rotate_host_key(account, instance, host)
    finally:
        host.close()
    return account.records.save(replace(instance, ready=True))


def start(account: Account, instance: Instance, hours: float, type_: str = "") -> Instance:
    """Starts a stopped instance, with its disk, for `hours`; returns it once it is ready.

    type_: the type to change it to before; "" for that of its launch.
    """
    instance = lifecycle.set_type(account, instance, type_ or instance.gpu_type or instance.type)
    deadline = account.ctx.now() + hours * 3600
    launch_spec = LaunchSpec(
        types=(),
        regions=(),
        spot=instance.spot,
        deadline=deadline,
        job=instance.job,
        owner=account.ctx.who,
        login_user=instance.login_user,
    )
    text = user_data(account.ctx, launch_spec, new_host_key())
    instance = lifecycle.start(account, instance, text, deadline)
    return wait_until_ready(account, instance)


def _wait_for_marker(account: Account, instance: Instance) -> InstanceHost:
    """Returns a connection once the marker file exists. Until then any login and any request may fail.

    The user, the packages and the volume below the helper's folder appear while the instance boots.
    """
    end, printed, state = instance.started + BOOT_SECONDS, "", "port 22 does not answer yet"
    is_late, opened = False, account.ctx.now()
    while not is_late:
        is_late = account.ctx.now() >= end  # this client may have been suspended: it looks once more
        if connection.answers(instance.address):
            host = InstanceHost(account, instance)
            try:
                if helper.instance(host).is_ready:
                    return host
                state = "it answers; its start-up commands are still running"
            except UnknownHostKey:
                host.close()
                raise
            except Refused:
                state = "it answers; its shutdown timers are not set yet"
            except GpujobError as error:
                state = f"{error.what}: {error.why}"
            host.close()
        else:
            instance = lifecycle.wait_until(account, instance, "running")
            if account.ctx.now() - opened > _OPEN_SECONDS:
                _open_again(account, instance)
                opened = account.ctx.now()
        if state != printed:
            account.ctx.talk(state)
            printed = state
        account.ctx.sleep(_POLL_SECONDS)
    why = f"{state}; its console: {_console_output(account, instance)}"
    if lifecycle.is_used_elsewhere(account, instance):
        what = f"{instance.label} does not answer this client, and is kept: another client of yours uses it"
        raise Unreachable(what, why, "gpujob hosts list")
    if instance.started == instance.launched:  # nothing is on an instance that was never ready
        changes.terminate(account, instance, with_volume=instance.volume_to_attach is None)
        what = f"{instance.label} did not boot and was terminated"
        raise Unreachable(what, why, "gpujob doctor --on ec2, or another image: resources.ec2.images")
    raise Unreachable(f"{instance.label} did not boot", why, f"gpujob hosts down {instance.label} --discard")


def _open_again(account: Account, instance: Instance) -> None:
    """Opens port 22 to this client, which may have moved to another network since it was opened."""
    try:
        lifecycle.allow_ssh(account, instance)
    except GpujobError as error:
        if not errors.may_succeed_later(error):
            raise
        account.ctx.talk(f"{error.what}; trying again")


def _console_output(account: Account, instance: Instance) -> str:
    try:
        answer = account.cloud.read(
            instance.region, "get_console_output", answers.Console, InstanceId=instance.id
        )
    except AwsError as error:
        return str(error)
    lines = [line for line in answer.output.splitlines() if line.strip()]
    return " | ".join(lines[-3:]) or "empty so far"


def _rotate_host_key(account: Account, instance: Instance, host: InstanceHost) -> Instance:
    """Replaces the first host key, which others can read in the user-data, by one made on the instance.

    The new public key is read over the connection that the first key authenticates, and is recorded before
    sshd uses it; the first one is removed last. So after any interruption the client has both keys on record,
    and sshd uses one of them.
    """
    address = connection.resolve(account.ctx, instance)
    kind, key = _output(host, MAKE_NEXT).split()[:2]
    hostkeys.add(account.ctx, address, HostKey(kind, key))
    _output(host, SWITCH_TO_NEXT)
    host.close()
    host.ask("instance")  # makes a new connection, which only the new key authenticates
    hostkeys.record(account.ctx, address, HostKey(kind, key))
    return account.records.save(replace(instance, host_key_rotated=True))


def _output(host: InstanceHost, command: list[str]) -> str:
    """Runs a command; returns the first line that it prints. GpujobError if it fails."""
    lines: list[str] = []
    done = host.run(command, b"", {}, lines.append)
    if done.code:
        why = done.err.strip() or f"exit code {done.code}"
        raise GpujobError(f"{host.label} did not change its host key", why)
    return lines[0] if lines else ""
