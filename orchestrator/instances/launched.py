"""The record of an instance that a launch created, from what was asked for and what EC2 answered."""

from __future__ import annotations

from orchestrator.instances import prices, spec
from orchestrator.instances.cloud import Account
from orchestrator.instances.instance import Description, Instance
from orchestrator.instances.records import LaunchAttempt


def instance(
    account: Account, attempt: LaunchAttempt, description: Description, region_name: str
) -> Instance:
    """Returns the record of an instance of the attempt, which may have been found after an interruption."""
    assert attempt.request
    launch_spec, parameters = attempt.spec, attempt.request.parameters
    launched = min(description.launched, account.ctx.now())
    spot = description.spot or launch_spec.spot
    former = account.records.find(launch_spec.rescue_of) if launch_spec.rescue_of else None
    of_volume = account.records.of_volume(launch_spec.volume) if launch_spec.volume else []
    return Instance(
        id=description.id,
        region=region_name,
        launched=launched,
        zone=description.zone,
        type=description.type,
        spot=spot,
        spot_request=description.spot_request,
        types=(former.types or (former.type,)) if former else launch_spec.types,
        gpu_type=(former.gpu_type or former.type) if former else "",
        run_spot=former is not None and (former.spot or former.run_spot),
        state=description.state,
        checked=launched,
        address=description.private_address if launch_spec.private_ip else description.address,
        private_ip=launch_spec.private_ip,
        owns_group=not launch_spec.security_group,
        subnet=launch_spec.subnet,
        extra_tags=launch_spec.extra_tags,
        login_user=launch_spec.login_user,
        job=launch_spec.job,
        run=next((one.run for one in reversed(of_volume) if one.run), None),
        launch=attempt.id,
        group=spec.group_of(launch_spec, attempt.id),
        account=description.account,
        security_group=parameters["NetworkInterfaces"][0]["Groups"][0],
        ssh_cidr=attempt.ssh_cidr,
        usd_per_hour=prices.current(account.cloud, region_name, description.zone, description.type, spot),
        disk_gb=sum(disk["Ebs"]["VolumeSize"] for disk in parameters["BlockDeviceMappings"])
        + launch_spec.volume_gb,
        volume=launch_spec.volume or None,
        volume_gb=launch_spec.volume_gb or launch_spec.data_gb,
        volume_to_attach=launch_spec.volume or None,
        started=launched,
        deadline=launch_spec.deadline,
        first_host_key=attempt.first_host_key,
    )
