"""A run whose instance is interrupted or has shut down, on real machines."""

from __future__ import annotations

import hashlib
import sys
import time
from collections.abc import Callable
from datetime import datetime

import pytest

from tests.ec2 import user
from tests.rigs.ec2.fake import FakeEC2
from tests.support import Client

pytestmark = pytest.mark.usefixtures("booted")

COUNTS = """
import os, pathlib, signal, sys, time
kept = pathlib.Path(os.environ["GPUJOB_CHECKPOINTS"])
begun = int((kept / "last").read_text()) if (kept / "last").exists() else 0

def leave(*_):
    (kept / str(step)).mkdir(parents=True)
    (kept / str(step) / "weights").write_text(str(step))
    (kept / "last").write_text(str(step))
    sys.exit(75)

step = begun
signal.signal(signal.SIGTERM, leave)
for following in range(begun, begun + {more}):
    print("step", following, flush=True)
    step = following  # what a signal saves was printed before
    time.sleep(0.1)
pathlib.Path("result.txt").write_text(f"from {{begun}} to {{step}}")
"""


@pytest.fixture
def client(ec2: FakeEC2, realtime_client: Client, monkeypatch: pytest.MonkeyPatch) -> Client:
    user.share_clients(monkeypatch, ec2)
    return realtime_client


def deploy(client: Client, *words: str, body: str, restarts: int = 0, **ec2: object) -> str:
    keys = {"env": {"python": sys.executable}, "limits": {"grace_seconds": 60}, "restart": {"max": restarts}}
    client.job(body, outputs=["result.txt"], resources={"gpus": 0, "ec2": ec2}, **keys)
    result = client.run("deploy", "job", "--on", "ec2", "--yes", *words)
    assert result.code == 0, result.err
    assert "shared memory" not in result.err
    return result.out.split()[0]


def log_of(ec2: FakeEC2, instance: str, run: str) -> str:
    """Return what the run has printed so far; "" while that cannot be read."""
    code, text = ec2.run(instance, "cat", f"/home/ubuntu/.gpujob/runs/{run}/log")
    return "" if code else text


def wait_until_it_counts(ec2: FakeEC2, instance: str, run: str) -> None:
    """Wait for the first steps of COUNTS: before them, a signal ends it without a checkpoint."""
    ec2.until(lambda: "step 1\n" in log_of(ec2, instance, run), "the run counts")


def test_an_interrupted_spot_run_continues_and_is_fetched_without_gpus(ec2: FakeEC2, client: Client) -> None:
    run = deploy(client, "--max-hours", "2", body=COUNTS.format(more=3000), spot=True)
    (first,) = ec2.machines()
    wait_until_it_counts(ec2, first, run)
    ec2.interrupt(first, 120)
    step = client.until("preempted")["resumable_from"]
    ec2.interrupt(first, 0)  # the rest of the two minutes is not waited for
    ec2.until(lambda: ec2.states()[first] == "stopped")
    assert "a spot instance that EC2 stopped" in client.run("status", "--on", f"ec2://{first}").err
    status = client.state(run)
    assert (status["state"], status["resumable_from"]) == ("preempted", step)

    client.write("train.py", "raise SystemExit('the code of a run is what was sent')")
    refused = client.run("deploy", "job", "--resume", run)
    assert (refused.code, "only EC2 starts it again" in refused.err) == (7, True)
    resumed = client.run("deploy", "job", "--resume", run, "--yes")
    assert resumed.code == 0, resumed.err
    assert f"goes on from step {step}" in resumed.err
    (second,) = ec2.machines()
    assert ec2.states() == {first: "terminated", second: "running"}

    counts_again = lambda: log_of(ec2, second, run).count(f"step {step}\n") == 2  # noqa: E731
    ec2.until(counts_again, "the run continues from its checkpoint")
    ec2.interrupt(second, 0)
    ec2.until(lambda: ec2.states()[second] == "stopped")
    for type_ in ("g6.xlarge", "g5.xlarge", "g6.2xlarge", "g5.2xlarge"):
        ec2.inject("RunInstances", "InsufficientInstanceCapacity", type=type_, times=99)
    fetched = client.run("fetch", run, "--yes")
    assert fetched.code == 0, fetched.err
    assert "t3.small or t3.xlarge, on demand" in fetched.err
    log = (client.project / "fetched" / run / "log").read_text()
    assert [log.count(f"step {number}\n") for number in (0, step)] == [1, 2]
    assert (ec2.leftovers(), set(ec2.states().values()), len(ec2.states())) == ([], {"terminated"}, 3), (
        fetched.err
    )
    assert {request["state"] for request in ec2.spot_requests()} == {"cancelled"}


CHAIN = """
import hashlib, os, pathlib, time
kept = pathlib.Path(os.environ["GPUJOB_CHECKPOINTS"])
last = kept / "last"
step, value = 0, ""
if last.exists():
    step, value = int(last.read_text()), (kept / last.read_text() / "value").read_text()
while step < 150:
    value, step = hashlib.sha256(f"{value} {step}".encode()).hexdigest(), step + 1
    time.sleep(0.05)
    if step % 10 == 0:
        (kept / str(step)).mkdir(parents=True, exist_ok=True)
        (kept / str(step) / "value").write_text(value)
        (kept / "new").write_text(str(step))
        (kept / "new").replace(last)
        print("saved", step, flush=True)
pathlib.Path("result.txt").write_text(value)
"""


def test_a_spot_run_survives_interruptions_without_its_client(
    ec2: FakeEC2, client: Client, trials: Callable[[int, int], int]
) -> None:
    run = deploy(client, "--max-hours", "2", body=CHAIN, spot=True)
    (instance,) = ec2.machines()
    extended = client.run("hosts", "extend", f"ec2://{instance}", "--hours", "1", "--yes")
    assert (extended.code, "EC2 does not start it again" in extended.err) == (0, True)
    interruptions = (30, 70, 110)[: trials(1, 3)]
    for saved in interruptions:
        ec2.until(lambda saved=saved: f"saved {saved}\n" in log_of(ec2, instance, run))
        ec2.interrupt(instance, 0)
        ec2.until(lambda: ec2.states()[instance] == "stopped")
        ec2.offer_capacity(instance)
        ec2.until(lambda: ec2.machines()[instance]["on"])
    client.until("succeeded")
    assert client.state(run)["attempt"] == 1 + len(interruptions)
    fetched = client.run("fetch", run)
    assert fetched.code == 0, fetched.err
    text = (client.project / "fetched" / run / "log").read_text()
    assert all(text.count(f"saved {step}\n") == 1 for step in (10, interruptions[0]))  # none began anew
    value = ""
    for step in range(150):
        value = hashlib.sha256(f"{value} {step}".encode()).hexdigest()
    assert (client.project / "fetched" / run / "outputs" / "result.txt").read_text() == value
    assert (ec2.leftovers(), len(ec2.states())) == ([], 1)


def test_a_run_survives_a_reboot_of_its_instance_from_the_console(ec2: FakeEC2, client: Client) -> None:
    run = deploy(client, "--max-hours", "2", body=COUNTS.format(more=3000), restarts=1)
    (instance,) = ec2.machines()
    wait_until_it_counts(ec2, instance, run)
    deadline = ec2.run(instance, "cat", "/run/gpujob/deadline")
    user.api("us-east-1").reboot_instances(InstanceIds=[instance])
    again = client.until(lambda status: status["state"] == "running" and status["attempt"] == 2)
    step = again["checkpoints"]["last"]
    ec2.until(lambda: f"step {step + 1}\n" in log_of(ec2, instance, run), "it goes on from its checkpoint")
    assert step > 0
    assert log_of(ec2, instance, run).count("step 0\n") == 1
    assert ec2.run(instance, "cat", "/run/gpujob/deadline") == deadline


def test_fetch_starts_an_instance_that_its_deadline_stopped_and_ends_it(ec2: FakeEC2, client: Client) -> None:
    run = deploy(client, "--max-hours", "1", body="open('result.txt', 'w').write('kept')")
    (instance,) = ec2.machines()
    client.until("succeeded")
    ec2.run(instance, "sh", "-c", "echo 1 >/run/gpujob/deadline")
    ec2.until(lambda: ec2.states()[instance] == "stopped", "it stops at its deadline")
    refused = client.run("fetch", run)
    assert refused.code == 7
    assert "is stopped; its disk is kept, $8.00 a month" in refused.err
    assert "Starting it for an hour: at most $" in refused.err
    assert ec2.states()[instance] == "stopped"
    listed = client.run("hosts", "list")
    assert "stopped" in listed.out
    assert "disk $8.00 a month" in listed.out

    fetched = client.run("fetch", run, "--yes")
    assert fetched.code == 0, fetched.err
    assert (client.project / "fetched" / run / "outputs" / "result.txt").read_text() == "kept"
    assert ec2.states()[instance] == "terminated"
    assert ec2.leftovers() == []


def test_an_instance_shuts_down_at_its_extended_deadline(ec2: FakeEC2, client: Client) -> None:
    up = client.run("hosts", "up", "--type", "g5.xlarge", "--max-hours", "1", "--yes")
    assert up.code == 0, up.err
    label = up.out.strip()
    (instance,) = ec2.machines()
    before = float(ec2.run(instance, "cat", "/run/gpujob/deadline")[1])
    assert client.run("hosts", "extend", label, "--hours", "2").code == 7
    moved = client.run("hosts", "extend", label, "--hours", "2", "--yes", "--json")
    assert moved.code == 0, moved.out + moved.err
    after = float(ec2.run(instance, "cat", "/run/gpujob/deadline")[1])
    assert after - before == pytest.approx(7200, abs=1)
    deadline = datetime.fromisoformat(moved.json["instances"][0]["deadline"].replace("Z", "+00:00"))
    assert deadline.timestamp() == pytest.approx(after, abs=1)
    assert after > time.time() + 2.5 * 3600
    down = client.run("hosts", "down", label, "--yes")
    assert down.code == 0, down.err
    assert ec2.leftovers() == []


def test_stop_terminate_fetches_everything_before_it_confirms_and_ends(ec2: FakeEC2, client: Client) -> None:
    run = deploy(client, "--max-hours", "1", body=COUNTS.format(more=3000))
    (instance,) = ec2.machines()
    wait_until_it_counts(ec2, instance, run)
    refused = client.run("stop", run, "--terminate")
    assert refused.code == 7, refused.err
    assert "its disk is deleted" in refused.err
    home = client.project / "fetched" / run
    step = client.state(run)["checkpoints"]["last"]
    assert (home / "checkpoints" / str(step) / "weights").read_text() == str(step)
    assert f"step {step}\n" in (home / "log").read_text()
    assert ec2.states()[instance] == "running"

    ended = client.run("stop", run, "--terminate", "--yes")
    assert ended.code == 0, ended.err
    assert ec2.states()[instance] == "terminated"
    assert ec2.leftovers() == []
