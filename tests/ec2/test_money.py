"""Costs are shown before a launch, limited by a budget, and added up afterwards."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from typing import Any

import pytest

from orchestrator.instances.cloud import Cloud
from tests.ec2 import user
from tests.ec2.test_rig import IMAGE, OURS, TAGS, aws
from tests.ec2.user import UP
from tests.rigs.ec2.fake import FakeEC2
from tests.rigs.patience import PATIENCE
from tests.support import REPOSITORY, Client, new_client

NO_NETWORK = """
import socket, sys
sys.path.insert(0, {repository!r})
def refused(*words, **more):
    raise AssertionError('a socket')
socket.socket.connect = socket.create_connection = socket.getaddrinfo = refused
from orchestrator.cli import main
code = main()
late = sorted(set(sys.modules) & {{'boto3', 'botocore', 'paramiko', 'fabric', 'torch'}})
sys.stderr.write('LATE %s\\n' % late)
sys.exit(code)
"""
SEEN = """
import sys
sys.path.insert(0, {repository!r})
from orchestrator.cli import main
code = main()
sys.stderr.write('LATE %s\\n' % sorted(set(sys.modules) & {{'boto3', 'botocore'}}))
sys.exit(code)
"""


def apart(client: Client, script: str, *words: str) -> subprocess.CompletedProcess[str]:
    """Run `gpujob WORDS` in a separate process."""
    code = script.format(repository=str(REPOSITORY))
    return subprocess.run(
        [sys.executable, "-c", code, *words],
        cwd=client.project,
        env=client.env,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )


@pytest.mark.parametrize("shape", [(), ("--json",)])
def test_a_dry_run_is_reproducible_without_network_or_credentials(
    shape: tuple[str, ...],
) -> None:
    with new_client() as client:
        client.job("print('hello')")
        words = ("deploy", "job", "--on", "ec2", "--dry-run", "--budget", "40", *shape)
        first, second = apart(client, NO_NETWORK, *words), apart(client, NO_NETWORK, *words)
        assert first.returncode == 0, first.stderr
        assert first.stdout == second.stdout != ""
        assert "LATE []" in first.stderr
        words_of = ("prices of 2026-07-20", "$40.00", "this address/32", "disk 100 GB")
        fields = ('"prices_as_of": "2026-07-20"', '"worst_case_usd": 40.0', '"disk_gb": 100')
        for part in ("g6.xlarge", *(fields if shape else words_of)):
            assert part in first.stdout
        up = apart(client, NO_NETWORK, "hosts", "up", "--dry-run", "--max-hours", "2", *shape)
        limit = '"limited_by": "--max-hours"' if shape else "at most 2 h (--max-hours)"
        assert (up.returncode, limit in up.stdout) == (0, True), up.stderr
        assert not client.state_dir.exists() or not list(client.state_dir.glob("launches/*"))


def test_status_of_an_instance_that_answers_never_imports_boto3(ec2: FakeEC2, client: Client) -> None:
    assert user.run(client, *UP).code == 0
    assert user.run(client, "status").code == 0  # searches all regions, which it does once an hour
    before = len(ec2.calls())
    result = apart(client, SEEN, "status", "--json")
    assert result.returncode == 0, result.stderr
    label = f"ec2://{user.only(client).id}"
    (host,) = [one for one in json.loads(result.stdout)["hosts"] if one["target"] == label]
    assert not host.get("unreachable")
    assert host["disk"]
    assert "LATE []" in result.stderr
    assert len(ec2.calls()) == before


def test_no_instance_is_launched_before_its_price_is_confirmed(ec2: FakeEC2, client: Client) -> None:
    result = user.run(client, *UP[:-1])
    assert result.code == 7
    for part in ("g5.xlarge, on demand", "at most 2 h", "$2.04", "198.51.100.7/32", "--yes"):
        assert part in result.err
    assert ec2.calls("RunInstances") == []
    assert user.store(client).attempts() == []


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_the_answer_no_is_the_default(ec2: FakeEC2, client: Client) -> None:
    result = user.run(client, *UP[:-1], stdin=Terminal("\n"), stderr=Terminal())
    assert (result.code, "nothing was changed" in result.err) == (2, True)
    assert ec2.calls("RunInstances") == []


def test_a_budget_becomes_the_deadline_of_the_instance_and_its_tag(ec2: FakeEC2, client: Client) -> None:
    clock = user.Clock()
    start = clock.now()
    words = ("hosts", "up", "--type", "g5.xlarge", "--budget", "10.22", "--yes")
    assert user.run(client, *words, now=clock.now, sleep=clock.sleep).code == 0
    instance = user.only(client)
    hours = (instance.deadline - start) / 3600
    assert hours == pytest.approx(10.0, abs=0.05)
    described = aws().describe_instances(InstanceIds=[instance.id])["Reservations"][0]["Instances"][0]
    tags = {tag["Key"]: tag["Value"] for tag in described["Tags"]}
    assert tags["gpujob:expires-at"] == str(int(instance.deadline))
    attribute = aws().describe_instance_attribute(InstanceId=instance.id, Attribute="userData")
    assert attribute["UserData"]["Value"]
    code, on_box = ec2.run(instance.id, "cat", "/run/gpujob/deadline")
    assert (code, on_box.strip()) == (0, str(int(instance.deadline)))


def test_hosts_list_shows_running_costs_and_cost_those_that_ended(ec2: FakeEC2, client: Client) -> None:
    assert user.run(client, *UP).code == 0
    label = f"ec2://{user.only(client).id}"
    later = user.Clock()
    later.ahead = 3600.0
    listed = user.run(client, "hosts", "list", "--json", now=later.now).json
    (shown,) = listed["instances"]
    assert (shown["state"], shown["type"]) == ("running", "g5.xlarge")
    assert shown["cost_usd"] == pytest.approx(1.022, abs=0.03)
    assert shown["worst_case_usd"] == pytest.approx(2.044, abs=0.03)
    assert [host["name"] for host in listed["hosts"]] == [shown["id"]]
    down = user.run(client, "hosts", "down", label, "--yes", now=later.now, sleep=later.sleep)
    assert down.code == 0, down.err
    assert user.run(client, "hosts", "list", "--json").json["instances"] == []
    later.ahead += 24 * 3600.0
    cost = user.run(client, "cost", "--json", now=later.now).json
    (row,) = cost["instances"]
    assert (row["state"], row["runs"]) == ("terminated", {})
    assert row["cost_usd"] == row["wasted_usd"] == pytest.approx(1.022, abs=0.06)
    assert sum(month["cost_usd"] for month in cost["months"].values()) == row["cost_usd"]


def test_down_needs_yes_and_accepts_an_already_terminated_instance(ec2: FakeEC2, client: Client) -> None:
    assert user.run(client, *UP).code == 0
    label = f"ec2://{user.only(client).id}"
    assert user.run(client, "hosts", "down", label).code == 7
    assert set(ec2.states().values()) == {"running"}
    aws().terminate_instances(InstanceIds=[user.only(client).id])
    ec2.until(lambda: set(ec2.states().values()) == {"terminated"})
    again = user.run(client, "hosts", "down", label, "--yes")
    assert (again.code, "had ended" in again.err) == (0, True)
    assert ec2.leftovers() == []


def test_orphans_in_every_region_are_listed_and_terminated_if_confirmed(ec2: FakeEC2, client: Client) -> None:
    assert Cloud(client.context()).regions("us-east-1") == ["eu-west-1", "us-east-1", "us-west-2"]
    ec2.set(machines=False)
    user.run(client, *UP, sleep=_pass)
    known = user.only(client).id
    ec2.set(hidden_calls=0)  # what follows was created long ago
    lost = _launch("us-west-2", tags=[*TAGS, {"Key": "gpujob:expires-at", "Value": "1700000000"}])
    _launch("eu-west-1", tags=[])
    (volume,) = [_volume("us-west-2")]
    result = user.run(client, "hosts", "orphans", "--json")
    assert result.code == 1
    assert {(row["kind"], row["id"]) for row in result.json["orphans"]} == {
        ("instance", lost),
        ("volume", volume),
    }
    assert user.run(client, "hosts", "orphans", "--end").code == 7
    ended = user.run(client, "hosts", "orphans", "--end", "--yes")
    assert ended.code == 0, ended.err
    assert lost not in ec2.leftovers()
    assert volume not in ec2.leftovers()
    assert ec2.states()[known] == "running"
    assert user.run(client, "hosts", "orphans").code == 0


def test_another_users_instance_is_shown_and_not_ended_early(ec2: FakeEC2, client: Client) -> None:
    ec2.set(machines=False)
    until = str(int(user.Clock().now()) + 3600)
    theirs = [{"Key": "gpujob:user", "Value": "bob@desk"}, {"Key": "gpujob:expires-at", "Value": until}]
    other = _launch("us-east-1", tags=[*TAGS, *theirs])
    ended = user.run(client, "hosts", "orphans", "--region", "us-east-1", "--end", "--yes")
    assert (ended.code, other in ended.out, "is of bob@desk" in ended.err) == (1, True, True)
    assert ec2.states()[other] != "terminated", ended.err


def _pass(seconds: float) -> None:
    raise KeyboardInterrupt


def _launch(region: str, tags: Any = TAGS) -> str:
    specifications = [{"ResourceType": kind, "Tags": tags} for kind in OURS] if tags else []
    response = aws(region=region).run_instances(
        ImageId=IMAGE,
        InstanceType="g5.xlarge",
        MinCount=1,
        MaxCount=1,
        TagSpecifications=specifications,
    )
    return str(response["Instances"][0]["InstanceId"])


def _volume(region: str) -> str:
    made = aws(region=region).create_volume(
        AvailabilityZone=f"{region}a",
        Size=1,
        VolumeType="gp3",
        TagSpecifications=[
            {"ResourceType": "volume", "Tags": [*TAGS, {"Key": "gpujob:expires-at", "Value": "1700000000"}]}
        ],
    )
    return str(made["VolumeId"])
