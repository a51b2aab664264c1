"""A run whose instance is interrupted or has shut down, on real machines."""

from __future__ import annotations

import sys
import time
from datetime import datetime

import pytest

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
for step in range(begun, begun + {more}):
    print("step", step, flush=True)
    time.sleep(0.1)
pathlib.Path("result.txt").write_text(f"from {{begun}} to {{step}}")
"""


@pytest.fixture
def client(realtime_client: Client) -> Client:
    return realtime_client


def deploy(client: Client, *words: str, body: str, **ec2: object) -> str:
    keys = {"env": {"python": sys.executable}, "limits": {"grace_seconds": 2}}
    client.job(body, outputs=["result.txt"], resources={"gpus": 0, "ec2": ec2}, **keys)
    result = client.run("deploy", "job", "--on", "ec2", "--yes", *words)
    assert result.code == 0, result.err
    return result.out.split()[0]


def test_an_interrupted_spot_run_continues_on_a_new_instance(ec2: FakeEC2, client: Client) -> None:
    run = deploy(client, "--max-hours", "2", body=COUNTS.format(more=3000), spot=True)
    (first,) = ec2.machines()
    ec2.interrupt(first, 10)
    step = client.until("preempted")["resumable_from"]
    ec2.until(lambda: ec2.states()[first] == "terminated")
    left = ec2.leftovers()
    assert [one for one in left if one.startswith("vol-")] != []
    status = client.state(run)
    assert (status["state"], status["resumable_from"]) == ("preempted", step)

    client.write("train.py", "raise SystemExit('the code of a run is what was sent')")
    resumed = client.run("deploy", "job", "--resume", run, "--yes")
    assert resumed.code == 0, resumed.err
    assert f"goes on from step {step}" in resumed.err
    (second,) = ec2.machines()
    assert second != first
    assert client.run("stop", run).code == 0
    fetched = client.run("fetch", run)
    assert fetched.code == 0, fetched.err
    log = (client.project / "fetched" / run / "log").read_text()
    assert log.count("step 0\n") == 1
    assert f"step {step}\n" in log.split("step 0\n", 1)[1]
    assert ec2.leftovers() == []


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
    client.until("running")
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
