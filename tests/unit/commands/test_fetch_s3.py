"""`fetch --from s3`: a run is downloaded from its copy, verified, continued, without a host."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from orchestrator import registry
from orchestrator.core import runfacts
from orchestrator.errors import NotFound
from orchestrator.store import CachedRun, Store
from tests.rigs.s3 import BUCKET, FakeS3
from tests.support import Client, Result, new_client

RUN = "job-20261121T101112-1a2b"
PLACE = f"s3://{BUCKET}/runs/{RUN}"
WORDS = ("fetch", "--from", PLACE, "--to", "there")


@pytest.fixture
def client() -> Iterator[Client]:
    with new_client() as client:
        yield client


@pytest.fixture
def copy(bucket: FakeS3) -> FakeS3:
    """Steps 1 and 2 of a run, and 3 of which the manifest's digest was not copied any more."""
    for step in (1, 2, 3):
        put(bucket, step, f"weights {step}".encode())
    bucket.remove(f"runs/{RUN}/checkpoints/3/manifest.sha256")
    for name, content in (("best", "1"), ("last", "2")):
        bucket.put(f"runs/{RUN}/checkpoints/{name}", content)
    bucket.put(f"runs/{RUN}/run.json", json.dumps(record()))
    bucket.put(f"runs/{RUN}/outputs/results/table.csv", "a,b")
    bucket.put("runs/job-20261121T101112-0000/log", "of another run")
    return bucket


def record() -> dict[str, Any]:
    return {"v": 1, "id": RUN, "job": "job", "s3": {"mirror": f"s3://{BUCKET}/runs"}}


def put(bucket: FakeS3, step: int, weights: bytes, said: bytes | None = None) -> None:
    """A checkpoint; `said`: what its manifest says of the weights."""
    said = weights if said is None else said
    entry = {"bytes": len(said), "sha256": hashlib.sha256(said).hexdigest()}
    manifest = json.dumps({"step": step, "files": {"model.safetensors": entry}}).encode()
    for name, content in (
        ("model.safetensors", weights),
        ("manifest.json", manifest),
        ("manifest.sha256", hashlib.sha256(manifest).hexdigest().encode()),
    ):
        bucket.put(f"runs/{RUN}/checkpoints/{step}/{name}", content)


def there(client: Client) -> list[str]:
    folder = client.project / "there"
    files = (path for path in folder.rglob("*") if path.is_file() and path.name != ".gitignore")
    return sorted(path.relative_to(folder).as_posix() for path in files)


def checkpoint(step: int) -> list[str]:
    names = ("manifest.json", "manifest.sha256", "model.safetensors")
    return [f"checkpoints/{step}/{name}" for name in names]


def done(result: Result) -> Result:
    assert result.code == 0, result.err
    return result


def test_the_best_checkpoint_and_the_results_come_from_s3(copy: FakeS3, client: Client) -> None:
    answer = done(client.run(*WORDS, "--json")).json
    assert there(client) == [*checkpoint(1), "checkpoints/best", "outputs/results/table.csv", "run.json"]
    assert (answer["run"], len(answer["files"])) == (RUN, 6)
    done(client.run("verify", "there"))
    copy.requests.clear()
    done(client.run(*WORDS))
    assert copy.requests == {"GET list": 1, "HEAD": 1, "GET": 2}  # the two pointers


def test_all_checkpoints_that_were_copied_completely_are_fetched(copy: FakeS3, client: Client) -> None:
    done(client.run(*WORDS, "--which", "all"))
    own = ["checkpoints/best", "checkpoints/last", "outputs/results/table.csv", "run.json"]
    assert there(client) == sorted([*checkpoint(1), *checkpoint(2), *own])


def test_where_the_last_checkpoint_was_not_copied_the_newest_is(copy: FakeS3, client: Client) -> None:
    copy.put(f"runs/{RUN}/checkpoints/last", "3")
    result = done(client.run(*WORDS, "--which", "last"))
    assert "checkpoint 3 was not copied completely; 2 is the newest one" in result.err
    assert set(checkpoint(2)) < set(there(client))
    copy.remove(f"runs/{RUN}/checkpoints/best")
    refused = client.run("fetch", "--from", PLACE, "--to", "other")
    assert (refused.code, "has no best checkpoint" in refused.err) == (3, True), refused.err
    assert "--which last" in refused.err


def test_a_copy_that_differs_from_its_manifest_is_damaged(copy: FakeS3, client: Client) -> None:
    put(copy, 1, b"weights X", said=b"weights 1")
    result = client.run(*WORDS)
    assert (result.code, "model.safetensors does not match its sha256" in result.err) == (1, True), result.err


def test_a_download_from_s3_continues_where_it_was_interrupted(
    copy: FakeS3, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    part = client.project / "there" / ".gpujob-part"
    part.mkdir(parents=True)
    etag = copy.etag(f"runs/{RUN}/checkpoints/1/model.safetensors")
    name = hashlib.sha256(f"checkpoints/1/model.safetensors {etag}".encode()).hexdigest()
    (part / name).write_bytes(b"weig")
    done(client.run(*WORDS))
    weights = client.project / "there/checkpoints/1/model.safetensors"
    assert (weights.read_bytes(), part.exists()) == (b"weights 1", False)


def test_files_of_the_user_are_not_replaced_by_a_copy(copy: FakeS3, client: Client) -> None:
    own = client.write("there/outputs/results/table.csv", "mine")
    result = client.run(*WORDS)
    assert (result.code, own.read_text()) == (2, "mine"), result.err


def known(client: Client) -> Store:
    """The cache of a client, with the run on an instance that is gone."""
    store = Store(client.state_dir)
    facts = runfacts.parse_run({"id": RUN, "run": record()})
    assert facts
    store.save_run(CachedRun("ec2://i-0123456789abcdef0", client.context().now(), facts))
    return store


def test_where_the_host_is_gone_the_command_for_the_copy_is_named(
    copy: FakeS3, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    known(client)

    class Gone:
        label = "ec2://i-0123456789abcdef0"
        needs_rsync = False

        def connect_started(self) -> None:
            raise NotFound("the instance was terminated", "", "gpujob status")

    monkeypatch.setattr(registry, "target", lambda *_: Gone())
    monkeypatch.setattr(registry, "require_transfer", lambda *_: None)
    result = client.run("fetch", "job")
    assert result.code == 3
    assert f"next: gpujob fetch {RUN} --from s3" in result.err
    done(client.run("fetch", RUN, "--from", "s3", "--to", "there"))
    assert "checkpoints/1/model.safetensors" in there(client)


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (("--from", "here"), 2, "s3, or s3://BUCKET/PREFIX/RUN"),
        (("--from", "s3"), 3, "this client knows no run"),
        (("--from", f"s3://{BUCKET}/runs/none"), 3, "there is nothing at s3://"),
        (("--from", "s3://no-such-bucket/x"), 3, "there is no such bucket"),
        (("--from", PLACE, "--follow"), 2, "exclude each other"),
    ],
)
def test_a_copy_that_is_none_is_named(
    copy: FakeS3, client: Client, words: tuple[str, ...], code: int, message: str
) -> None:
    result = client.run("fetch", *words)
    assert (result.code, message in result.err) == (code, True), result.err
    assert not Path(client.project, "fetched").exists()
