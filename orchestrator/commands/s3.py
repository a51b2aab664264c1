"""Data and outputs in S3, as the client sees them: the listing of objects, and credentials for a session."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import msgspec

from orchestrator.commands import s3_listing
from orchestrator.commands.s3_listing import Entry
from orchestrator.context import Context
from orchestrator.core import s3
from orchestrator.core.inputs import DataInput
from orchestrator.core.runfacts import RunS3
from orchestrator.core.s3 import Listing, Location, Object
from orchestrator.errors import AccessError, GpujobError, NotFound, Unreachable, UsageError
from orchestrator.onhost.mirror import SECRETS
from orchestrator.targets import helper_files
from orchestrator.targets.base import Host

if TYPE_CHECKING:
    from orchestrator.commands.jobs import Job

MOST_OBJECTS = 1_000_000
_COLD = ("GLACIER", "DEEP_ARCHIVE")
_DENIED = ("AccessDenied", "403", "InvalidAccessKeyId", "SignatureDoesNotMatch", "ExpiredToken")
_LONGEST_ROLE, _LONGEST_USER = 12, 36  # hours that AWS allows a session of a role, and of a federated user
_MARGIN = 1.0  # hours beyond the end of what they are for; AWS allows no role less than 15 minutes
_SLOW = 50 << 20  # bytes per second of a download that its credentials outlive


def data_input(ctx: Context, job: Job, name: str) -> DataInput:
    """What the host is to have of `data.NAME`, by a listing of its objects. UsageError where it has none."""
    url = job.in_s3[name]
    what = f"{job.file.where('data', name)}: data.{name}"
    stored = listing(ctx, job.spec.s3, s3.parse(url, what), what)
    return DataInput(
        name,
        url,
        len(stored.objects),
        stored.bytes,
        stored.fingerprint,
        is_file=stored.is_file,
        listing=stored,
    )


def listing(ctx: Context, settings: s3.S3, location: Location, what: str) -> Listing:
    """All objects of a location, by 1,000 a request. `what` begins every error."""
    client = new_client(ctx, settings)
    with explained(what, location):
        objects, is_file = list(_below(client, location, what)), False
        if not objects and location.prefix:
            objects, is_file = list(_itself(client, location, what)), True
        if not objects:
            step = f"aws s3 ls {s3.SCHEME}{location.bucket}/"
            raise UsageError(f"{what}: there is no object at {location}", "", step)
        sizes_only = is_encrypted_by_kms(client, location, objects[0], is_file)
    _require_folders(objects, what)
    return Listing(location, settings, tuple(objects), sizes_only, is_file)


def _below(client: Any, location: Location, what: str) -> Iterator[Object]:
    for count, entry in enumerate(s3_listing.below(client, location)):
        path = entry.key.removeprefix(location.folder)
        if (path.endswith("/") or not path) and not entry.size:
            continue  # what the console makes of a folder
        if count >= MOST_OBJECTS:
            why = f"{location} has more than {MOST_OBJECTS:,} objects"
            raise UsageError(f"{what}: {why}", "", "pack them, for example into tar files of 1 GB")
        yield _object(entry, path, what)


def _itself(client: Any, location: Location, what: str) -> Iterator[Object]:
    if entry := s3_listing.itself(client, location):
        yield _object(entry, location.prefix.rpartition("/")[2], what)


def _object(entry: Entry, path: str, what: str) -> Object:
    if not s3_listing.is_file_name(path):
        raise UsageError(f"{what}: {entry.key!r} cannot be the name of a file", "", "copy it to another key")
    if entry.storage_class in _COLD:
        why = f"{entry.key} is in the storage class {entry.storage_class}"
        step = "aws s3api restore-object, or copy it to another class"
        raise UsageError(f"{what}: an object must be restored first", why, step)
    return Object(path, entry.size, entry.etag)


def _require_folders(objects: list[Object], what: str) -> None:
    """UsageError for a key that would be both a file and a folder."""
    paths = {one.path for one in objects}
    for one in objects:
        parts = one.path.split("/")
        for end in range(1, len(parts)):
            if (parent := "/".join(parts[:end])) in paths:
                why = f"{parent!r} is an object, and {one.path!r} lies below it"
                raise UsageError(f"{what}: a file cannot be a folder, too", why, "copy one to another key")


def is_encrypted_by_kms(client: Any, location: Location, first: Object, is_file: bool) -> bool:
    """Whether the ETag of the first object is no MD5; the default encryption of a bucket is that of all."""
    from botocore.exceptions import ClientError  # noqa: PLC0415

    key = location.prefix if is_file else location.folder + first.path
    try:
        head = client.head_object(Bucket=location.bucket, Key=key)
    except ClientError:  # the host may read what this machine may only list
        return False
    return str(head.get("ServerSideEncryption", "")).startswith("aws:kms") or bool(
        head.get("SSECustomerAlgorithm")
    )


def new_client(ctx: Context, settings: s3.S3, service: str = "s3") -> Any:
    from botocore import UNSIGNED  # noqa: PLC0415 - 0.2 s, for S3 only
    from botocore.config import Config  # noqa: PLC0415

    from orchestrator.instances.aws_session import new_session, session_without_credentials  # noqa: PLC0415

    is_unsigned = settings.credentials == "none"
    options: dict[str, Any] = {"signature_version": UNSIGNED} if is_unsigned else {}
    config = Config(connect_timeout=10, retries={"mode": "standard"}, user_agent_extra="gpujob", **options)
    with explained("AWS", None):
        if is_unsigned:
            session = session_without_credentials(ctx)
        else:
            session = new_session(ctx)
        region = settings.region or session.region_name or "us-east-1"
        endpoint = settings.endpoint if service == "s3" else ""
        return session.client(service, region_name=region, endpoint_url=endpoint or None, config=config)


@contextlib.contextmanager
def explained(what: str, location: Location | None) -> Iterator[None]:
    """Makes errors of botocore in the block those of gpujob, which begin with `what`."""
    try:
        yield
    except Exception as error:
        if not type(error).__module__.startswith(("botocore", "boto3")):
            raise
        raise _explained(error, f"{what}: {location}" if location else what) from None


def _explained(error: Exception, at: str) -> GpujobError:
    response = getattr(error, "response", None)
    code = str(response.get("Error", {}).get("Code", "")) if isinstance(response, dict) else ""
    if code in ("NoSuchBucket", "404"):
        return NotFound(f"{at}: there is no such bucket", str(error), "aws s3 ls")
    if code in _DENIED:
        step = "docs/s3.md lists the permissions; for public data: --set s3.credentials=none"
        return AccessError(f"{at} may not be read with the credentials of this machine", str(error), step)
    if type(error).__name__ in ("NoCredentialsError", "ProfileNotFound", "PartialCredentialsError"):
        step = "aws configure, or AWS_PROFILE=NAME; for public data: --set s3.credentials=none"
        return AccessError(f"{at}: no AWS credentials are configured", str(error), step)
    if code:
        return GpujobError(f"{at}: S3 refused the request: {code}", str(error), "aws sts get-caller-identity")
    return Unreachable(f"{at} cannot be reached", str(error), "the same command again")


def fetch(ctx: Context, host: Host, name: str, stored: Listing) -> None:
    """Lets the host download what it lacks of a listing. Refused; repeated, it continues."""
    hours = stored.bytes / _SLOW / 3600
    own = new_credentials(ctx, stored.settings, [stored.location], [], hours)
    done = helper_files.fetch_s3(host, name, stored, own.variables if own else {})
    if done.by_size:
        why = "their ETag is no MD5, as with KMS or with parts of an unusual size"
        ctx.warn(f"warning: data.{name}: {done.by_size} files are verified by their size alone: {why}")


class Session(msgspec.Struct, frozen=True):
    """Short-lived credentials as variables of an environment, and the hours that they are valid for."""

    variables: dict[str, str]
    hours: float


def secrets(ctx: Context, job: Job) -> dict[str, str]:
    """What the process gets that copies the results of a run to S3: the credentials of a session."""
    target = s3.mirror(job.spec.outputs)
    if not target:
        return {}
    return _for_mirror(ctx, job.spec.s3, target, job.spec.limits.max_hours)


def of_run(ctx: Context, run: RunS3 | None, max_hours: float | None) -> dict[str, str]:
    """The same for a run that is resumed, by its run.json."""
    if run is None or not run.mirror or run.credentials != "session":
        return {}
    settings = s3.S3("session", run.role, run.endpoint, run.region)
    return _for_mirror(ctx, settings, run.mirror, max_hours)


def _for_mirror(ctx: Context, settings: s3.S3, target: str, max_hours: float | None) -> dict[str, str]:
    location = s3.parse(target, "outputs")
    own = new_credentials(ctx, settings, [location], [location], max_hours)
    if own is None:
        return {}
    if max_hours is None or own.hours < max_hours:
        why = f"the credentials for S3 are valid for {own.hours:g} hours"
        ctx.warn(
            f"warning: {why}; later results are copied after a deploy --resume, or with an instance profile"
        )
    return {f"{SECRETS}{name}": value for name, value in own.variables.items()}


def new_credentials(
    ctx: Context, settings: s3.S3, reads: list[Location], writes: list[Location], max_hours: float | None
) -> Session | None:
    """Credentials from STS, whose policy allows these locations alone. None unless `credentials: session`.

    They are valid for `max_hours`, None for as long as AWS allows.
    """
    if settings.credentials != "session":
        return None
    longest = _LONGEST_ROLE if settings.role else _LONGEST_USER
    hours = min(longest, longest if max_hours is None else max_hours + _MARGIN)
    policy = json.dumps({"Version": "2012-10-17", "Statement": s3.statements(reads, writes)})
    return Session(_from_sts(ctx, settings, policy, hours), hours)


def _from_sts(ctx: Context, settings: s3.S3, policy: str, hours: float) -> dict[str, str]:
    from botocore import exceptions as aws  # noqa: PLC0415

    client, seconds = new_client(ctx, settings, "sts"), int(hours * 3600)
    try:
        if settings.role:
            answer = client.assume_role(
                RoleArn=settings.role, RoleSessionName="gpujob", Policy=policy, DurationSeconds=seconds
            )
        else:
            answer = client.get_federation_token(Name="gpujob", Policy=policy, DurationSeconds=seconds)
    except aws.ClientError as error:
        what = "s3.credentials: session: AWS gives no credentials for a session"
        step = "set s3.role to a role that may read and write there, for at most 12 hours; see docs/s3.md"
        raise AccessError(what, str(error), step) from None
    except aws.BotoCoreError as error:
        raise Unreachable("AWS STS cannot be reached", str(error), "the same command again") from None
    session = answer["Credentials"]
    return {
        "AWS_ACCESS_KEY_ID": session["AccessKeyId"],
        "AWS_SECRET_ACCESS_KEY": session["SecretAccessKey"],
        "AWS_SESSION_TOKEN": session["SessionToken"],
    }
