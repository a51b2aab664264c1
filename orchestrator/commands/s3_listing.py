"""The objects below a prefix in S3, read from each answer in one pass.

botocore makes a dictionary and a time of each object, which takes eight times as long.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import Any, NamedTuple
from urllib.parse import unquote_plus
from xml.etree import ElementTree

from orchestrator.core.paths import inside
from orchestrator.core.s3 import Location

_EVENT = "before-parse.s3.ListObjectsV2"


class Entry(NamedTuple):
    """An object as S3 lists it: its key, size in bytes, ETag without quotes, and storage class."""

    key: str
    size: int
    etag: str
    storage_class: str


def below(client: Any, location: Location) -> Iterator[Entry]:
    """Yields the objects below a location, 1,000 for each request. Raises what botocore raises."""
    return _listed(client, location, Prefix=location.folder)


def itself(client: Any, location: Location) -> Entry | None:
    """Returns the object whose key is the prefix."""
    first = next(_listed(client, location, Prefix=location.prefix, PaginationConfig={"PageSize": 1}), None)
    return first if first and first.key == location.prefix else None


def is_file_name(path: str) -> bool:
    """Whether the path below a prefix can be the name of a file on a host."""
    return inside(path) and path.isprintable() and not {"", "."} & set(path.split("/"))


def _listed(client: Any, location: Location, **options: Any) -> Iterator[Entry]:
    client.meta.events.register(_EVENT, _take_objects, unique_id=_EVENT)
    for page in client.get_paginator("list_objects_v2").paginate(Bucket=location.bucket, **options):
        yield from page.get("Objects", ())


def _take_objects(
    response_dict: dict[str, Any], customized_response_dict: dict[str, Any], **_: object
) -> None:
    """Takes the objects out of the body of an answer; botocore parses the rest."""
    if response_dict["status_code"] != 200:
        return
    from botocore.parsers import ResponseParserError  # noqa: PLC0415 - loaded by then

    try:
        answer = ElementTree.fromstring(response_dict["body"])
        nodes = [node for node in answer if _name(node.tag) == "Contents"]
        is_encoded = answer.findtext("{*}EncodingType") == "url"
        customized_response_dict["Objects"] = [_entry(node, is_encoded) for node in nodes]
    except (ElementTree.ParseError, KeyError, ValueError) as error:
        raise ResponseParserError(f"the list of objects cannot be read: {error!r}") from None
    answer[:] = [node for node in answer if _name(node.tag) != "Contents"]
    response_dict["body"] = ElementTree.tostring(answer)


def _entry(node: ElementTree.Element, is_encoded: bool) -> Entry:
    values = {_name(child.tag): child.text or "" for child in node}
    key = unquote_plus(values["Key"]) if is_encoded else values["Key"]
    return Entry(key, int(values["Size"]), values["ETag"].strip('"'), values.get("StorageClass", ""))


@functools.lru_cache(64)
def _name(tag: str) -> str:
    """The name of a tag without its namespace, of which servers have several."""
    return tag.rpartition("}")[2]
