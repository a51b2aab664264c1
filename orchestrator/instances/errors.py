"""Classifies EC2's error codes: what a launch does about each, and what the user reads. No side effects.

The classes follow karpenter-provider-aws (pkg/errors), SkyPilot (sky/provision/aws) and AWS's own lists of
error codes; https://docs.aws.amazon.com/AWSEC2/latest/APIReference/errors-overview.html.
"""

from __future__ import annotations

import re
from enum import Enum

from orchestrator.errors import AccessError, Exit, GpujobError, NotFound, Unreachable, UsageError
from orchestrator.instances.instance import Instance


class Action(Enum):
    """What a launch does about an error."""

    NEXT_ZONE = "no capacity: try the next zone, then the next type, then the next region"
    NEXT_FAMILY = "a regional quota is used up: skip the other zones and types of this family"
    RETRY = "send the same request with the same token again, after a pause"
    NEW_ATTEMPT = "the instance of this token is terminated: start a new attempt"
    DENIED = "credentials or permissions"
    REFUSED = "the request itself is wrong"


_CAPACITY = ("UnfulfillableCapacity", "ReservationCapacityExceeded", "SpotMaxPriceTooLow", "Unsupported")
"""Besides the codes that begin with Insufficient: of instances, hosts, volumes, addresses, reservations."""
_QUOTA = (
    *("VcpuLimitExceeded", "MaxSpotInstanceCountExceeded", "InstanceLimitExceeded"),
    *("MaxIOPSLimitExceeded", "VolumeLimitExceeded"),
)
_BUSY = (
    *("RequestLimitExceeded", "Throttling", "ThrottlingException", "Unavailable", "ServiceUnavailable"),
    *("InternalError", "InternalFailure", "ServerInternal", "RequestTimeout", "ConnectionLost"),
    *("TooManyRequestsException", "RequestThrottled", "RequestThrottledException", "SlowDown"),
    *("EC2ThrottledException", "PriorRequestNotComplete", "BandwidthLimitExceeded"),
)
_DENIED = (
    *("UnauthorizedOperation", "AuthFailure", "OptInRequired", "PendingVerification", "AccessDenied"),
    *("AccessDeniedException", "InvalidClientTokenId", "SignatureDoesNotMatch", "ExpiredToken"),
    *("ExpiredTokenException", "RequestExpired", "UnrecognizedClientException", "Blocked"),
    *("RequestTimeTooSkewed", "RequestInTheFuture"),
    "NoCredentials",
)
EXPIRED = ("ExpiredToken", "ExpiredTokenException", "RequestExpired")
"""Codes of credentials that were valid until now."""
_SKEWED = ("RequestTimeTooSkewed", "RequestInTheFuture")
FORBIDDEN = ("UnauthorizedOperation", "AccessDenied", "AccessDeniedException", "OptInRequired")
"""Codes where the credentials are valid, and a policy or the account forbids the call or the region."""
CLOSED = (*FORBIDDEN, "AuthFailure")
"""Codes of a region that may not be used. A region that the account has not enabled answers AuthFailure."""

_LOGIN = (
    *("SSOError", "SSOTokenLoadError", "UnauthorizedSSOTokenError", "TokenRetrievalError"),
    *("NoAuthTokenError", "PendingAuthorizationExpiredError", "LoginError", "LoginRefreshRequired"),
    *("LoginTokenLoadError", "LoginAuthorizationCodeError"),
)
"""botocore's errors about a login that a command of the AWS CLI renews."""
_REGION = ("InvalidRegionError", "NoRegionError", "UnknownRegionError")
_STEPS = {
    "SecurityGroupLimitExceeded": "resources.ec2.security_group: sg-…, which admits this machine to port 22",
    "RulesPerSecurityGroupLimitExceeded": "resources.ec2.security_group: sg-…, which admits this machine",
    "InvalidSubnet": "resources.ec2.subnet: subnet-… of that region",
    "InvalidGroup": "resources.ec2.security_group: sg-… of that region and of the subnet's VPC",
    "InvalidAMIID": "resources.ec2.images: [ami-…] of that region",
    "InvalidKMSKey": "resources.ec2.kms_key: one of that region which this user may use",
    "TagPolicyViolation": "resources.ec2.tags: the tags that the organization requires",
    "VPCIdNotSpecified": "resources.ec2.subnet: subnet-…, or aws ec2 create-default-vpc",
    "DefaultVpcDoesNotExist": "resources.ec2.subnet: subnet-…, or aws ec2 create-default-vpc",
}
"""The next step after a refusal, by the beginning of its code."""
_STEPS_BY_WORDS = {
    "architecture": "resources.ec2.types and images of one architecture, x86_64 or arm64",
    "different networks": "resources.ec2.subnet and security_group of one VPC",
}
"""The next step after a refusal whose code says only that a parameter is not valid, by AWS's words."""
_ENDED_STEPS = {
    "Client.InternalError": "resources.ec2.kms_key: a key that this user may use (kms:CreateGrant, "
    "kms:Decrypt), instead of the account's default key",
    "Client.InvalidKMSKey": "resources.ec2.kms_key: an enabled key of that region which this user may use",
    "Client.InvalidSnapshot.NotFound": "resources.ec2.images: [ami-…] of that region",
    "Client.VolumeLimitExceeded": "aws service-quotas list-service-quotas --service-code ebs --region {}",
    "Client.UserInitiatedShutdown": "gpujob hosts list; it was ended by a request from elsewhere",
}
"""The next step by the beginning of EC2's reason for the end of an instance, with its region."""


_BOUNDARIES = {
    "permissions boundary": "whoever administers the account: the permissions boundary of this user must "
    "allow it too; docs/iam.md lists what gpujob needs",
    "service control policy": "whoever administers the organization: its service control policy denies it; "
    "resources.ec2.regions, tags or types that it allows",
}
"""The next step after a refusal that no policy of the user can change, by AWS's words."""


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
        known = (step for code, step in _ENDED_STEPS.items() if reason.startswith(code))
        step = next(known, "the same command again").format(instance.region)
        super().__init__(f"{instance.label} is {instance.state}", reason, step)
        self.no_capacity = "InsufficientInstanceCapacity" in reason


class NoAddress(Unreachable):
    """The public address of this client could not be looked up."""


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
    code = code.removeprefix("Client.").removeprefix("Server.")  # as some answers name the side at fault
    if code in _CAPACITY or code.startswith("Insufficient"):
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


def may_succeed_later(error: GpujobError) -> bool:
    """Whether a launch or a start found no capacity, or AWS could not be reached or is too busy."""
    is_unreachable = isinstance(error, AwsError) and error.exit_code == Exit.UNREACHABLE
    return is_unreachable or isinstance(error, NoAddress) or is_shortage(error)


def explain(error: AwsError) -> GpujobError:
    """Returns the error that the user reads, with its exit code and next step."""
    what = f"EC2 refused {error.operation} in {error.region}: {error.code}"
    todo = action(error.code, error.status)
    if error.code == "NoCredentials":
        return _credentials(error)
    if error.code == "NoConnection":
        return _no_connection(error)
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
    return UsageError(what, error.message, _refused_step(error))


def _refused_step(error: AwsError) -> str:
    instance = re.search(r"i-[0-9a-f]+", error.message)
    if error.code == "OperationNotPermitted" and instance:
        change = f"--instance-id {instance[0]} --no-disable-api-termination"
        return f"aws ec2 modify-instance-attribute --region {error.region} {change}"
    if "iaminstanceprofile" in error.message.lower():
        return "resources.ec2.instance_profile: one of this account"
    if error.code.startswith("InvalidParameter"):
        by_words = next((step for words, step in _STEPS_BY_WORDS.items() if words in error.message), None)
        if by_words:
            return by_words
    known = (step for code, step in _STEPS.items() if error.code.startswith(code))
    return next(known, "gpujob doctor --on ec2")


def _no_connection(error: AwsError) -> GpujobError:
    """Returns the error about an endpoint that cannot be reached; a misspelt region has none."""
    from orchestrator.instances.catalog import table  # noqa: PLC0415 - it reads a file

    what = f"EC2 in {error.region} cannot be reached"
    try:
        if not error.region.startswith(
            ("cn-", "us-gov-", "us-iso", "eu-isoe-")
        ):  # the table has none of these
            table().region(error.region)
    except UsageError as unknown:
        return UsageError(what, f"{unknown.what}, {unknown.why} {error.message}", "AWS_REGION=NAME")
    return Unreachable(what, error.message, "the same command again")


def _credentials(error: AwsError) -> GpujobError:
    """Returns the error about credentials or settings that cannot be used, with botocore's own words."""
    name, message = error.message.partition(":")[0], error.message.lower()
    if name in _LOGIN or "expired" in message or re.search(r"(credentials|token) from (sso|login)", message):
        return AccessError("the AWS login has ended", error.message, "aws sso login, or aws login")
    if name in _REGION:
        step = "AWS_REGION=NAME, or aws configure set region NAME"
        return UsageError("the AWS region of this command is not valid", error.message, step)
    if name.startswith(("Invalid", "Unknown", "Endpoint", "Config", "ValueError", "FileNotFoundError")):
        step = "aws configure sso" if "use sso" in message else "aws configure list, and env | grep AWS_"
        return UsageError("the AWS configuration cannot be used", error.message, step)
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
    if code == "AuthFailure.ServiceLinkedRoleCreationNotPermitted":
        role = "aws iam create-service-linked-role --aws-service-name spot.amazonaws.com"
        return f"{role}, once for the account, by an administrator"
    boundary = next((step for words, step in _BOUNDARIES.items() if words in message.lower()), "")
    if code in FORBIDDEN[:3] and boundary:
        return boundary
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
