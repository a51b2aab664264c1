"""Classifies EC2's error codes: what a launch does about each, and what the user reads. No side effects.

The classes follow karpenter-provider-aws (pkg/errors), SkyPilot (sky/provision/aws) and AWS's own lists of
error codes; https://docs.aws.amazon.com/AWSEC2/latest/APIReference/errors-overview.html.
"""

from __future__ import annotations

from enum import Enum

from orchestrator.errors import AccessError, GpujobError, NotFound, Unreachable, UsageError
from orchestrator.instances.instance import Instance


class Action(Enum):
    """What a launch does about an error."""

    NEXT_ZONE = "no capacity: try the next zone, then the next type, then the next region"
    NEXT_FAMILY = "a regional quota is used up: skip the other zones and types of this family"
    RETRY = "send the same request with the same token again, after a pause"
    NEW_ATTEMPT = "the instance of this token is terminated: start a new attempt"
    DENIED = "credentials or permissions"
    REFUSED = "the request itself is wrong"


_CAPACITY = (
    *("InsufficientInstanceCapacity", "InsufficientHostCapacity", "InsufficientCapacity"),
    *("InsufficientCapacityOnOutpost", "UnfulfillableCapacity", "ReservationCapacityExceeded"),
    *("SpotMaxPriceTooLow", "Unsupported", "InsufficientFreeAddressesInSubnet"),
    *("Server.InsufficientInstanceCapacity", "InsufficientVolumeCapacity"),
)
_QUOTA = (
    *("VcpuLimitExceeded", "MaxSpotInstanceCountExceeded", "InstanceLimitExceeded"),
    *("MaxIOPSLimitExceeded", "VolumeLimitExceeded", "Client.VolumeLimitExceeded"),
)
_BUSY = (
    *("RequestLimitExceeded", "Throttling", "ThrottlingException", "Unavailable", "ServiceUnavailable"),
    *("InternalError", "InternalFailure", "ServerInternal", "RequestTimeout", "Server.InternalError"),
    "ConnectionLost",
)
_DENIED = (
    *("UnauthorizedOperation", "AuthFailure", "OptInRequired", "PendingVerification", "AccessDenied"),
    *("AccessDeniedException", "InvalidClientTokenId", "SignatureDoesNotMatch", "ExpiredToken"),
    *("ExpiredTokenException", "RequestExpired", "UnrecognizedClientException", "Blocked"),
    *("RequestTimeTooSkewed", "RequestInTheFuture"),
    "NoCredentials",
)
_SKEWED = ("RequestTimeTooSkewed", "RequestInTheFuture")
FORBIDDEN = ("UnauthorizedOperation", "AccessDenied", "AccessDeniedException", "OptInRequired")
"""Codes where the credentials are valid, and a policy or the account forbids the call or the region."""
CLOSED = (*FORBIDDEN, "AuthFailure")
"""Codes of a region that may not be used. A region that the account has not enabled answers AuthFailure."""


class AwsError(GpujobError):
    """A failed call of the EC2 API. `status`: the HTTP status, 0 without an answer.

    If nothing catches it, the user sees the message of `explain`. Codes of gpujob's own: NoCredentials;
    NoConnection (nothing was sent); ConnectionLost (the call may have been carried out).
    """

    def __init__(
        self, code: str, message: str, operation: str = "", region: str = "", status: int = 0
    ) -> None:
        self.code = code
        self.message = message
        self.operation = operation
        self.region = region
        self.status = status
        explained = explain(self)
        super().__init__(explained.what, explained.why, explained.next_step)
        self.exit_code = explained.exit_code

    def __str__(self) -> str:
        return f"{self.operation} in {self.region}: {self.code}: {self.message}"


class Stopped(Unreachable):
    """The instance is stopped; its disk is kept."""


class Ended(GpujobError):
    """An instance ended while gpujob waited for it.

    `no_capacity`: EC2 ended it for lack of capacity, so another zone or type may have some.
    """

    def __init__(self, instance: Instance) -> None:
        reason = instance.state_reason or "EC2 reports no reason"
        super().__init__(f"{instance.label} is {instance.state}", reason, "the same command again")
        self.no_capacity = "InsufficientInstanceCapacity" in reason


class NoCapacity(GpujobError):
    """No zone of a launch has capacity for any of its types now."""


class Terminated(NotFound):
    """The instance is terminated. Its runs are kept on its `volume`, if it had a data volume."""

    def __init__(self, instance: Instance) -> None:
        self.volume = instance.volume
        kept = f"; its runs are kept on volume {self.volume}" if self.volume else ", and its disk is deleted"
        super().__init__(f"{instance.label} has ended", f"it was terminated{kept}", "gpujob hosts list")


def action(code: str, status: int = 0) -> Action:
    """Returns what to do about an error. An unknown code is REFUSED, with a 5xx status RETRY."""
    if code in _CAPACITY:
        return Action.NEXT_ZONE
    if code in _QUOTA:
        return Action.NEXT_FAMILY
    if code in _BUSY or code.startswith("Throttl"):
        return Action.RETRY
    if code == "IdempotentInstanceTerminated":
        return Action.NEW_ATTEMPT
    if code in _DENIED or code.startswith("AuthFailure"):
        return Action.DENIED
    return Action.RETRY if status >= 500 else Action.REFUSED


def is_shortage(error: GpujobError, or_quota: bool = False) -> bool:
    """Returns whether a launch or a start failed for lack of capacity, or of a quota if that counts too."""
    if isinstance(error, AwsError):
        todo = action(error.code, error.status)
        return todo is Action.NEXT_ZONE or (or_quota and todo is Action.NEXT_FAMILY)
    return isinstance(error, NoCapacity) or (isinstance(error, Ended) and error.no_capacity)


def explain(error: AwsError) -> GpujobError:
    """Returns the error that the user reads, with its exit code and next step."""
    what = f"EC2 refused {error.operation} in {error.region}: {error.code}"
    todo = action(error.code, error.status)
    if error.code == "NoCredentials":
        return _credentials(error)
    if error.code == "NoConnection":
        return Unreachable(
            f"EC2 in {error.region} cannot be reached", error.message, "the same command again"
        )
    if todo is Action.DENIED:
        return AccessError(what, _decoded(error), _access_step(error.code, error.message))
    if todo is Action.RETRY:
        state = "does not answer" if error.code == "ConnectionLost" else "is too busy"
        return Unreachable(f"EC2 in {error.region} {state}", str(error), "the same command again")
    if todo is Action.NEW_ATTEMPT:
        return GpujobError(what, error.message, "the same command again")
    if todo is Action.NEXT_ZONE:
        return GpujobError(what, error.message, "other types or zones: resources.ec2.types, --region")
    if todo is Action.NEXT_FAMILY:
        return GpujobError(what, error.message, "gpujob doctor --on ec2 (shows how to raise the quota)")
    if error.code == "IdempotentParameterMismatch":
        return GpujobError(what, "another client is launching this job", "gpujob hosts orphans")
    if error.code.startswith(("InvalidInstanceID", "InvalidVolume.NotFound")):
        return NotFound(what, error.message, "gpujob hosts list")
    return UsageError(what, error.message, "gpujob doctor --on ec2")


def _credentials(error: AwsError) -> AccessError:
    """Returns the error about credentials that cannot be had, with botocore's own words."""
    if "sso" in error.message.lower() or "token" in error.message.lower():
        return AccessError("the AWS login has ended", error.message, "aws sso login, or aws login")
    if error.message.startswith(("NoCredentialsError", "PartialCredentialsError", "ProfileNotFound")):
        what = "no AWS credentials are configured"
        return AccessError(what, error.message, "aws configure, or AWS_PROFILE=NAME")
    what = "the AWS credentials cannot be read"
    return AccessError(what, error.message, "aws sts get-caller-identity, aws configure, or AWS_PROFILE=NAME")


def _decoded(error: AwsError) -> str:
    """Returns the message without the encoded part that AWS adds to an UnauthorizedOperation."""
    plain, encoded, _ = error.message.partition("Encoded authorization failure message:")
    return plain.strip() + (" (aws sts decode-authorization-message shows more)" if encoded else "")


def _access_step(code: str, message: str) -> str:
    if code in _SKEWED or any(words in message for words in ("Signature expired", "not yet current")):
        return "set this machine's clock: date -u shows it, sudo timedatectl set-ntp true corrects it"
    if code in FORBIDDEN[:3]:
        return (
            "docs/iam.md has the smallest policy that works; gpujob doctor --on ec2 (tries each permission)"
        )
    if code.startswith("Expired") or code == "RequestExpired":
        return "log in again: aws sso login, or new keys; and check this machine's clock"
    if code in ("OptInRequired", "PendingVerification", "Blocked"):
        return "AWS has restricted this account: see its console"
    if code == "AuthFailure":
        return "aws sts get-caller-identity; or enable the region for this account in AWS's console"
    return "aws sts get-caller-identity shows whose credentials these are"
