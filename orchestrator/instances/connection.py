"""Connects to instances by SSH. Their address may change, and they may be stopped.

EC2 is called only if an instance does not answer at the address on record.
"""

from __future__ import annotations

import contextlib
import socket
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from msgspec.structs import replace

from orchestrator import files, process
from orchestrator.context import Context
from orchestrator.core import hostchecks
from orchestrator.core.hostfacts import HostFacts
from orchestrator.errors import Exit, GpujobError, NoGpus, Unreachable
from orchestrator.instances import changes, lifecycle, prices
from orchestrator.instances.catalog import InstanceType, table
from orchestrator.instances.cloud import Account
from orchestrator.instances.errors import Stopped, Terminated
from orchestrator.instances.instance import STOPPED, Instance
from orchestrator.instances.spec import BOOT_SECONDS
from orchestrator.targets import helper
from orchestrator.targets.base import Answer, Host, Refused
from orchestrator.targets.ssh import address
from orchestrator.targets.ssh.address import Resolved, Typed
from orchestrator.targets.ssh.host import SshHost

LEASE_SECONDS = 20 * 60.0
"""Seconds for which each renewal of its lease keeps an instance up."""
_RENEW_SECONDS = 60.0
_CONNECT_SECONDS = 3.0
_LEAST_SECONDS = 60.0  # also for an instance that booted long ago: nvidia-smi may be slow
GPU_PAUSE = 5.0  # seconds between two reads
_MARGIN = 120.0  # seconds before an unused instance shuts itself down


class InstanceHost(SshHost):
    """An instance over SSH. It shuts itself down when its lease ends, so commands renew the lease."""

    def __init__(self, account: Account, instance: Instance) -> None:
        super().__init__(account.ctx, resolve(account.ctx, instance))
        self._account = account
        self._id = instance.id

    @property
    def instance(self) -> Instance:
        """The record of the instance."""
        return self._account.records.get(self._id)

    def ask(self, op: str, **fields: Any) -> Answer:
        try:
            return super().ask(op, **fields)
        except Refused as error:
            if error.kind != "booting":
                raise
            why = f"{error.what}: its runs cannot be seen yet"
            raise Unreachable(f"{self.label} is booting", why, "the same command again") from None

    def hours_for(self, budget_usd: float) -> float | None:
        return prices.hours(self.instance, budget_usd)

    def with_gpus(self, read: Callable[[], HostFacts]) -> HostFacts:
        return wait_for_gpus(self._account.ctx, self.instance, self, read)

    def assign_run(self, run_id: str) -> None:
        if self.instance.managed and self.instance.ends_with_run:
            self._account.records.save(replace(self.instance, run=run_id))
        if self.instance.managed and self.instance.is_adopted:
            lifecycle.tag_use(self._account, self.instance)

    @contextlib.contextmanager
    def keep_awake(self) -> Iterator[None]:
        """Renews the lease: between requests by a thread, during a request by the helper on the instance."""
        done = threading.Event()

        def renew() -> None:
            while True:
                with contextlib.suppress(GpujobError):
                    self.extend_lease(LEASE_SECONDS)
                if done.wait(_RENEW_SECONDS):
                    return

        self.lease = LEASE_SECONDS
        threading.Thread(target=renew, daemon=True).start()
        try:
            yield
        finally:
            done.set()
            self.lease = None

    def extend_lease(self, seconds: float) -> bool:
        helper.renew_lease(self, seconds)
        return True

    def may_end_with(self, run_id: str) -> bool:
        if self.instance.run != run_id:
            return False
        others = [name for name in helper.run_ids(self) if name != run_id]
        if others:
            self._account.ctx.talk(
                f"{self.label} is kept for its runs {', '.join(others)}; gpujob hosts down {self.label}"
            )
        return not others

    def terminate(self) -> str:
        try:
            instance = changes.terminate(self._account, self.instance, with_volume=True)
        except GpujobError as error:
            if error.exit_code == Exit.UNREACHABLE:
                return f"{error.what} ({error.why}); the next gpujob command completes its deletion"
            error.what = f"{self.label} is not terminated yet, and is billed: {error.what}"
            error.next_step = f"{error.next_step}; then gpujob hosts list, which completes its deletion"
            raise
        usd = prices.cost(instance, self._account.ctx.now())
        return f"{self.label} is terminated; it cost about ${usd:.2f}"


def connect(account: Account, instance: Instance) -> InstanceHost:
    """Connects to the instance. Raises Stopped, Terminated or Unreachable if that is not possible."""
    if instance.has_ended:
        raise Terminated(instance)
    if not answers(instance.address):
        instance = _find_again(account, instance)
    return InstanceHost(account, instance)


def _find_again(account: Account, instance: Instance) -> Instance:
    """Returns the instance once it answers: at a new address, or after port 22 was opened to this client."""
    instance = lifecycle.refresh(account, instance)
    if instance.is_interrupted:
        usd = prices.disk_per_month(instance.disk_gb, instance.region)
        why = f"EC2 starts it again when there is capacity; its disks cost ${usd:.2f} a month meanwhile"
        next_step = f"gpujob fetch (launches a small instance for its volume {instance.volume})"
        raise Stopped(f"{instance.label} is a spot instance that EC2 stopped", why, next_step)
    if instance.state == STOPPED:
        why = f"its disk is kept, ${prices.disk_per_month(instance.disk_gb, instance.region):.2f} a month"
        next_step = f"gpujob fetch (starts it), or gpujob hosts down {instance.label} (terminates it)"
        raise Stopped(f"{instance.label} is stopped", why, next_step)
    if instance.has_ended:
        raise Terminated(instance)
    if instance.address and not answers(instance.address) and instance.managed:
        lifecycle.allow_ssh(account, instance)
    if not answers(instance.address):
        where = instance.address or "no public address"
        why = f"EC2 reports it {instance.state} at {where}; port 22 does not answer"
        raise Unreachable(f"{instance.label} cannot be reached", why, "gpujob hosts list")
    return instance


def resolve(ctx: Context, instance: Instance) -> Resolved:
    """Returns the SSH address of the instance. Its host key is recorded by instance id, not by address.

    So if another machine gets the address, it is refused.
    """
    options = ["-o", f"HostKeyAlias={instance.id}"]
    if instance.managed:
        key = user_key(ctx)
        options += ["-i", str(key), "-o", "IdentitiesOnly=yes", "-o", "IdentityAgent=none"]
    typed = Typed(instance.label, instance.address or "", instance.login_user, None, tuple(options))
    return address.resolve(ctx, typed)


def answers(ip: str | None) -> bool:
    """Returns whether port 22 accepts a connection; False if a security group blocks this client."""
    if not ip:
        return False
    try:
        socket.create_connection((ip, 22), timeout=_CONNECT_SECONDS).close()
    except OSError:
        return False
    return True


def user_key(ctx: Context) -> Path:
    """Returns the path of the private key that instances accept (mode 0600), which is created once.

    The public key is next to it.
    """
    path = ctx.config_file.with_name("ec2_ed25519")
    if not path.exists():
        with files.lock(path.with_suffix(".lock")):
            if not path.exists():
                _create_user_key(path)
    return path


def _create_user_key(path: Path) -> None:
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        private = Path(folder) / path.name
        generate_key(private, "gpujob")
        for file in (private.with_name(private.name + ".pub"), private):  # last what user_key looks for
            file.replace(path.with_name(file.name))


def public_key(ctx: Context) -> str:
    path = user_key(ctx)
    return path.with_name(path.name + ".pub").read_text("utf-8").strip()


def generate_key(path: Path, comment: str) -> None:
    """Writes an ed25519 key in OpenSSH's format to `path`, and its public half to the file next to it."""
    words = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", comment, "-f", str(path)]
    try:
        done = process.capture(words)
    except FileNotFoundError:
        raise GpujobError("ssh-keygen is not installed", "", "install openssh-client") from None
    if done.code:
        raise GpujobError("ssh-keygen could not create a key", done.reason)


def wait_for_gpus(ctx: Context, instance: Instance, host: Host, read: Callable[[], HostFacts]) -> HostFacts:
    """Returns the facts of an instance once they show the GPUs of its type.

    The driver may take minutes after a boot. Raises NoGpus if they do not appear before the instance
    would shut itself down as unused. A type that the table does not have is not verified.
    """
    kind = table().types.get(instance.type)
    until = max(instance.started + BOOT_SECONDS - _MARGIN, ctx.now() + _LEAST_SECONDS)
    facts, is_announced = read(), False
    while kind and (problem := _mismatch(kind, facts)):
        if ctx.now() >= until:
            raise _no_gpus(instance, host, problem)
        if not is_announced:
            ctx.talk(f"waiting for the GPU driver of {instance.label}: {problem}")
            is_announced = True
        ctx.sleep(GPU_PAUSE)
        facts = read()
    return facts


def _mismatch(kind: InstanceType, facts: HostFacts) -> str | None:
    """Returns how the GPUs of a host differ from those of its type; None if they do not."""
    expected = f"{kind.name} has {kind.gpus} {kind.gpu}"
    if facts.gpus is None:
        return f"nvidia-smi cannot read them; {expected}"
    if len(facts.gpus) != kind.gpus:
        return f"{len(facts.gpus)} found; {expected}"
    others = [gpu.name for gpu in facts.gpus if not hostchecks.is_model(gpu.name, kind.gpu)]
    return f"{others[0]} found; {expected}" if others else None


def _no_gpus(instance: Instance, host: Host, problem: str) -> NoGpus:
    lines: list[str] = []
    host.run(["sh", "-c", "nvidia-smi 2>&1"], b"", {}, lines.append)
    summary = " ".join(line.strip() for line in lines[:3])
    return NoGpus(
        f"{instance.label} does not have the GPUs of its type: {problem}",
        f"nvidia-smi: {summary or 'prints nothing'}",
        f"gpujob hosts down {instance.label} (terminates it); --set resources.gpus=0 uses its CPU",
    )
