"""Data and outputs in S3: addresses and settings of a job file, and the fingerprint of a listing. Pure."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Sequence
from typing import Literal, NamedTuple, TypedDict

import msgspec

from orchestrator.errors import UsageError

SCHEME = "s3://"
_BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]\Z")
_ENDPOINT = re.compile(r"https?://[^\s/?#]+/?\Z")
_EXAMPLE = "s3://bucket/prefix"


class S3(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How data and outputs in S3 are reached from the host.

    `credentials`: those of the `host`, a `session` limited to the prefixes that is sent to it, or `none` for
    public data. `role`: the role that a session assumes, "" for a federated user.
    """

    credentials: Literal["host", "session", "none"] = "host"
    role: str = ""
    endpoint: str = ""
    region: str = ""


class Location(NamedTuple):
    """A bucket and a prefix in it, without a slash at its end; empty for the whole bucket."""

    bucket: str
    prefix: str

    def __str__(self) -> str:
        return f"{SCHEME}{self.bucket}/{self.prefix}"

    @property
    def folder(self) -> str:
        """What the keys below it begin with."""
        return f"{self.prefix}/" if self.prefix else ""


class Object(NamedTuple):
    """An object: the path below the prefix, the size in bytes, and the ETag without quotes."""

    path: str
    size: int
    etag: str


class Listing(msgspec.Struct, frozen=True):
    """The objects of a location. `sizes_only`: their ETags are no digests of their contents.

    `is_file`: the location is an object itself, not a prefix.
    """

    location: Location
    settings: S3
    objects: tuple[Object, ...]
    sizes_only: bool = False
    is_file: bool = False

    @property
    def bytes(self) -> int:
        return sum(one.size for one in self.objects)

    @property
    def fingerprint(self) -> str:
        return fingerprint(self.objects)


def parse(text: str, what: str) -> Location:
    """The location of `s3://bucket/prefix`. UsageError, which begins with `what`."""
    bucket, _, prefix = text.removeprefix(SCHEME).partition("/")
    if not _BUCKET.match(bucket):
        raise UsageError(f"{what}: {text!r} names no bucket", "", _EXAMPLE)
    prefix = prefix.rstrip("/")
    parts = prefix.split("/") if prefix else []
    if any(part in ("", ".", "..") for part in parts) or not prefix.isprintable():
        raise UsageError(f"{what}: {text!r} is no prefix", "it has an empty part, or . or ..", _EXAMPLE)
    if re.search(r"[*?\[\]]", prefix):
        raise UsageError(f"{what}: {text!r} has a wildcard", "all objects below a prefix are used", _EXAMPLE)
    return Location(bucket, prefix)


def fingerprint(objects: Iterable[Object]) -> str:
    """Equal for the same paths, sizes and ETags, whatever the bucket and the order."""
    lines = sorted(json.dumps(list(one)) for one in objects)
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:32]


def mirror(outputs: Sequence[str]) -> str | None:
    """The location among `outputs` that results are copied to."""
    return next((one for one in outputs if one.startswith(SCHEME)), None)


def faults(settings: S3, outputs: Sequence[str]) -> Iterable[tuple[tuple[str, ...], str, str]]:
    """What is wrong with a job's keys for S3: key, reason, and what to write."""
    if settings.endpoint and not _ENDPOINT.match(settings.endpoint):
        yield ("s3", "endpoint"), "it is no http(s) URL of a server", "endpoint: https://s3.example.org"
    if settings.role and settings.credentials != "session":
        yield ("s3", "role"), "only a session assumes a role", "credentials: session"
    if settings.role and not re.match(r"arn:[a-z-]+:iam::\d{12}:role/\S+\Z", settings.role):
        yield ("s3", "role"), "it is no ARN of a role", "role: arn:aws:iam::123456789012:role/NAME"
    if len([one for one in outputs if one.startswith(SCHEME)]) > 1:
        yield ("outputs",), "results are copied to one place in S3", f"outputs: [results, {_EXAMPLE}]"
    if mirror(outputs) and settings.credentials == "none":
        yield ("s3", "credentials"), "writing to S3 needs credentials", "credentials: host"


_WHOSE = {
    "host": "the credentials that the host has",
    "session": "credentials for these prefixes alone, sent to the host and not stored",
    "none": "no credentials",
}


def note(settings: S3, outputs: Sequence[str]) -> str:
    """What a plan says of S3: where results go, and with whose credentials."""
    target = mirror(outputs)
    copied = f", and results are copied to {target}" if target else ""
    return f"s3: the host uses {_WHOSE[settings.credentials]}{copied}"


class _Statement(TypedDict):
    Effect: str
    Action: str | list[str]
    Resource: str | list[str]


class Statement(_Statement, total=False):
    """What a policy of IAM allows."""

    Condition: dict[str, dict[str, list[str]]]


def statements(reads: Iterable[Location], writes: Iterable[Location]) -> list[Statement]:
    """The IAM statements for these locations and nothing else."""
    arn = "arn:aws:s3:::"
    reads, writes = list(reads), list(writes)
    allowed: list[Statement] = []
    for location in dict.fromkeys([*reads, *writes]):
        allowed.append(
            {
                "Effect": "Allow",
                "Action": "s3:ListBucket",
                "Resource": f"{arn}{location.bucket}",
                "Condition": {"StringLike": {"s3:prefix": [location.prefix, f"{location.folder}*"]}},
            }
        )
    if every := [name for one in dict.fromkeys([*reads, *writes]) for name in _arns(arn, one)]:
        allowed.append({"Effect": "Allow", "Action": "s3:GetObject", "Resource": every})
    if writes:
        actions = ["s3:PutObject", "s3:AbortMultipartUpload"]
        resources = [f"{arn}{one.bucket}/{one.folder}*" for one in writes]
        allowed.append({"Effect": "Allow", "Action": actions, "Resource": resources})
    return allowed


def _arns(arn: str, location: Location) -> list[str]:
    below = f"{arn}{location.bucket}/{location.folder}*"
    return [f"{arn}{location.bucket}/{location.prefix}", below] if location.prefix else [below]
