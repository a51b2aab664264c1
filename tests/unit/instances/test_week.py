"""A week of three users with faults of every kind: the cost shown is the bill, and nothing is unseen."""

from __future__ import annotations

import contextlib
import random
import types
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from msgspec.structs import replace

from orchestrator.commands import download
from orchestrator.core import runfacts
from orchestrator.instances import boot, connection, region, survey
from orchestrator.instances.cloud import Account, Cloud
from orchestrator.instances.errors import AwsError
from orchestrator.instances.instance import Instance
from orchestrator.targets import helper
from tests.support import Client, Result, new_client
from tests.unit.instances.simulated_aws import Killed, SimulatedAws
from tests.unit.instances.simulated_world import HOUR, REGIONS, Clock

pytestmark = pytest.mark.slow

Trials = Callable[[int, int], int]
RUN = "job-20261121T101112-1a2b"
ENDED = {"id": RUN, "state": {"ended": 1.0, "reason": "exit", "exit_code": 0}, "supervised": False}


class Host:
    """An instance that answers; `fetch` reads its disks."""

    def __init__(self, account: Account, instance: Instance) -> None:
        self.id, self.label, self.account = instance.id, instance.label, account

    def ask(self, op: str, **_: Any) -> dict[str, Any]:
        return {"ready": True}

    @contextlib.contextmanager
    def keep_awake(self) -> Iterator[None]:
        yield

    def close(self) -> None:
        pass


class OneThread:
    """A thread pool of one thread, with which a seed always gives the same week."""

    def __init__(self, _: int) -> None:
        pass

    def __enter__(self) -> OneThread:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def map(self, act: Callable[[str], Any], names: list[str]) -> list[Any]:
        return [act(name) for name in names]


class Week:
    def __init__(self, monkeypatch: pytest.MonkeyPatch, seed: int) -> None:
        self.random, self.clock = random.Random(seed), Clock()
        self.aws = aws = SimulatedAws(self.clock, self.random, faults=0.02)
        self.clients: list[Client] = []
        facts = runfacts.parse_run(ENDED)
        snapshot = types.SimpleNamespace(runs=(facts,), machine=None)
        result = download.Download((), (), ())

        def fetch(_ctx: Any, host: Host, *_: Any) -> download.Download:
            aws.fetch(host.id)
            return result

        def rotate(account: Account, instance: Instance, host: Host) -> Instance:
            return account.records.save(replace(instance, host_key_rotated=True))

        monkeypatch.setattr(Cloud, "_once", lambda cloud, *words: aws.once(*words))
        monkeypatch.setattr(connection, "answers", aws.answers)
        for module in (connection, boot):
            monkeypatch.setattr(module, "InstanceHost", Host)
        monkeypatch.setattr(boot, "_rotate_host_key", rotate)
        monkeypatch.setattr(survey, "ThreadPoolExecutor", OneThread)
        monkeypatch.setattr(region, "own_address", lambda ctx: "203.0.113.7")
        monkeypatch.setattr(helper, "snapshot", lambda host, lines=0: snapshot)
        monkeypatch.setattr(download, "download_run", fetch)

    def run(self, client: Client, *words: str) -> Result | None:
        """Run a command; return None if it was killed."""
        try:
            return client.run(*words, now=lambda: self.clock.now, sleep=self.clock.sleep)
        except Killed:
            return None

    def again(self, client: Client, *words: str, codes: tuple[int, ...] = (0,)) -> Result:
        """Run a command until it succeeds, as a user does whose computer fails now and then."""
        for _ in range(60):
            result = self.run(client, *words)
            if result and result.code in codes:
                return result
            self.clock.sleep(self.random.choice((60.0, 300.0, 900.0)))
        raise AssertionError((words, result and result.err))

    def launch(self, number: int) -> None:
        client = self.random.choice(self.clients)
        words = ["--type", "g5.xlarge", "--name", f"job{number}", "--region", self.random.choice(REGIONS)]
        words += ["--max-hours", str(self.random.randint(2, 12)), "--yes"]
        words += ["--spot"] if self.random.random() < 0.5 else []
        for _ in range(12):
            result = self.run(client, "hosts", "up", *words)
            if result and result.code == 0:
                break
            self.clock.sleep(300.0)
        for machine in list(self.aws.machines.values()):
            if machine.spot and machine.state == "running" and self.random.random() < 0.3:
                self.aws.interrupt(machine, self.random.choice((0.5, 3.0, 30.0)))

    def end(self, client: Client) -> None:
        """Fetch from one of the user's instances and end it, with its volume."""
        listed = self.again(client, "hosts", "list", "--json")
        instances = [one["label"] for one in listed.json["instances"]]
        if instances:
            label = self.random.choice(instances)
            self.run(client, "hosts", "down", label, "--yes")

    def require_all_listed(self, client: Client) -> None:
        owner = client.context().who
        listed = self.again(client, "hosts", "list", "--json").json
        shown = {one["id"] for one in (*listed["instances"], *listed["resources"])}
        shown |= {one["volume"] for one in listed["instances"]}
        new = {one.id for one in self.aws.machines.values() if self.clock.now - one.launched < 60}
        assert self.aws.billed(owner) - new <= shown


@pytest.fixture
def week(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[int], Week]]:
    with contextlib.ExitStack() as stack:

        def start(seed: int) -> Week:
            made = Week(monkeypatch, seed)
            for name in ("ada", "bob", "eve"):
                client = stack.enter_context(new_client())
                client.env |= {"USER": name, "GPUJOB_TARGET": "ec2"}
                made.clients.append(client)
            return made

        yield start


def test_the_cost_shown_after_a_week_of_faults_is_the_bill(
    week: Callable[[int], Week], trials: Trials
) -> None:
    for seed in range(trials(1, 8)):
        one = week(seed)
        for number in range(trials(6, 20)):
            one.launch(number)
            for client in one.clients:
                one.require_all_listed(client)
            one.clock.sleep(one.random.uniform(0, 16) * HOUR)
            one.end(one.random.choice(one.clients))
        for client in one.clients:
            one.require_all_listed(client)
            cost = one.again(client, "cost", "--json").json
            usd = sum(month["cost_usd"] for month in cost["months"].values())
            one.aws.advance()
            assert usd == pytest.approx(one.aws.bill.get(client.context().who, 0.0), rel=0.01), seed
        assert one.aws.lost == [], seed


SHOWN = {
    "describe_instances": ("Reservations", "InstanceId", "InvalidInstanceID.NotFound"),
    "describe_volumes": ("Volumes", "VolumeId", "InvalidVolume.NotFound"),
    "describe_spot_instance_requests": ("SpotInstanceRequests", "SpotInstanceRequestId", ""),
}


class Flickering:
    """EC2 that loses sight of a resource now and then, for up to three seconds. `count`: how often."""

    def __init__(self, aws: SimulatedAws, seed: int) -> None:
        self.aws, self.once, self.random = aws, aws.once, random.Random(seed)
        self.hidden: dict[str, float] = {}
        self.count = 0

    def __call__(self, region: str, called: str, service: str, parameters: dict[str, Any]) -> dict[str, Any]:
        answer = self.once(region, called, service, parameters)
        if called not in SHOWN:
            return answer
        key, name, code = SHOWN[called]
        shown = [one for one in answer[key] if not self._is_hidden(one.get("Instances", [one])[0][name])]
        if not shown and {"InstanceIds", "VolumeIds"} & set(parameters):
            raise AwsError(code, "simulated", called, region, 400)
        return {key: shown}

    def _is_hidden(self, id_: str) -> bool:
        now = self.aws.clock.now
        if self.hidden.get(id_, 0.0) <= now and self.random.random() < 0.03:
            self.hidden[id_] = now + self.random.uniform(0.5, 3.0)
            self.count += 1
        return self.hidden.get(id_, 0.0) > now


def test_the_bill_is_shown_although_ec2_loses_sight_of_resources(
    week: Callable[[int], Week], trials: Trials
) -> None:
    for seed in range(2, 2 + trials(1, 6)):
        one = week(seed)
        one.aws.faults = 0.01
        flickering = Flickering(one.aws, seed)
        one.aws.once = flickering  # type: ignore[method-assign]
        for number in range(8):
            one.launch(number)
            for client in one.clients:
                one.again(client, "hosts", "list")
            one.clock.sleep(one.random.uniform(0, 16) * HOUR)
            one.end(one.random.choice(one.clients))
        one.aws.once = flickering.once  # type: ignore[method-assign]
        for client in one.clients:
            one.require_all_listed(client)
            cost = one.again(client, "cost", "--json").json
            usd = sum(month["cost_usd"] for month in cost["months"].values())
            one.aws.advance()
            bill = one.aws.bill.get(client.context().who, 0.0)
            # What was not observed meanwhile counts as running.
            assert 0.99 * bill - 0.01 <= usd <= 1.05 * bill + 0.01, seed
        assert (one.aws.lost, flickering.count > 5) == ([], True), seed


def test_a_failed_boot_on_a_spot_request_leaves_nothing_that_bills(week: Callable[[int], Week]) -> None:
    """The simulation fails if an instance ends before its request: EC2 would launch another one."""
    one = week(1)
    one.aws.faults, one.aws.is_broken = 0.0, True
    client = one.clients[0]
    words = ("hosts", "up", "--type", "g5.xlarge", "--spot", "--max-hours", "2", "--yes")
    result = one.run(client, *words)
    assert result
    assert (result.code, "did not boot and was terminated" in result.err) == (5, True), result.err
    one.clock.sleep(2 * HOUR)
    one.again(client, "status")
    assert one.aws.billed(client.context().who) == set()
    assert {request.state for request in one.aws.requests.values()} == {"cancelled"}
    assert one.aws.disks == {}


def test_an_on_demand_instance_whose_boot_never_ends_is_terminated(week: Callable[[int], Week]) -> None:
    """Nothing is on it yet, and without cloud-init it has no deadline of its own."""
    one = week(1)
    one.aws.faults, one.aws.is_broken = 0.0, True
    client, begin = one.clients[0], one.clock.now
    result = one.run(client, "hosts", "up", "--type", "g5.xlarge", "--max-hours", "2", "--yes")
    assert result
    assert "if it never boots, this command terminates it after 20 min" in result.err
    assert (result.code, "did not boot and was terminated" in result.err) == (5, True), result.err
    assert 20 * 60 <= one.clock.now - begin < 25 * 60 + HOUR  # a termination may take an hour
    one.clock.sleep(2 * HOUR)
    one.again(client, "status")
    assert one.aws.billed(client.context().who) == set()
    assert one.aws.disks == {}
    assert [machine.state for machine in one.aws.machines.values()] == ["terminated"]


def test_an_instance_whose_boot_never_ends_is_terminated_after_a_kill(week: Callable[[int], Week]) -> None:
    """Its client was killed while it waited: the same command waits for the rest of the 20 minutes only."""
    one = week(1)
    one.aws.faults, one.aws.is_broken = 0.0, True
    client, words = one.clients[0], ("hosts", "up", "--type", "g5.xlarge", "--max-hours", "2", "--yes")

    def killed(seconds: float) -> None:
        one.clock.sleep(seconds)
        if one.aws.machines and one.clock.now - min(m.launched for m in one.aws.machines.values()) > 300:
            raise Killed

    with contextlib.suppress(Killed):
        client.run(*words, now=lambda: one.clock.now, sleep=killed)
    assert [machine.state for machine in one.aws.machines.values()] == ["running"]
    again = one.run(client, *words)
    assert again
    assert "did not boot and was terminated" in again.err
    assert len(one.aws.machines) == 1
