"""Runs over several hosts: two machines behind real sshds on loopback."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator

import pytest

from tests.host.groups import Machines, several
from tests.support import Client

pytestmark = pytest.mark.sshd

# Each host counts as long as it hears from rank 0, and ends when the connection breaks, as trainings do.
TOGETHER = """
import json, os, pathlib, signal, socket, sys, time
rank, size = int(os.environ["GPUJOB_NODE_RANK"]), int(os.environ["GPUJOB_NNODES"])
address = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
checkpoints = pathlib.Path(os.environ["GPUJOB_CHECKPOINTS"])
last = checkpoints / "last"
step = int(last.read_text()) if last.exists() else 0
stopping = []
signal.signal(signal.SIGTERM, lambda *_: stopping.append(1))
if rank == 0:
    with socket.create_server(("", address[1])) as door:
        peers = [door.accept()[0] for _ in range(size - 1)]
else:
    for _ in range(600):
        try:
            peers = [socket.create_connection(address)]
            break
        except OSError:
            time.sleep(.05)
for peer in peers:
    peer.settimeout(60)
print("together", rank, "of", size, "attempt", os.environ["GPUJOB_ATTEMPT"], flush=True)
while not pathlib.Path(os.environ["GPUJOB_CHECKPOINTS"], "..", "..", "..", "..", "enough").exists():
    for peer in peers:
        peer.sendall(b"s" if stopping else b".")
    heard = [peer.recv(1) for peer in peers]
    if not all(heard):
        sys.exit("a peer is gone")
    step += 1
    (checkpoints / "part").write_text(str(step))
    (checkpoints / "part").rename(last)
    if stopping or b"s" in heard:
        sys.exit(75)
    time.sleep(.02)
print("done", flush=True)
"""


@pytest.fixture
def machines(client: Client) -> Iterator[Machines]:
    with several(client) as machines:
        yield machines


def deployed(machines: Machines, **keys: object) -> str:
    client = machines.client
    client.job(TOGETHER, limits={"grace_seconds": 5}, **keys)
    result = client.run("deploy", "job", "--on", machines.on)
    assert result.code == 0, result.err
    return result.out.strip()


def test_a_run_over_two_hosts_is_one_run(machines: Machines) -> None:
    run_id = deployed(machines)
    client = machines.client
    client.until("running")
    listed = client.run("status", "--json").json["runs"]
    assert [(run["id"], run["target"]) for run in listed] == [(run_id, "a,b")]
    for rank in (0, 1):
        log = client.run("logs", run_id, "--rank", str(rank), "--no-follow").out
        assert f"together {rank} of 2 attempt 1" in log
    result = client.run("stop", run_id)
    assert result.code == 0, result.err
    for name in ("a", "b"):
        state = json.loads((machines.folder(name, run_id) / "state.json").read_text())
        assert (state["reason"], state["by"]) == (
            "stopped",
            "tester@" + os.uname().nodename.partition(".")[0],
        )
    assert client.state()["state"] == "stopped"
