"""`gpujob hosts ssh-config`: EC2 instances as entries of an OpenSSH configuration."""

from __future__ import annotations

from pathlib import Path

from orchestrator.context import Context
from orchestrator.core.spec import NAME
from orchestrator.instances import connection
from orchestrator.instances.cloud import Account
from orchestrator.instances.instance import Instance
from orchestrator.targets.ssh import hostkeys
from orchestrator.view import host_answers as answers


def ssh_config(ctx: Context) -> int:
    """An entry for each instance that has an address, by the name of its job and by its id."""
    instances = [one for one in Account(ctx).records.current() if one.address and one.managed]
    names = _names(instances)
    if ctx.json:
        hosts = [
            answers.ConfiguredHost(host=names[one.id], id=one.id, address=one.address) for one in instances
        ]
        ctx.answer(answers.SshConfig(hosts=tuple(hosts)))
        return 0
    for instance in instances:
        for line in _entry(ctx, instance, names[instance.id]):
            ctx.out(line)
    if instances:
        ctx.talk("gpujob hosts ssh-config > ~/.ssh/gpujob.conf, and `Include gpujob.conf` in ~/.ssh/config")
    else:
        ctx.talk("no instance with an address is on record; gpujob hosts list")
    return 0


def _names(instances: list[Instance]) -> dict[str, str]:
    """Instance id → gpujob-JOB; with the id where several are of one job."""
    jobs = [one.job for one in instances]
    return {
        one.id: f"gpujob-{one.job if NAME.match(one.job) and jobs.count(one.job) == 1 else one.id}"
        for one in instances
    }


def _quoted(path: Path) -> str:
    """A path may have spaces; in what has a %, OpenSSH would put in the name of the host or the user."""
    return '"' + str(path).replace("%", "%%") + '"'


def _entry(ctx: Context, instance: Instance, name: str) -> list[str]:
    """The host key is that on record, by the id of the instance, since its address may change."""
    return [
        f"Host {name} {instance.id}",
        f"  HostName {instance.address}",
        f"  User {instance.login_user}",
        f"  IdentityFile {_quoted(connection.user_key(ctx))}",
        "  IdentitiesOnly yes",
        f"  HostKeyAlias {instance.id}",
        f"  UserKnownHostsFile {_quoted(hostkeys.own_file(ctx))}",
        "  StrictHostKeyChecking yes",
        "",
    ]
