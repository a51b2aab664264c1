"""A client killed at any point of a launch leaves no untracked and no duplicate instance."""

from __future__ import annotations

import shutil
import signal
import time
from collections.abc import Callable

import pytest
from msgspec.structs import replace

from tests.ec2 import listing, user
from tests.ec2.killing import Arrived, Killed, Killer, Trials, chosen, empty, untracked
from tests.ec2.user import UP
from tests.rigs.ec2.fake import FakeEC2
from tests.rigs.patience import PATIENCE
from tests.support import REPOSITORY, Client, Result

Faults = Callable[[], None]
POINTS = """
import os, signal, sys
sys.path.insert(0, {repository!r})
from orchestrator import files
from orchestrator.instances.records import InstanceStore
from orchestrator.instances.cloud import Cloud
count = 0
def point():
    global count
    count += 1
    if count == {at}:
        os.kill(os.getpid(), signal.SIGKILL)
def watched(where, name):
    real = getattr(where, name)
    def around(*words, **more):
        point(); found = real(*words, **more); point()
        return found
    setattr(where, name, around)
watched(Cloud, '_once'); watched(files, 'write_json')
watched(InstanceStore, '_save'); watched(InstanceStore, 'close_attempt')
"""


@pytest.fixture
def killer(ec2: FakeEC2, monkeypatch: pytest.MonkeyPatch) -> Killer:
    """A Killer for instances without machines: these tests end when an instance is running."""
    empty(ec2)
    user.share_clients(monkeypatch, ec2)
    return Killer(monkeypatch)


@pytest.fixture
def client(realtime_client: Client) -> Client:
    return realtime_client


def up(client: Client, *words: str) -> bool:
    """Run `hosts up` until it waits for the boot; return False if it was killed before."""

    clock = user.Clock()

    def wait(seconds: float) -> None:
        """Abort once the instance is running, since it has no machine to wait for."""
        if any(instance.state == "running" for instance in user.store(client).all()):
            raise Arrived
        pass_time(clock, seconds)

    try:
        result = user.run(client, *UP, *words, sleep=wait, now=clock.now)
    except Killed:
        return False
    except Arrived:
        return True
    raise AssertionError(result.err)


def pass_time(clock: user.Clock, seconds: float) -> None:
    """Advance the clock; the simulation, which knows no time here, gets one of its threads to run."""
    clock.ahead += seconds
    time.sleep(0.001)


def status(client: Client) -> Result:
    """Run `status` without real waits."""
    clock = user.Clock()
    words = ("status", "--json")
    result = user.run(client, *words, sleep=lambda seconds: pass_time(clock, seconds), now=clock.now)
    assert result.code == 0, result.err
    return result


def killed_everywhere(
    ec2: FakeEC2, client: Client, killer: Killer, points: list[int], faults: Faults, words: tuple[str, ...]
) -> None:
    """Kill a launch at each point, each time with no records and an empty account."""
    killed = 0
    for at in points:
        shutil.rmtree(client.state_dir, ignore_errors=True)
        empty(ec2)
        before = set(ec2.states())
        faults()
        killer.set(at)
        killed += not up(client, *words)
        killer.set(0)
        shown = status(client)
        assert untracked(ec2, client, before) == set(), at
        assert set(ec2.states()) - before == listing.priced(shown), at
        listing.require_listed(ec2, shown, at)
        assert up(client, *words), at
        assert len(set(ec2.states()) - before) == 1, (at, shown.err)
        assert untracked(ec2, client, before) == set(), at
        assert len(user.store(client).all()) == 1, at
        assert user.store(client).attempts() == [], at
        listing.require_one_each(ec2, client, words.count("--region") or 1, at)
    assert killed >= len(points) - 3  # the number of polls that return "pending" varies


def passed(
    killer: Killer, client: Client, faults: Faults = lambda: None, words: tuple[str, ...] = ()
) -> list[str]:
    """Return the points of a launch that is not killed."""
    faults()
    killer.set(0)
    assert up(client, *words)
    shutil.rmtree(client.state_dir)
    return killer.passed


def faults_of(ec2: FakeEC2, kind: str) -> Faults:
    def faults() -> None:
        if kind == "faults":
            ec2.inject("RunInstances", "InsufficientInstanceCapacity", az="us-east-1a", times=2)
            ec2.inject("RunInstances", "InsufficientInstanceCapacity", az="us-east-1b")
            ec2.inject("RunInstances", after=True, az="us-east-1c")
            ec2.inject("DescribeInstances", "RequestLimitExceeded")
        if kind == "another type":
            for zone in "abcdef":
                ec2.inject("RunInstances", "InsufficientInstanceCapacity", az=f"us-east-1{zone}")
        if kind == "elsewhere":
            ec2.inject("RunInstances", "MaxSpotInstanceCountExceeded", region="us-east-1", times=2)

    return faults


@pytest.mark.parametrize(
    ("kind", "words", "few", "least"),
    [
        ("none", (), 4, 40),
        ("faults", (), 2, 50),
        ("another type", ("--type", "g4dn.xlarge"), 1, 60),
        ("elsewhere", ("--spot", "--region", "us-east-1", "--region", "us-west-2"), 2, 60),
    ],
)
def test_a_launch_killed_at_any_point_is_resumed_to_one_instance(
    ec2: FakeEC2,
    client: Client,
    killer: Killer,
    trials: Trials,
    kind: str,
    words: tuple[str, ...],
    few: int,
    least: int,
) -> None:
    faults = faults_of(ec2, kind)
    points = passed(killer, client, faults, words)
    assert len(points) > least
    killed_everywhere(ec2, client, killer, chosen(trials, points, few), faults, words)


def test_an_attempt_without_an_instance_is_removed_unless_it_is_recent(
    ec2: FakeEC2, client: Client, killer: Killer
) -> None:
    clock = user.Clock()
    ec2.inject("RunInstances", after=False, times=6)
    assert user.run(client, *UP, sleep=clock.sleep, now=clock.now).code == 5
    (attempt,) = user.store(client).attempts()
    sent = attempt.request.sent
    user.run(client, "status", now=lambda: sent + 599)
    assert len(user.store(client).attempts()) == 1
    user.run(client, "status", now=lambda: sent + 601)
    assert user.store(client).attempts() == []


def test_a_recent_request_of_an_old_attempt_is_not_abandoned(
    ec2: FakeEC2, client: Client, killer: Killer
) -> None:
    ec2.set(hidden=3600.0)
    ec2.inject("RunInstances", "Unavailable", after=True)
    with pytest.raises(Killed):
        user.run(client, *UP, sleep=_killed)
    (attempt,) = user.store(client).attempts()
    user.store(client).save_attempt(replace(attempt, created=attempt.created - 3600))
    user.run(client, "status")
    assert len(user.store(client).attempts()) == 1
    ec2.set(hidden=0.0)
    ec2.until(lambda: user.run(client, "status") and user.store(client).all())
    assert user.store(client).attempts() == []


def _killed(seconds: float) -> None:
    raise Killed


def test_an_instance_found_hours_later_has_cost_those_hours(
    ec2: FakeEC2, client: Client, killer: Killer
) -> None:
    ec2.set(hidden_calls=0)
    ec2.inject("RunInstances", "Unavailable", after=True, times=6)
    assert user.run(client, *UP, sleep=lambda seconds: None).code == 5
    now = time.time() + 3600
    result = user.run(client, "status", "--json", now=lambda: now)
    (shown,) = [host["instance"] for host in result.json["hosts"] if host["instance"]]
    hours = (now - user.only(client).launched) / 3600
    assert shown["cost_usd"] == pytest.approx(1.022 * hours, abs=0.01)
    assert user.only(client).account


def test_status_shows_where_an_interrupted_launch_cannot_be_searched(
    ec2: FakeEC2, client: Client, killer: Killer
) -> None:
    ec2.inject("RunInstances", "Unavailable", after=True, times=6)
    assert user.run(client, *UP).code == 5
    ec2.inject("DescribeInstances", "AuthFailure")
    result = user.run(client, "status")
    assert (result.code, "could not be asked about an interrupted launch" in result.err) == (0, True)
    assert len(user.store(client).attempts()) == 1


def test_a_launch_whose_process_was_killed_is_resumed_by_the_next(
    ec2: FakeEC2, client: Client, killer: Killer, trials: Trials
) -> None:
    total = len(passed(killer, client))
    for share in (0.6, 0.35, 0.8)[: trials(1, 3)]:
        shutil.rmtree(client.state_dir, ignore_errors=True)
        empty(ec2)
        before = set(ec2.states())
        process = client.spawn(*UP, code=POINTS.format(at=int(total * share), repository=str(REPOSITORY)))
        _, stderr = process.communicate(timeout=PATIENCE)
        assert process.returncode == -signal.SIGKILL, stderr
        status(client)
        assert untracked(ec2, client, before) == set()
        assert up(client)
        assert len(set(ec2.states()) - before) == 1
        assert user.only(client).id in ec2.states()
