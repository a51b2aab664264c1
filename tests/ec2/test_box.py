"""What stands between a forgotten box and its bill: on machines with real systemd and cloud-init."""

from __future__ import annotations

import os
import shlex
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from orchestrator.core import hostkey
from orchestrator.instances import userdata
from orchestrator.instances.userdata import ANY_VOLUME, READY
from tests.ec2 import boxes
from tests.ec2.boxes import PATIENCE, Box, Keys
from tests.ec2.test_rig import client
from tests.rigs.ec2.client import FakeEC2
from tests.rigs.keys import public_key

SOON = 14  # seconds from launch: the machines come up side by side
LATE = 60
Scenario = Callable[[FakeEC2, Keys], Box]
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


def client_gone(ec2: FakeEC2, keys: Keys) -> Box:
    return boxes.start(ec2, keys, lives=SOON)


def every_runcmd_failing(ec2: FakeEC2, keys: Keys) -> Box:
    """Nothing renews the lease of a box that was never ready: the boot's grace ends it."""
    return boxes.start(ec2, keys, boot_grace=SOON, runcmd=boxes.FAILING)


def full_disk(ec2: FakeEC2, keys: Keys) -> Box:
    box = boxes.start(ec2, keys, lives=SOON)
    ec2.until(lambda: box.has("/var/lib/gpujob/given"))
    fill(box)
    return box


def fill(box: Box) -> None:
    box.ec2.run(box.instance, "sh", "-c", "cat /dev/zero >/var/fill")
    assert box.ec2.run(box.instance, "sh", "-c", "echo more >/var/more")[0] != 0


def in_tmux(ec2: FakeEC2, keys: Keys, trainer: str, patience: int = PATIENCE) -> Box:
    """Its lease ends at once. systemd alone would wait a minute and a half for a login's processes."""
    box = boxes.start(ec2, keys, patience=patience).ready()
    box.admit()
    done = box.ssh(f"tmux new-session -d -s trainer {shlex.quote(trainer)} && tmux list-sessions")
    assert done.stdout.startswith("trainer:"), done.stderr
    return replace(box, due=box.end_lease())


def trainer_hung(ec2: FakeEC2, keys: Keys) -> Box:
    return in_tmux(ec2, keys, HUNG, PATIENCE if os.environ.get("GPUJOB_TEST_FULL") else 3)


def trainer_saves(ec2: FakeEC2, keys: Keys) -> Box:
    return in_tmux(ec2, keys, SAVES)


def run_idle(ec2: FakeEC2, keys: Keys) -> Box:
    """Its supervisor sees a GPU without work and a log that stands still, and renews the lease no more."""
    box = boxes.start(ec2, keys)
    disk = ec2.disk(box.instance)
    (disk / "usr/local/bin/nvidia-smi").write_text(IDLE_GPU)
    (disk / "usr/local/bin/nvidia-smi").chmod(0o755)
    box.ready().admit()
    spec = {
        "id": RUN,
        "mark": "box-test-mark-of-a-run",
        "argv": ["sh", "-c", HUNG],
        "limits": {"idle_minutes": 0.02, "grace_seconds": 2},
    }
    box.end_lease(in_seconds=10)
    assert box.ask("start", spec=spec)["started"]
    ec2.until(lambda: ended(box) == "idle", what="the run is ended as idle")
    return replace(box, due=float(box.run("cat", "/run/gpujob/lease")))


def ended(box: Box) -> str | None:
    reason: str | None = box.ask("look")["runs"][0]["state"]["reason"]
    return reason


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
    run_idle,
    client_gone,
    every_runcmd_failing,
    full_disk,
    network_dropped,
    stopped_and_started_past_its_deadline,
)


def test_a_box_goes_off_within_a_minute_of_its_deadline_whatever_hangs(
    booted: FakeEC2, keys: Keys, trials: Any
) -> None:
    """Side by side, since most of it is waiting. One box has time, and must stay."""
    for _ in range(trials(1, 5)):
        each_goes_off(booted, keys)
        booted.reset()
        booted.set(kind="booted")


def each_goes_off(booted: FakeEC2, keys: Keys) -> None:
    booted.set(disk_mb=64)
    with ThreadPoolExecutor(len(SCENARIOS)) as pool:
        stays = boxes.start(booted, keys)
        begun = [(scenario.__name__, pool.submit(scenario, booted, keys)) for scenario in SCENARIOS]
        running = {name: future.result() for name, future in begun}
    late = {name: seconds_over(name, box) for name, box in running.items()}
    assert {name: seconds for name, seconds in late.items() if not -1 < seconds < LATE} == {}
    saved = booted.disk(running["trainer_saves"].instance) / "home/ubuntu/checkpoint"
    assert saved.read_text() == "step 7\n"
    assert booted.states()[stays.instance] == "running"


def seconds_over(name: str, box: Box) -> float:
    """How long after its time the box went off."""
    left = max(1.0, box.due + LATE - time.time())
    box.ec2.until(lambda: box.ec2.states()[box.instance] == "stopped", left, f"{name} is off")
    return (box.ec2.went_off(box.instance) or 0) - box.due


def test_a_boot_at_which_the_full_disk_ends_cloud_init_has_its_switches_too(
    booted: FakeEC2, keys: Keys
) -> None:
    booted.set(disk_mb=64)
    box = boxes.start(booted, keys).ready()
    kept = int(box.run("cat", "/var/lib/gpujob/deadline"))
    fill(box)
    box.cut_power()
    box.power_on()
    late = ("systemctl", "start", "gpujob-late.service")  # by its timer, 45 seconds after the boot
    timer = ("systemctl", "-q", "is-active", "gpujob-late.timer")
    booted.until(lambda: booted.run(box.instance, *timer)[0] == 0)
    assert not box.has("/run/gpujob/deadline")
    box.run(*late)
    assert int(box.run("cat", "/run/gpujob/deadline")) == kept
    assert box.has(READY)
    box.run("sh", "-c", "echo 1 >/run/gpujob/deadline")
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


@pytest.mark.parametrize("kind", ["plain", "booted"])
def test_the_host_key_of_user_data_is_replaced_and_refused_from_then_on(
    ec2: FakeEC2, keys: Keys, kind: str
) -> None:
    ec2.set(kind=kind)
    box = boxes.start(ec2, keys).ready()
    box.admit()
    made = [box.ssh(shlex.join(hostkey.make())).stdout.strip() for _ in range(2)]
    assert made[0].startswith("ssh-ed25519 ")
    assert made[0] == made[1] != public_key(keys.host)
    assert box.ssh("true").returncode == 0  # until it is switched, the old one is offered
    assert box.ssh(shlex.join(hostkey.switch())).returncode == 0
    assert "Host key verification failed" in box.ssh("true").stderr
    assert box.ssh("true", known=made[0]).returncode == 0
    box.cut_power()
    box.power_on()
    ec2.until(lambda: box.ssh("true", known=made[0]).returncode == 0, what="it stays over a stop")


def disks(**more: Any) -> Any:
    """A root disk, and one more."""
    root = {"DeviceName": "/dev/sda1", "Ebs": {"VolumeSize": 40, "DeleteOnTermination": True}}
    return [root, {"DeviceName": "/dev/sdf", "Ebs": {"VolumeSize": 1, **more}}]


def test_a_spot_notice_leaves_a_checkpoint_on_a_disk_that_outlives_the_box(ec2: FakeEC2, keys: Keys) -> None:
    launched = {"BlockDeviceMappings": disks(DeleteOnTermination=False)}
    launched["InstanceMarketOptions"] = {"MarketType": "spot"}
    box = boxes.start(ec2, keys, launched, data=ANY_VOLUME, spot=True)
    box.ready()
    box.admit()
    assert box.ask("start", spec={"id": RUN, "mark": "box-test-mark-of-spot", "argv": ["sh", "-c", AT_ONCE]})
    ec2.interrupt(box.instance, seconds=120)
    ec2.until(lambda: ended(box) == "preempted", what="the run hears the notice")
    assert box.ask("box")["notice"]["action"] == "terminate"
    client().terminate_instances(InstanceIds=[box.instance])  # the rest of the two minutes is not waited for
    ec2.until(lambda: ec2.states()[box.instance] == "terminated")
    volumes = client().describe_volumes(Filters=[{"Name": "status", "Values": ["available"]}])["Volumes"]
    assert [volume["Size"] for volume in volumes] == [1]
    found = volumes[0]["VolumeId"]
    again = boxes.start(ec2, keys, data=userdata.volume(found), spot=True)
    assert not again.has("/run/gpujob/ready")
    client().attach_volume(VolumeId=found, InstanceId=again.instance, Device="/dev/sdf")
    again.ready()
    assert again.has(f"/home/ubuntu/.gpujob/runs/{RUN}/checkpoints/7")


def test_a_disk_that_holds_something_else_is_left_alone(ec2: FakeEC2, keys: Keys) -> None:
    box = boxes.start(ec2, keys, {"BlockDeviceMappings": disks()}).ready()
    disk = box.run("sh", "-c", "ls /dev/disk/by-id/*").strip()
    box.run("sh", "-c", f"mkfs.ext4 -q -L other {disk}")
    assert ec2.run(box.instance, "sh", "-c", LOOK.replace("DISK", disk)) == (1, "")
    assert box.run("blkid", "-p", "-o", "value", "-s", "LABEL", disk) == "other\n"


LOOK = "sed -n '/^ours()/,/^}/p' /var/lib/cloud/scripts/per-boot/gpujob >/tmp/ours; . /tmp/ours; ours DISK"
