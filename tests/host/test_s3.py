"""Data and outputs of real runs in S3: on this machine, against moto's server."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.rigs import s3
from tests.rigs.patience import wait_until
from tests.rigs.s3 import BUCKET, FakeS3
from tests.support import Client

READ = """
import os, pathlib
folder = pathlib.Path(os.environ["GPUJOB_DATA_IMAGES"])
print(sorted((path.name, path.read_text()) for path in folder.iterdir()))
"""


@pytest.fixture(scope="module")
def server() -> Iterator[FakeS3]:
    with s3.running() as server:
        yield server


@pytest.fixture
def bucket(server: FakeS3, client: Client, monkeypatch: pytest.MonkeyPatch) -> FakeS3:
    server.clear()
    for name, value in s3.environment(server).items():
        monkeypatch.setenv(name, value)
        client.env[name] = value
    return server


def test_a_run_reads_data_from_s3_and_the_next_one_what_it_has(bucket: FakeS3, client: Client) -> None:
    bucket.put("images/a", "1")
    bucket.put("images/b", "2")
    client.job(READ, data={"images": f"s3://{BUCKET}/images"})
    planned = client.run("deploy", "job", "--dry-run").out
    assert "2 files" in planned
    assert "the host downloads what it lacks" in planned
    first = client.run("deploy", "job")
    assert first.code == 0, first.err
    client.until("succeeded")
    assert "[('a', '1'), ('b', '2')]" in client.run("logs").out
    bucket.requests.clear()
    second = client.run("deploy", "job")
    assert "the host has it" in second.err
    client.until("succeeded")
    assert bucket.requests == {"GET list": 1, "HEAD": 1}


TRAIN = """
import os, pathlib, time
folder = pathlib.Path(os.environ["GPUJOB_CHECKPOINTS"])
for step in range(1, 4):
    (folder / ".new").mkdir()
    (folder / ".new" / "model.safetensors").write_text(f"weights {step}")
    (folder / ".new" / "manifest.sha256").write_text(f"digest {step}")
    (folder / ".new").rename(folder / str(step))
    (folder / "last").write_text(str(step))
    while step == 2 and not pathlib.Path("go").exists():
        time.sleep(0.1)
pathlib.Path("results").mkdir()
pathlib.Path("results/table.csv").write_text("a,b")
"""


def mirror(client: Client) -> dict[str, Any]:
    found: dict[str, Any] = client.state()["mirror"]
    return found


def test_checkpoints_are_copied_to_s3_while_the_client_is_off(bucket: FakeS3, client: Client) -> None:
    client.job(TRAIN, outputs=["results", f"s3://{BUCKET}/runs"])
    run = client.run("deploy", "job").out.strip()
    wait_until(lambda: f"runs/{run}/checkpoints/2/manifest.sha256" in bucket.names(), "the checkpoint in S3")
    assert bucket.get(f"runs/{run}/checkpoints/2/model.safetensors") == b"weights 2"
    client.folder(run).joinpath("work", "go").touch()
    client.until(lambda state: state["mirror"]["state"] == "complete")
    assert bucket.get(f"runs/{run}/checkpoints/last") == b"3"
    assert bucket.get(f"runs/{run}/outputs/results/table.csv") == b"a,b"
    assert bucket.get(f"runs/{run}/log") == client.folder(run).joinpath("log").read_bytes()
    assert mirror(client)["place"] == f"s3://{BUCKET}/runs/{run}"
    assert "copied to s3://" in client.run("status").out
    assert not client.folder(run).joinpath(".fetch").exists() or not list(
        client.folder(run).joinpath(".fetch").iterdir()
    )


def test_a_copy_that_fails_is_a_warning_and_not_the_end_of_the_run(bucket: FakeS3, client: Client) -> None:
    bucket.down = True
    client.job("print('trained')", outputs=f"s3://{BUCKET}/runs")
    client.run("deploy", "job")
    state = client.until(
        lambda state: state["state"] == "succeeded" and state["mirror"] and state["mirror"]["error"]
    )
    assert "AccessDenied" in state["mirror"]["error"] or "403" in state["mirror"]["error"]
    assert "warning: copying to S3 fails" in client.run("status").out
