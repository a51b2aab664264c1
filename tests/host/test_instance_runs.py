"""A run on an instance: the real supervisor, the instance's files in a folder, metadata on loopback."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from orchestrator.onhost.supervisor import HEARTBEAT
from tests.host.scripts import TRAPS_TERM, deployed, wait_for_output
from tests.rigs.ec2.metadata import Metadata
from tests.rigs.patience import PATIENCE, wait_until
from tests.support import Client

GRACE = 60.0  # of a job that sets none


@pytest.fixture
def switches(client: Client) -> Path:
    """Write the files of an instance with a deadline in one hour and a lease of one minute."""
    folder = client.home / "box"
    for name, seconds in (("run/deadline", 3600), ("run/lease", 60), ("kept/deadline", 3600)):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(f"{int(time.time()) + seconds}\n")
    client.env["GPUJOB_INSTANCE_FILES"] = str(folder)
    return folder


def test_a_spot_notice_saves_a_checkpoint_and_the_run_can_be_resumed(client: Client, switches: Path) -> None:
    service = Metadata("127.0.0.1", dict, port=0)
    try:
        client.env["AWS_EC2_METADATA_SERVICE_ENDPOINT"] = service.url
        (switches / "run/spot").touch()
        client.job(TRAPS_TERM)
        run_id = deployed(client)
        wait_for_output(client, run_id)
        service.announce_end(time.time() + 10 * PATIENCE)  # far away: the run does not wait for it
        ended = client.until("preempted")
        assert ended["resumable_from"] == 7
        assert "checkpoint written" in (client.folder(run_id) / "log").read_text()
        assert (
            "interrupts this spot instance: terminate" in (client.folder(run_id) / "events.jsonl").read_text()
        )
    finally:
        service.close()


def test_a_run_renews_the_lease_and_ends_before_its_instances_deadline(
    client: Client, switches: Path
) -> None:
    client.job(TRAPS_TERM, limits={"idle_minutes": 5})
    run_id = deployed(client)
    wait_for_output(client, run_id)
    before = time.time()
    lease = switches / "run/lease"
    wait_until(lambda: int(lease.read_text()) >= before + 300 + GRACE - HEARTBEAT, "the lease is renewed")
    (switches / "run/deadline").write_text(f"{int(time.time() + GRACE)}\n")
    ended = client.until("stopped")
    assert ended["by"] == "the limit of hours"
    assert "checkpoint written" in (client.folder(run_id) / "log").read_text()
