"""EC2's error codes → what to do next. Pure.

Classes after karpenter-provider-aws (pkg/errors), SkyPilot (sky/provision/aws) and AWS's own lists of
error codes; https://docs.aws.amazon.com/AWSEC2/latest/APIReference/errors-overview.html.
"""

from __future__ import annotations

from enum import Enum

from orchestrator.errors import AccessError, GpujobError, NotFound, Unreachable, UsageError
from orchestrator.instances.launch import Candidate


class Action(Enum):
    """What a launch does about an error."""

    NEXT_ZONE = "no capacity there: the next zone, then the next type, then the next region"
    NEXT_FAMILY = "a quota of the whole region: the other zones and types of it are not tried"
    REPEAT = "the same request with the same token, after a pause"
    NEW_ATTEMPT = "what this token made is gone: a new attempt"
    DENIED = "credentials or permissions"
    REFUSED = "the request itself is wrong"


_CAPACITY = (
    *("InsufficientInstanceCapacity", "InsufficientHostCapacity", "InsufficientCapacity"),
    *("InsufficientCapacityOnOutpost", "UnfulfillableCapacity", "ReservationCapacityExceeded"),
    *("SpotMaxPriceTooLow", "Unsupported", "InsufficientFreeAddressesInSubnet"),
    "Server.InsufficientInstanceCapacity",
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
    "NoCredentials",
)
_QUOTAS = {  # (family, spot) → code of the service quota
    ("G and VT", False): "L-DB2E81BA",
    ("P", False): "L-417A185B",
    ("G and VT", True): "L-3819A6DF",
    ("P", True): "L-7212CCBC",
}


class AwsError(GpujobError):
    """One refused call. `status`: HTTP, 0 where none came. Reads as `explain` has it where nobody caught it.

    Codes of our own: NoCredentials; NoConnection, where nothing was sent; ConnectionLost, where the call
    may have been carried out.
    """

    def __init__(
        self, code: str, message: str, operation: str = "", region: str = "", status: int = 0
    ) -> None:
        self.code = code
        self.message = message
        self.operation = operation
        self.region = region
        self.status = status
        shown = explain(self)
        super().__init__(shown.what, shown.why, shown.next_step)
        self.exit_code = shown.exit_code

    def __str__(self) -> str:
        return f"{self.operation} in {self.region}: {self.code}: {self.message}"


def action(code: str, status: int = 0) -> Action:
    """What to do. A code that is not known is a refusal, of a 5xx answer a repetition."""
    if code in _CAPACITY:
        return Action.NEXT_ZONE
    if code in _QUOTA:
        return Action.NEXT_FAMILY
    if code in _BUSY or code.startswith("Throttl"):
        return Action.REPEAT
    if code == "IdempotentInstanceTerminated":
        return Action.NEW_ATTEMPT
    if code in _DENIED or code.startswith("AuthFailure"):
        return Action.DENIED
    return Action.REPEAT if status >= 500 else Action.REFUSED


def explain(error: AwsError) -> GpujobError:
    """The error a person sees, with its exit code and what to do next."""
    what = f"EC2 refused {error.operation} in {error.region}: {error.code}"
    kind = action(error.code, error.status)
    if error.code == "NoCredentials":
        return AccessError(
            "there are no AWS credentials here", error.message, "aws configure, or AWS_PROFILE=NAME"
        )
    if error.code == "NoConnection":
        return Unreachable(
            f"EC2 in {error.region} cannot be reached", error.message, "the same command again"
        )
    if kind is Action.DENIED:
        return AccessError(what, _decoded(error), _access_step(error.code))
    if kind is Action.REPEAT:
        state = "does not answer" if error.code == "ConnectionLost" else "is too busy"
        return Unreachable(f"EC2 in {error.region} {state}", str(error), "the same command again")
    if kind is Action.NEW_ATTEMPT:
        return GpujobError(what, error.message, "the same command again")
    if kind is Action.NEXT_ZONE:
        return GpujobError(what, error.message, "other types or zones: resources.ec2.types, --region")
    if kind is Action.NEXT_FAMILY:
        return GpujobError(what, error.message, "ask for a higher quota: gpujob doctor --on ec2")
    if error.code == "IdempotentParameterMismatch":
        return GpujobError(what, "one token was used for two requests", "gpujob hosts orphans")
    if error.code.startswith(("InvalidInstanceID", "InvalidVolume.NotFound")):
        return NotFound(what, error.message, "gpujob hosts list")
    return UsageError(what, error.message, "gpujob doctor --on ec2")


def quota(candidate: Candidate) -> tuple[str, str]:
    """The quota's code and the command that asks for more of it."""
    code = _QUOTAS[(candidate.family, candidate.spot)]
    command = (
        f"aws service-quotas request-service-quota-increase --service-code ec2 --quota-code {code} "
        f"--region {candidate.region} --desired-value VCPUS"
    )
    return code, command


def _decoded(error: AwsError) -> str:
    """The encoded part of an UnauthorizedOperation says nothing to a person."""
    plain, encoded, _ = error.message.partition("Encoded authorization failure message:")
    return plain.strip() + (" (aws sts decode-authorization-message tells more)" if encoded else "")


def _access_step(code: str) -> str:
    if code in ("UnauthorizedOperation", "AccessDenied", "AccessDeniedException"):
        return "docs/iam.md has the smallest policy that works; gpujob doctor --on ec2 tries each permission"
    if code.startswith("Expired") or code == "RequestExpired":
        return "log in again: aws sso login, or new keys; and look at this machine's clock"
    if code in ("OptInRequired", "PendingVerification", "Blocked"):
        return "the account itself must be put right at AWS"
    return "aws sts get-caller-identity shows whose credentials these are"
