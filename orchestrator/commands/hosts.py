"""`gpujob hosts attach NAME`: puts a host's key on record, after its fingerprint was seen; `hosts list`."""

from __future__ import annotations

from orchestrator.commands import config, fleet
from orchestrator.context import Context
from orchestrator.errors import AccessError, Unreachable, UsageError
from orchestrator.instances import prices
from orchestrator.instances.launch import PREFIX
from orchestrator.instances.target import Ec2Target, resolve
from orchestrator.store import Store
from orchestrator.targets.ssh import address, hostkeys
from orchestrator.view import fleet as view


def attach(ctx: Context, word: str, fingerprint: str | None) -> int:
    """Records the key that the host shows, if its fingerprint is the one given, or is agreed to."""
    resolved = _resolved(ctx, word)
    key = hostkeys.offered(ctx, resolved)
    if key is None:
        raise Unreachable(
            f"{word} shows no host key", "it does not answer, or a jump host refuses", f"ssh {word}"
        )
    if fingerprint is None:
        ctx.confirm(f"{word} ({resolved.hostname}) shows the host key {key.fingerprint} ({key.kind}).")
    elif fingerprint != key.fingerprint:
        why = f"you said {fingerprint}, it shows {key.fingerprint}"
        raise AccessError(f"{word} is not the host you mean", why, "nothing was recorded")
    hostkeys.record(ctx, resolved, key)
    if ctx.json:
        told = {"host": word, "name": resolved.key_name, "fingerprint": key.fingerprint}
        ctx.answer(told)
    else:
        ctx.out(f"{resolved.key_name} {key.fingerprint} is on record in {hostkeys.own_file(ctx)}")
    return 0


def _resolved(ctx: Context, word: str) -> address.Resolved:
    """An instance of EC2 that stands is taken on record by its id."""
    if not word.startswith(PREFIX):
        return address.resolve(ctx, address.parse(word))
    box = Ec2Target(ctx, word, [config.load(ctx)["region"].value]).box()
    if not box["address"]:
        raise Unreachable(f"{word} is {box['state']} and has no public address", "", "gpujob hosts list")
    return resolve(ctx, box)


def listed(ctx: Context, cached: bool) -> int:
    """The hosts on our own record, and the boxes of EC2 that have not ended."""
    boxes, unseen = fleet.known(ctx, Store(ctx.state_dir), ask=not cached)
    for error in unseen:
        ctx.warn(f"as it was last seen: {error.what}; {error.why}")
    code = int(unseen[0].exit_code) if unseen else 0
    file = hostkeys.own_file(ctx)
    rows = []
    for line in hostkeys.lines(ctx):
        name, _, rest = line.partition(" ")
        kind, _, blob = rest.partition(" ")
        if not blob:
            raise UsageError(f"{file} holds a line that is no host key: {line[:60]!r}", "", "remove the line")
        rows.append({"name": name, "fingerprint": hostkeys.HostKey(kind, blob).fingerprint})
    if ctx.json:
        telling = [view.telling(box, prices.table(), ctx.now()) for box in boxes]
        ctx.answer({"hosts": rows, "boxes": telling})
        return code
    view.print_boxes(ctx, boxes, prices.table(), ctx.now())
    for row in rows:
        ctx.out(f"{row['name']}  {row['fingerprint']}")
    if not rows and not boxes:
        ctx.talk("no host is on record; gpujob hosts attach NAME records one")
    return code
