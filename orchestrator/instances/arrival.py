"""From "running" to "ready": the pinned first connection, our own marker, a host key of its own."""

from __future__ import annotations

from collections.abc import Callable

from orchestrator.context import Context
from orchestrator.core import hostkey
from orchestrator.errors import AccessError, GpujobError, Unreachable
from orchestrator.instances import boxes, launch, target
from orchestrator.instances.awserrors import AwsError
from orchestrator.instances.cloud import Cloud
from orchestrator.store import Record, Store
from orchestrator.targets.base import Refused
from orchestrator.targets.ssh import hostkeys
from orchestrator.targets.ssh.host import SshHost
from orchestrator.targets.ssh.hostkeys import HostKey, Stranger

_PAUSE = 2.0
Say = Callable[[str], None]


def arrive(ctx: Context, store: Store, cloud: Cloud, box: Record, say: Say) -> Record:
    """Waits until the box is ready to be used. Every step may be cut and repeated.

    Raises boxes.Ended for a box that ended meanwhile, Unreachable where its boot failed.
    """
    box = boxes.until(ctx, store, cloud, box, "running")
    if box.get("attach"):
        boxes.attach(ctx, cloud, box)
    resolved = target.resolve(ctx, box)
    if box["host_public"] and not box["rotated"] and not hostkeys.known(ctx, resolved):
        hostkeys.record(ctx, resolved, HostKey(*box["host_public"].split()))
    boxes.renew_rule(ctx, cloud, box)
    say(f"{box['id']} runs at {box['address']}; waiting for it to boot")
    host = _reached(ctx, store, cloud, box, say)
    try:
        if not box["rotated"]:
            box = _rotate(ctx, store, box, host)
    finally:
        host.close()
    store.write_box(box := {**box, "ready": True})
    return box


def _reached(ctx: Context, store: Store, cloud: Cloud, box: Record, say: Say) -> SshHost:
    """The host once its marker is there. Refused log-ins are usual while cloud-init makes the user."""
    end, told, last = box["booted"] + launch.BOOT_SECONDS, "", "no answer on port 22 yet"
    while ctx.now() < end:
        if target.answers(box["address"]):
            host = target.connected(ctx, store, box)
            try:
                seen = host.ask("box")
                if seen["ready"]:
                    return host
                last = "it answers, and its start-up commands have not ended"
            except Stranger:
                host.close()
                raise
            except Refused:
                last = "it answers, and its kill switches are not set yet"
            except (AccessError, Unreachable) as error:
                last = f"{error.what}: {error.why}"
            host.close()
        else:
            box = boxes.until(ctx, store, cloud, box, "running")
        if last != told:
            say(last)
            told = last
        ctx.sleep(_PAUSE)
    why = f"{last}; its console: {_console(cloud, box)}"
    raise Unreachable(
        f"{launch.label(box['id'])} did not boot", why, f"gpujob hosts down {launch.label(box['id'])}"
    )


def _console(cloud: Cloud, box: Record) -> str:
    try:
        said = cloud.call(box["region"], "get_console_output", InstanceId=box["id"]).get("Output", "")
    except AwsError as error:
        return str(error)
    lines = [line for line in said.splitlines() if line.strip()]
    return " | ".join(lines[-3:]) or "empty so far"


def _rotate(ctx: Context, store: Store, box: Record, host: SshHost) -> Record:
    """The first key stood in user-data, which others may read: the box makes itself a new one.

    Its public part comes over the channel that the first key pins, and is on record before sshd serves
    it; the old one is dropped last. Cut anywhere, both are known here and the box serves one of them.
    """
    resolved = target.resolve(ctx, box)
    made = _words(host, hostkey.make()).split()
    new = HostKey(made[0], made[1])
    hostkeys.add(ctx, resolved, new)
    _words(host, hostkey.switch())
    host.close()
    host.ask("box")  # over a new connection, by the new key
    hostkeys.record(ctx, resolved, new)
    store.write_box(box := {**box, "rotated": True})
    return box


def _words(host: SshHost, words: list[str]) -> str:
    said: list[str] = []
    done = host.run(words, b"", {}, said.append)
    if done.code:
        raise GpujobError(
            f"{host.label} did not change its host key", done.err.strip() or f"code {done.code}"
        )
    return said[0] if said else ""
