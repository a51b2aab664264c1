"""What stands between a forgotten box and its bill: on machines with real systemd and cloud-init."""

from __future__ import annotations

import shlex
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from orchestrator.core import hostkey, userdata
from orchestrator.core.userdata import ANY_VOLUME
from tests.ec2 import boxes
from tests.ec2.boxes import Box, Keys
from tests.ec2.test_rig import client
from tests.rigs.ec2.client import FakeEC2
from tests.rigs.keys import public_key

SOON = 14  # seconds from launch: the machines come up side by side
LATE = 60
Scenario = Callable[[FakeEC2, Keys], Box]
HUNG = "trap '' TERM HUP INT; while :; do sleep 1; done"
SAVES = "trap '' HUP; trap 'sleep 8; echo step 7 >checkpoint; exit' TERM; while :; do sleep 1; done"


@pytest.fixture
def keys(tmp_path: Path) -> Keys:
    return Keys.made(tmp_path)


@pytest.fixture
def booted(ec2: FakeEC2) -> FakeEC2:
    ec2.set(kind="booted", pending=0.05, stopping=0.05)
    return ec2


def client_gone(ec2: FakeEC2, keys: Keys) -> Box:
    return boxes.start(ec2, keys, lives=SOON)


def every_runcmd_failing(ec2: FakeEC2, keys: Keys) -> Box:
    """Nothing renews the lease of a box that was never ready: the boot's grace ends it."""
    return boxes.start(ec2, keys, boot_grace=SOON, runcmd=boxes.FAILING)


def full_disk(ec2: FakeEC2, keys: Keys) -> Box:
    box = boxes.start(ec2, keys, lives=SOON)
    ec2.until(lambda: box.has("/var/lib/gpujob/given"))
    ec2.run(box.instance, "sh", "-c", "cat /dev/zero >/var/fill")
    assert ec2.run(box.instance, "sh", "-c", "echo more >/var/more")[0] != 0
    return box


def in_tmux(ec2: FakeEC2, keys: Keys, trainer: str) -> Box:
    """Its lease ends at once. systemd alone would wait a minute and a half for a login's processes."""
    box = boxes.start(ec2, keys).ready()
    box.admit()
    done = box.ssh(f"tmux new-session -d -s trainer {shlex.quote(trainer)} && tmux list-sessions")
    assert done.stdout.startswith("trainer:"), done.stderr
    box.run("sh", "-c", "date +%s >/run/gpujob/lease.new && mv /run/gpujob/lease.new /run/gpujob/lease")
    return replace(box, due=time.time())


def trainer_hung(ec2: FakeEC2, keys: Keys) -> Box:
    return in_tmux(ec2, keys, HUNG)


def trainer_saves(ec2: FakeEC2, keys: Keys) -> Box:
    return in_tmux(ec2, keys, SAVES)


def network_dropped(ec2: FakeEC2, keys: Keys) -> Box:
    box = boxes.start(ec2, keys, lives=SOON)
    ec2.isolate(box.instance)
    return box


def stopped_and_started_past_its_deadline(ec2: FakeEC2, keys: Keys) -> Box:
    box = boxes.start(ec2, keys, lives=4)
    ec2.until(lambda: box.has("/var/lib/gpujob/given"))
    box.cut_power()
    time.sleep(4)
    box.power_on()
    return box


SCENARIOS: tuple[Scenario, ...] = (
    trainer_hung,
    trainer_saves,
    client_gone,
    every_runcmd_failing,
    full_disk,
    network_dropped,
    stopped_and_started_past_its_deadline,
)


def test_a_box_goes_off_within_a_minute_of_its_deadline_whatever_hangs(booted: FakeEC2, keys: Keys) -> None:
    """Side by side, since most of it is waiting. One box has time, and must stay."""
    booted.set(disk_mb=64)
    with ThreadPoolExecutor(len(SCENARIOS)) as pool:
        stays = boxes.start(booted, keys)
        begun = [(scenario.__name__, pool.submit(scenario, booted, keys)) for scenario in SCENARIOS]
        running = {name: future.result() for name, future in begun}
    late = {name: seconds_over(box) for name, box in running.items()}
    assert {name: seconds for name, seconds in late.items() if not -1 < seconds < LATE} == {}
    saved = booted.disk(running["trainer_saves"].instance) / "home/ubuntu/checkpoint"
    assert saved.read_text() == "step 7\n"
    assert booted.states()[stays.instance] == "running"


def seconds_over(box: Box) -> float:
    """How long after its time the box went off."""
    box.ec2.until(lambda: box.ec2.states()[box.instance] == "stopped", max(1.0, box.due + LATE - time.time()))
    return (box.ec2.went_off(box.instance) or 0) - box.due


def test_a_boot_without_cloud_init_ends_too(booted: FakeEC2, keys: Keys) -> None:
    box = boxes.start(booted, keys).ready()
    box.cut_power()
    (booted.disk(box.instance) / "etc/cloud/cloud-init.disabled").touch()
    box.power_on()
    timer = ("systemctl", "-q", "is-active", "gpujob-late.timer")
    booted.until(lambda: booted.run(box.instance, *timer)[0] == 0)
    assert not box.has("/run/gpujob/deadline")
    box.run("systemctl", "start", "--no-block", "gpujob-late.service")  # in two minutes, of its own
    booted.until(lambda: booted.states()[box.instance] == "stopped")


def test_an_extended_deadline_outlives_a_stop_and_a_new_one_wins_over_it(ec2: FakeEC2, keys: Keys) -> None:
    box = boxes.start(ec2, keys, lives=1000).ready()
    first = int(box.run("cat", "/run/gpujob/deadline"))
    box.run("sh", "-c", f"echo {first + 5000} >/var/lib/gpujob/deadline")
    box.cut_power()
    box.power_on()
    box.ready()
    assert int(box.run("cat", "/run/gpujob/deadline")) == first + 5000
    box.cut_power()
    later = boxes.told(keys, lives=9000)
    client().modify_instance_attribute(InstanceId=box.instance, UserData={"Value": later.encode()})
    box.power_on()
    box.ready()
    now = [int(box.run("cat", f"{folder}/deadline")) for folder in ("/run/gpujob", "/var/lib/gpujob")]
    assert now == [pytest.approx(time.time() + 9000, abs=30)] * 2


def test_the_host_key_of_user_data_is_replaced_and_refused_from_then_on(booted: FakeEC2, keys: Keys) -> None:
    box = boxes.start(booted, keys).ready()
    box.admit()
    made = [box.ssh(shlex.join(hostkey.make())).stdout.strip() for _ in range(2)]
    assert made[0].startswith("ssh-ed25519 ")
    assert made[0] == made[1] != public_key(keys.host)
    assert box.ssh("true").returncode == 0  # until it is switched, the old one is offered
    assert box.ssh(shlex.join(hostkey.switch())).returncode == 0
    booted.until(lambda: box.ssh("true", known=made[0]).returncode == 0, what="the new key is offered")
    assert "Host key verification failed" in box.ssh("true").stderr
    assert box.ssh("true", known=made[0]).returncode == 0
    box.cut_power()
    box.power_on()
    booted.until(lambda: box.ssh("true", known=made[0]).returncode == 0, what="it stays over a stop")


def disks(**more: Any) -> Any:
    """A root disk, and one more."""
    root = {"DeviceName": "/dev/sda1", "Ebs": {"VolumeSize": 40, "DeleteOnTermination": True}}
    return [root, {"DeviceName": "/dev/sdf", "Ebs": {"VolumeSize": 1, **more}}]


def test_a_spot_box_keeps_its_runs_on_a_disk_that_it_makes_once(ec2: FakeEC2, keys: Keys) -> None:
    launched = {"BlockDeviceMappings": disks(DeleteOnTermination=False)}
    launched["InstanceMarketOptions"] = {"MarketType": "spot"}
    box = boxes.start(ec2, keys, launched, data=ANY_VOLUME, spot=True)
    box.ready()
    assert box.has("/run/gpujob/spot")
    box.run("sudo", "-u", "ubuntu", "touch", "/home/ubuntu/.gpujob/kept")
    client().terminate_instances(InstanceIds=[box.instance])
    ec2.until(lambda: ec2.states()[box.instance] == "terminated")
    volumes = client().describe_volumes(Filters=[{"Name": "status", "Values": ["available"]}])["Volumes"]
    assert [volume["Size"] for volume in volumes] == [1]
    found = volumes[0]["VolumeId"]
    again = boxes.start(ec2, keys, data=userdata.volume(found), spot=True)
    assert not again.has("/run/gpujob/ready")
    client().attach_volume(VolumeId=found, InstanceId=again.instance, Device="/dev/sdf")
    again.ready()
    assert again.has("/home/ubuntu/.gpujob/kept")


def test_a_disk_that_holds_something_else_is_left_alone(ec2: FakeEC2, keys: Keys) -> None:
    box = boxes.start(ec2, keys, {"BlockDeviceMappings": disks()}).ready()
    disk = box.run("sh", "-c", "ls /dev/disk/by-id/*").strip()
    box.run("sh", "-c", f"mkfs.ext4 -q -L other {disk}")
    assert ec2.run(box.instance, "sh", "-c", LOOK.replace("DISK", disk)) == (1, "")
    assert box.run("blkid", "-p", "-o", "value", "-s", "LABEL", disk) == "other\n"


LOOK = "sed -n '/^ours()/,/^}/p' /var/lib/cloud/scripts/per-boot/gpujob >/tmp/ours; . /tmp/ours; ours DISK"
