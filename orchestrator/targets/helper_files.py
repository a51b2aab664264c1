"""Files between the client, or S3, and a host, as the helper prepares and ends their transfer."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

import msgspec

from orchestrator.core import decode
from orchestrator.core.decode import Count, Size
from orchestrator.core.paths import inside, is_digest
from orchestrator.errors import GpujobError
from orchestrator.targets.helper import Asks, convert, require

if TYPE_CHECKING:  # for an annotation only: `status` does not need it
    from orchestrator.core.s3 import Listing


class StagedFile(msgspec.Struct, frozen=True):
    """A staged file of a run; `path` is relative to the fetched folder (checkpoints/…, outputs/…)."""

    path: str
    bytes: Size
    sha256: str


class Stage(msgspec.Struct, frozen=True):
    """Files of a run, pinned in `folder` on the host under their sha256.

    `left_out`: paths that cannot be fetched. `denied`: those that the user of the host may not read, folders
    among them. `missing`: outputs that do not exist. `no_room`: files that the
    run still writes to and that do not fit on the disk as copies.
    """

    folder: str
    files: tuple[StagedFile, ...]
    left_out: tuple[str, ...]
    missing: tuple[str, ...]
    no_room: tuple[str, ...]
    denied: tuple[str, ...] = ()


@contextlib.contextmanager
def staged(
    host: Asks, run_id: str, which: str, free: int | None = None, present: dict[str, int] | None = None
) -> Iterator[Stage]:
    """Pins files of a run on the host, so that they do not change meanwhile.

    If the block succeeds, the host records that these files were fetched.

    `which` checkpoints: best, last or all. `free`: free bytes on the client; `present`: the sizes of files
    that it has, by path. With both, the host refuses what does not fit before it reads a byte.

    Raises GpujobError if the host names a file that would be written outside the download's folder.
    """
    space = {} if free is None else {"free": free, "present": present}
    answer = host.ask("stage", run=run_id, which=which, **space)
    outcome: dict[str, bool] = {}
    try:
        stage = convert("stage", answer, Stage)
        for file in stage.files:
            _require_safe(file)
        yield stage
        outcome = {"fetched": True}
    finally:
        with contextlib.suppress(GpujobError):
            host.ask("unstage", run=run_id, token=answer.get("token"), **outcome)


def _require_safe(file: StagedFile) -> None:
    if not inside(file.path):
        raise GpujobError(
            f"the host offered {file.path!r}", "it would be written outside the folder of the download"
        )
    if not is_digest(file.sha256):
        raise GpujobError(f"the host offered {file.path!r}", "its sha256 is not valid")


class Upload(msgspec.Struct, frozen=True):
    """`present`: the host has it. `partial`: the folder to send it to. `nearest`: its newest one, None
    for none. `precision`: of the times of files there, in ns."""

    present: bool
    partial: str
    nearest: str | None
    precision: Size = 1


def begin_tree(host: Asks, tree: str, sender: str) -> Upload:
    """Prepares the upload of a code tree; after it, `finish_tree` with the same sender."""
    return require(host, Upload, "begin_tree", tree=tree, sender=sender)


def begin_data(host: Asks, name: str, fingerprint: str, sender: str) -> Upload:
    """Prepares the upload of data; after it, `finish_data` with the same sender."""
    return require(host, Upload, "begin_data", name=name, fingerprint=fingerprint, sender=sender)


class Copy(msgspec.Struct, frozen=True):
    """The empty `folder` on the host for the files of one copy."""

    folder: str
    token: str


def begin_copy(host: Asks, run_id: str) -> Copy:
    return require(host, Copy, "begin_copy", run=run_id)


def finish_copy(
    host: Asks, run_id: str, copy: Copy, targets: Mapping[str, StagedFile], force: bool
) -> tuple[str, ...]:
    """Puts the files that arrived, by name, in their places; returns the new names of what was there."""
    entries = {name: [file.path, file.sha256] for name, file in targets.items()}
    fields = {"run": run_id, "token": copy.token, "targets": entries, "force": force}
    return require(host, _Kept, "finish_copy", **fields).kept


class _Kept(msgspec.Struct, frozen=True):
    kept: tuple[str, ...] = ()


class S3Download(msgspec.Struct, frozen=True):
    """`by_size`: how many files were verified by their size alone."""

    by_size: Count = 0


def fetch_s3(host: Asks, name: str, listing: Listing, secrets: Mapping[str, str]) -> S3Download:
    """Downloads what the host lacks of data in S3. Raises Refused; repeated, it continues."""
    location, settings = listing.location, listing.settings
    source = {
        "bucket": location.bucket,
        "prefix": location.prefix,
        "endpoint": settings.endpoint,
        "region": settings.region,
        "credentials": settings.credentials,
    }
    answer = host.ask(
        "fetch_s3",
        name=name,
        fingerprint=listing.fingerprint,
        source=source,
        objects=[list(one) for one in listing.objects],
        sizes_only=listing.sizes_only,
        is_file=listing.is_file,
        secrets=dict(secrets),
    )
    return decode.struct(answer, S3Download) or S3Download()
