"""The answers of S3 and of servers like it are read as botocore reads them."""

from __future__ import annotations

from typing import Any

import pytest

from orchestrator.commands import s3_listing
from orchestrator.commands.s3 import explained
from orchestrator.core.s3 import Location
from orchestrator.errors import Unreachable
from tests.rigs.s3 import BUCKET, FakeS3

KEYS = ("a b+c%2F", "ä/ß☃", "<&>\"'", "q?x=1&y=2", "plus+plus", "100%")
PLACE = Location(BUCKET, "odd")


def answering(bucket: FakeS3, body: bytes) -> Any:
    """A client whose server answers a listing with this body."""
    client = bucket.client()

    def replace(response_dict: dict[str, Any], **_: Any) -> None:
        response_dict["body"] = body

    client.meta.events.register_first("before-parse.s3.ListObjectsV2", replace)
    return client


def test_keys_with_odd_characters_are_read_as_botocore_reads_them(bucket: FakeS3) -> None:
    for key in KEYS:
        bucket.put(f"odd/{key}", key)
    expected = bucket.client().list_objects_v2(Bucket=BUCKET, Prefix="odd/")["Contents"]
    found = list(s3_listing.below(bucket.client(), PLACE))
    assert sorted(one.key for one in found) == sorted(f"odd/{key}" for key in KEYS)
    assert [(one.key, one.size, one.etag, one.storage_class) for one in found] == [
        (one["Key"], one["Size"], one["ETag"].strip('"'), one["StorageClass"]) for one in expected
    ]


@pytest.mark.parametrize("namespace", ["", ' xmlns="http://s3.example.org/"', ' xmlns:s3="http://a/"'])
def test_objects_of_a_server_with_another_namespace_are_found(bucket: FakeS3, namespace: str) -> None:
    tag = "s3:Contents" if "xmlns:" in namespace else "Contents"
    text = (
        f"<ListBucketResult{namespace}><IsTruncated>false</IsTruncated>"
        f"<{tag}><Key>odd/a+b%20c</Key><Size>3</Size><ETag>&quot;e&quot;</ETag></{tag}></ListBucketResult>"
    )
    found = list(s3_listing.below(answering(bucket, text.encode()), PLACE))
    assert found == [("odd/a+b%20c", 3, "e", "")]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>",
        b"\xff\x00",
        b"<R><Contents><Key>a</Key></Contents></R>",
        b"<R><Contents><Key>a</Key><Size>many</Size><ETag/></Contents></R>",
    ],
)
def test_an_answer_that_is_no_list_is_an_error_and_not_an_empty_list(bucket: FakeS3, body: bytes) -> None:
    with pytest.raises(Unreachable, match=r"data\.images"), explained("data.images", PLACE):
        list(s3_listing.below(answering(bucket, body), PLACE))
