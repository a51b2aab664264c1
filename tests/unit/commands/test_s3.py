"""What the client does about data and outputs in S3: it lists, plans, and asks STS for a session."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest

from orchestrator.commands import gather, jobs
from orchestrator.commands import s3 as s3_command
from orchestrator.core import plan as planning
from orchestrator.core import s3
from orchestrator.core.s3 import S3, Listing, Location, Object
from orchestrator.errors import AccessError, NotFound, UsageError
from orchestrator.targets.local import LocalTarget
from tests.rigs.s3 import BUCKET, FakeS3
from tests.support import Client, new_client

WHAT = "job.yaml:3: data.images"


@pytest.fixture
def client() -> Iterator[Client]:
    with new_client() as client:
        yield client


def listed(client: Client, prefix: str = "images", **settings: Any) -> Listing:
    return s3_command.listing(client.context(), S3(**settings), Location(BUCKET, prefix), WHAT)


def test_unchanged_objects_are_listed_by_a_thousand(bucket: FakeS3, client: Client) -> None:
    for number in range(1001):  # each page takes a second of moto's
        bucket.put(f"images/{number}", b"x")
    bucket.put("images-of-others/1", b"x")
    found = listed(client)
    assert (len(found.objects), found.bytes) == (1001, 1001)
    assert bucket.requests == {"GET list": 2, "HEAD": 1}


def test_a_changed_object_changes_the_fingerprint_and_a_copy_does_not(bucket: FakeS3, client: Client) -> None:
    for prefix in ("images", "copy"):
        bucket.put(f"{prefix}/a", b"1")
        bucket.put(f"{prefix}/b/c", b"2")
    before = listed(client).fingerprint
    assert listed(client, "copy").fingerprint == before
    bucket.put("images/b/c", b"3")
    assert listed(client).fingerprint != before


def test_a_single_object_is_a_file(bucket: FakeS3, client: Client) -> None:
    bucket.put("sets/train.tar", b"tar")
    found = listed(client, "sets/train.tar")
    assert (found.is_file, [one.path for one in found.objects]) == (True, ["train.tar"])


def test_folders_of_the_console_are_no_files(bucket: FakeS3, client: Client) -> None:
    bucket.put("images/", b"")
    bucket.put("images/sub/", b"")
    bucket.put("images/sub/a", b"1")
    assert [one.path for one in listed(client).objects] == ["sub/a"]


@pytest.mark.parametrize("key", ["images/../x", "images//x", "images/a\nb", "images/./a"])
def test_a_key_that_can_be_no_file_is_refused_by_name(bucket: FakeS3, client: Client, key: str) -> None:
    bucket.put(key, b"x")
    with pytest.raises(UsageError, match="cannot be the name of a file"):
        listed(client)


def test_a_key_that_is_a_file_and_a_folder_is_refused(bucket: FakeS3, client: Client) -> None:
    bucket.put("images/a", b"x")
    bucket.put("images/a/b", b"x")
    with pytest.raises(UsageError, match="a file cannot be a folder"):
        listed(client)


def test_a_missing_prefix_bucket_or_permission_is_one_error(bucket: FakeS3, client: Client) -> None:
    with pytest.raises(UsageError, match=r"job.yaml:3: data.images: there is no object at s3://datasets/no"):
        listed(client, "no")
    with pytest.raises(NotFound, match="no such bucket"):
        s3_command.listing(client.context(), S3(), Location("other-bucket", "a"), WHAT)
    bucket.down = True
    with pytest.raises(AccessError, match="may not be read") as caught:
        listed(client)
    assert "s3.credentials=none" in caught.value.next_step


def test_etags_of_objects_encrypted_by_kms_are_known_to_be_no_digests(bucket: FakeS3, client: Client) -> None:
    bucket.client().put_object(
        Bucket=BUCKET, Key="images/a", Body=b"x", ServerSideEncryption="aws:kms", SSEKMSKeyId="k"
    )
    assert listed(client).sizes_only


def test_public_data_is_listed_without_credentials(
    bucket: FakeS3, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket.client().put_object(Bucket=BUCKET, Key="images/a", Body=b"1", ACL="public-read")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    with pytest.raises(AccessError, match="credentials"):
        listed(client)
    assert listed(client, credentials="none", endpoint=bucket.endpoint).bytes == 1


def job(client: Client, text: str, *options: str) -> jobs.Job:
    path = client.project / "job.yaml"
    path.write_text(f"name: job\ncommand: [python, train.py]\n{text}")
    (client.project / "train.py").write_text("")
    return jobs.load(client.context(), "job.yaml", [], list(options))


def test_a_dry_run_says_what_the_host_would_download(bucket: FakeS3, client: Client) -> None:
    bucket.put("images/a", b"1" * 2**20)
    loaded = job(client, f"data: {{images: s3://{BUCKET}/images}}\n")
    jobs.require_data(loaded)
    known = gather.collect(client.context(), loaded, {}, LocalTarget(client.context(), str(client.root)))
    [step] = [step for step in planning.build_check(known).steps if step.title == "data: images"]
    assert step.bytes == 2**20
    assert step.reason == (f"s3://{BUCKET}/images (1 file, 1.0 MiB), the host downloads what it lacks")
    [note] = [note for note in planning.build_check(known).notes if note.startswith("s3: ")]
    assert note == "s3: the host uses the credentials that the host has"


def test_data_is_replaced_by_an_address_in_s3(bucket: FakeS3, client: Client) -> None:
    loaded = job(client, "data: {images: datasets/images}\n", f"images=s3://{BUCKET}/images")
    assert loaded.in_s3 == {"images": f"s3://{BUCKET}/images"}
    assert not loaded.missing


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("data: {a: 's3://B/x'}", r"job.yaml:3: data.a: 's3://B/x' names no bucket"),
        ("data: {a: 's3://datasets/x*'}", "has a wildcard"),
        ("data: {a: 's3://datasets/../x'}", "is no prefix"),
        ("outputs: [s3://datasets/a, s3://datasets/b]", "one place"),
        ("outputs: s3://datasets/a\ns3: {credentials: none}", r"job.yaml:4: s3.credentials: writing"),
        ("s3: {role: admin, credentials: session}", "no ARN"),
        ("s3: {role: 'arn:aws:iam::123456789012:role/a'}", "only a session assumes a role"),
        ("s3: {endpoint: example.org}", "no http"),
        ("s3: {credentials: mine}", "s3.credentials"),
    ],
)
def test_a_wrong_key_for_s3_is_one_error_with_its_line(client: Client, text: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        job(client, text)


def test_outputs_may_be_one_address(client: Client) -> None:
    assert job(client, f"outputs: s3://{BUCKET}/runs").spec.outputs == [f"s3://{BUCKET}/runs"]


def test_a_session_may_only_reach_the_places_of_the_job(
    bucket: FakeS3, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[dict[str, Any]] = []
    text = (
        f"data: {{images: s3://{BUCKET}/images}}\noutputs: s3://results/runs\n"
        "s3: {credentials: session, role: 'arn:aws:iam::123456789012:role/training'}\n"
    )
    make = s3_command.new_client

    def recorded(ctx: Any, settings: Any, service: str = "s3") -> Any:
        made = make(ctx, settings, service)
        made.meta.events.register("provide-client-params.sts", lambda params, **_: asked.append(params))
        return made

    monkeypatch.setattr(s3_command, "new_client", recorded)
    own = s3_command.secrets(client.context(), job(client, text))
    assert set(own) == {"s3:AWS_ACCESS_KEY_ID", "s3:AWS_SECRET_ACCESS_KEY", "s3:AWS_SESSION_TOKEN"}
    assert asked[0]["DurationSeconds"] == 12 * 3600
    statements = json.loads(asked[0]["Policy"])["Statement"]
    [get] = [one for one in statements if one["Action"] == "s3:GetObject"]
    assert get["Resource"] == ["arn:aws:s3:::results/runs", "arn:aws:s3:::results/runs/*"]
    [put] = [one for one in statements if "s3:PutObject" in one["Action"]]
    assert put["Resource"] == ["arn:aws:s3:::results/runs/*"]


def test_the_fingerprint_of_a_job_without_s3_is_what_it_was(client: Client) -> None:
    spec = job(client, "").spec
    assert msgspec.to_builtins(spec)["s3"] == msgspec.to_builtins(S3())
    assert s3.fingerprint([Object("a", 1, "e")]) == s3.fingerprint((Object("a", 1, "e"),))
