"""Forgotten instances shut themselves down, on machines with real systemd and cloud-init."""

from __future__ import annotations

import json
import os
import shlex
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from orchestrator.instances import boot
from orchestrator.instances.boot import ANY_VOLUME, READY, volume_path
from tests.ec2 import instances
from tests.ec2.instances import PATIENCE, Keys, RunningInstance
from tests.ec2.test_rig import aws
from tests.rigs.ec2.fake import FakeEC2
from tests.rigs.keys import public_key

SOON = 14  # seconds from launch: the machines boot concurrently
LATE = 240  # seconds; on an idle machine all are off within one minute
Scenario = Callable[[FakeEC2, Keys], RunningInstance]
HUNG = "trap '' TERM HUP INT; while :; do sleep 1; done"
AT_ONCE = "trap 'mkdir $GPUJOB_CHECKPOINTS/7; exit 75' TERM; while :; do sleep 0.1; done"
RUN = "job-20261121T101112-1a2b"
IDLE_GPU = """#!/bin/sh
case "$1" in --query-gpu=*) echo "0, Tesla T4, 9000, 15360, 0, 40, GPU-1, 550.1" ;; esac
"""
SAVES = "trap '' HUP; trap 'sleep 8; echo step 7 >checkpoint; exit' TERM; while :; do sleep 1; done"


@pytest.fixture
def keys(tmp_path: Path) -> Keys:
    return Keys.made(tmp_path)


def every_runcmd_failing(ec2: FakeEC2, keys: Keys) -> RunningInstance:
    """An instance that never becomes ready shuts down after the boot's grace period."""
    return instances.start(ec2, keys, boot_grace=SOON, runcmd=instances.FAILING)


def full_disk(ec2: FakeEC2, keys: Keys) -> RunningInstance:
    """Its deadline, which is in memory, is moved once the disk is full: a boot may take any time."""
    instance = instances.start(ec2, keys)
    ec2.until(lambda: is_installed(instance))
    fill(instance)
    due = int(time.time())
    instance.run("sh", "-c", f"echo {due} >/run/gpujob/deadline")
    return replace(instance, due=due)


def is_installed(instance: RunningInstance) -> bool:
    """Return whether the shutdown timers are installed; the disk is read, so also after a shutdown."""
    return (instance.ec2.disk(instance.id) / "var/lib/gpujob/user-data-deadline").exists()


def fill(instance: RunningInstance) -> None:
    instance.ec2.run(instance.id, "sh", "-c", "cat /dev/zero >/var/fill")
    assert instance.ec2.run(instance.id, "sh", "-c", "echo more >/var/more")[0] != 0


def in_tmux(ec2: FakeEC2, keys: Keys, trainer: str, patience: int = PATIENCE) -> RunningInstance:
    """The lease ends at once. systemd alone would wait 90 seconds for the processes of a login."""
    instance = instances.start(ec2, keys, patience=patience).ready()
    instance.admit()
    result = instance.ssh(f"tmux new-session -d -s trainer {shlex.quote(trainer)} && tmux list-sessions")
    assert result.stdout.startswith("trainer:"), result.stderr
    return replace(instance, due=instance.end_lease())


def trainer_hung(ec2: FakeEC2, keys: Keys) -> RunningInstance:
    return in_tmux(ec2, keys, HUNG, PATIENCE if os.environ.get("GPUJOB_TEST_FULL") else 3)


def trainer_saves(ec2: FakeEC2, keys: Keys) -> RunningInstance:
    return in_tmux(ec2, keys, SAVES, 8 * PATIENCE)  # a busy machine may be eight times slower


def run_idle(ec2: FakeEC2, keys: Keys) -> RunningInstance:
    """With an idle GPU and an unchanged log, the supervisor stops renewing the lease."""
    instance = instances.start(ec2, keys)
    disk = ec2.disk(instance.id)
    (disk / "usr/local/bin/nvidia-smi").write_text(IDLE_GPU)
    (disk / "usr/local/bin/nvidia-smi").chmod(0o755)
    instance.ready().admit()
    spec = {
        "id": RUN,
        "mark": "box-test-mark-of-a-run",
        "argv": ["sh", "-c", HUNG],
        "limits": {"idle_minutes": 0.02, "grace_seconds": 2},
    }
    assert instance.ask("start", spec=spec)["started"]
    due = instance.end_lease(in_seconds=10)
    state = disk / f"home/ubuntu/.gpujob/runs/{RUN}/state.json"
    is_idle = lambda: state.exists() and json.loads(state.read_text()).get("reason") == "idle"  # noqa: E731
    ec2.until(is_idle, what="the run is ended as idle")
    return replace(instance, due=due)


def ended(instance: RunningInstance) -> str | None:
    reason: str | None = instance.ask("status")["runs"][0]["state"]["reason"]
    return reason


def network_dropped(ec2: FakeEC2, keys: Keys) -> RunningInstance:
    """No client, no metadata service and no AWS can be reached."""
    instance = instances.start(ec2, keys, lives=SOON)
    ec2.isolate(instance.id)
    return instance


def stopped_and_started_past_its_deadline(ec2: FakeEC2, keys: Keys) -> RunningInstance:
    instance = instances.start(ec2, keys, lives=4)
    ec2.until(lambda: is_installed(instance))
    instance.cut_power()
    time.sleep(4)
    instance.power_on()
    return instance


SCENARIOS: tuple[Scenario, ...] = (
    trainer_hung,
    trainer_saves,
    run_idle,
    every_runcmd_failing,
    full_disk,
    network_dropped,
    stopped_and_started_past_its_deadline,
)


def test_an_instance_shuts_down_after_its_deadline_whatever_hangs(
    booted: FakeEC2, keys: Keys, trials: Any
) -> None:
    """Runs concurrently, since most of it is waiting. One instance has time left and must keep running."""
    for _ in range(trials(1, 5)):
        each_goes_off(booted, keys)
        booted.reset()
        booted.set(kind="booted")


def each_goes_off(booted: FakeEC2, keys: Keys) -> None:
    booted.set(disk_mb=64)
    with ThreadPoolExecutor(len(SCENARIOS)) as pool:
        stays = instances.start(booted, keys)
        futures = [(scenario.__name__, pool.submit(scenario, booted, keys)) for scenario in SCENARIOS]
        running = {name: future.result() for name, future in futures}
    late = {name: seconds_over(name, instance) for name, instance in running.items()}
    assert {name: seconds for name, seconds in late.items() if not -1 < seconds < LATE} == {}
    saved = booted.disk(running["trainer_saves"].id) / "home/ubuntu/checkpoint"
    assert saved.read_text() == "step 7\n"
    assert booted.states()[stays.id] == "running"


def seconds_over(name: str, instance: RunningInstance) -> float:
    """Return the seconds from the instance's deadline or lease end to its shutdown."""
    instance.ec2.until(lambda: instance.ec2.states()[instance.id] == "stopped", f"{name} is off")
    return (instance.ec2.went_off(instance.id) or 0) - instance.due


def test_a_boot_with_a_full_disk_still_installs_the_shutdown_timers(booted: FakeEC2, keys: Keys) -> None:
    booted.set(disk_mb=64)
    instance = instances.start(booted, keys).ready()
    deadline = int(instance.run("cat", "/var/lib/gpujob/deadline"))
    fill(instance)
    instance.cut_power()
    instance.power_on()
    late = ("systemctl", "start", "gpujob-late.service")  # by its timer, 45 seconds after the boot
    timer = ("systemctl", "-q", "is-active", "gpujob-late.timer")
    booted.until(lambda: booted.run(instance.id, *timer)[0] == 0)
    assert not instance.has("/run/gpujob/deadline")
    instance.run(*late)
    assert int(instance.run("cat", "/run/gpujob/deadline")) == deadline
    assert instance.has(READY)
    instance.run("sh", "-c", "echo 1 >/run/gpujob/deadline")
    booted.until(lambda: booted.states()[instance.id] == "stopped")


def test_an_extended_deadline_survives_a_stop_and_a_newer_one_replaces_it(ec2: FakeEC2, keys: Keys) -> None:
    instance = instances.start(ec2, keys, lives=1000).ready()
    first = int(instance.run("cat", "/run/gpujob/deadline"))
    instance.run("sh", "-c", f"echo {first + 5000} >/var/lib/gpujob/deadline")
    instance.cut_power()
    instance.power_on()
    instance.ready()
    assert int(instance.run("cat", "/run/gpujob/deadline")) == first + 5000
    instance.cut_power()
    earliest = int(time.time()) + 9000
    later = instances.build_user_data(keys, lives=9000)
    latest = time.time() + 9000
    aws().modify_instance_attribute(InstanceId=instance.id, UserData={"Value": later.encode()})
    instance.power_on()
    instance.ready()
    now = [int(instance.run("cat", f"{folder}/deadline")) for folder in ("/run/gpujob", "/var/lib/gpujob")]
    assert all(earliest <= deadline <= latest for deadline in now), (earliest, now)


@pytest.mark.parametrize("kind", ["plain", "booted"])
def test_the_host_key_of_user_data_is_replaced_and_refused_from_then_on(
    ec2: FakeEC2, keys: Keys, kind: str
) -> None:
    ec2.set(kind=kind)
    instance = instances.start(ec2, keys).ready()
    instance.admit()
    made = [instance.ssh(shlex.join(boot.MAKE_NEXT)).stdout.strip() for _ in range(2)]
    assert made[0].startswith("ssh-ed25519 ")
    assert made[0] == made[1] != public_key(keys.host)
    assert instance.ssh("true").returncode == 0  # sshd offers the old key until it is replaced
    assert instance.ssh(shlex.join(boot.SWITCH_TO_NEXT)).returncode == 0
    assert "Host key verification failed" in instance.ssh("true").stderr
    assert instance.ssh("true", known=made[0]).returncode == 0
    instance.cut_power()
    instance.power_on()
    ec2.until(lambda: instance.ssh("true", known=made[0]).returncode == 0, what="it stays over a stop")


def disks(**more: Any) -> Any:
    """Return the block device mappings of a root disk and a data disk."""
    root = {"DeviceName": "/dev/sda1", "Ebs": {"VolumeSize": 40, "DeleteOnTermination": True}}
    return [root, {"DeviceName": "/dev/sdf", "Ebs": {"VolumeSize": 1, **more}}]


def test_a_spot_notice_leaves_a_checkpoint_on_the_data_volume(ec2: FakeEC2, keys: Keys) -> None:
    launched = {"BlockDeviceMappings": disks(DeleteOnTermination=False)}
    launched["InstanceMarketOptions"] = {"MarketType": "spot"}
    instance = instances.start(ec2, keys, launched, data=ANY_VOLUME, spot=True)
    instance.ready()
    instance.admit()
    assert instance.ask(
        "start", spec={"id": RUN, "mark": "box-test-mark-of-spot", "argv": ["sh", "-c", AT_ONCE]}
    )
    ec2.interrupt(instance.id, seconds=120)
    ec2.until(lambda: ended(instance) == "preempted", what="the run hears the notice")
    assert instance.ask("instance")["notice"]["action"] == "terminate"
    aws().terminate_instances(InstanceIds=[instance.id])  # the rest of the two minutes is not waited for
    ec2.until(lambda: ec2.states()[instance.id] == "terminated")
    volumes = aws().describe_volumes(Filters=[{"Name": "status", "Values": ["available"]}])["Volumes"]
    assert [volume["Size"] for volume in volumes] == [1]
    found = volumes[0]["VolumeId"]
    again = instances.start(ec2, keys, data=volume_path(found), spot=True)
    assert not again.has("/run/gpujob/ready")
    aws().attach_volume(VolumeId=found, InstanceId=again.id, Device="/dev/sdf")
    again.ready()
    assert again.has(f"/home/ubuntu/.gpujob/runs/{RUN}/checkpoints/7")


def test_a_disk_with_other_content_is_not_formatted(ec2: FakeEC2, keys: Keys) -> None:
    instance = instances.start(ec2, keys, {"BlockDeviceMappings": disks()}).ready()
    disk = instance.run("sh", "-c", "ls /dev/disk/by-id/*").strip()
    instance.run("sh", "-c", f"mkfs.ext4 -q -L other {disk}")
    assert ec2.run(instance.id, "sh", "-c", LOOK.replace("DISK", disk)) == (1, "")
    assert instance.run("blkid", "-p", "-o", "value", "-s", "LABEL", disk) == "other\n"


LOOK = "sed -n '/^ours()/,/^}/p' /var/lib/cloud/scripts/per-boot/gpujob >/tmp/ours; . /tmp/ours; ours DISK"
