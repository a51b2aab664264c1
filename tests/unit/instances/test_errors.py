"""EC2 errors: the reaction of a launch, the message, and the exit code of each."""

import pytest

from orchestrator.errors import Exit
from orchestrator.instances import catalog, errors
from orchestrator.instances.errors import Action, AwsError
from orchestrator.instances.instance import Instance
from orchestrator.instances.spec import Candidate

CAPACITY = (
    *("InsufficientInstanceCapacity", "InsufficientHostCapacity", "InsufficientCapacity"),
    *("UnfulfillableCapacity", "ReservationCapacityExceeded", "SpotMaxPriceTooLow", "Unsupported"),
    *("InsufficientFreeAddressesInSubnet", "Server.InsufficientInstanceCapacity"),
)
QUOTA = (
    *("VcpuLimitExceeded", "MaxSpotInstanceCountExceeded", "InstanceLimitExceeded"),
    *("MaxIOPSLimitExceeded", "VolumeLimitExceeded", "Client.VolumeLimitExceeded"),
)
BUSY = (
    *("RequestLimitExceeded", "Throttling", "ThrottlingException", "ThrottledException", "Unavailable"),
    *("ServiceUnavailable", "InternalError", "InternalFailure", "ServerInternal", "RequestTimeout"),
)
POLICY = ("UnauthorizedOperation", "AccessDenied", "AccessDeniedException")
EXPIRED = ("ExpiredToken", "ExpiredTokenException", "RequestExpired")
SKEWED = ("RequestTimeTooSkewed", "RequestInTheFuture")
ACCOUNT = ("OptInRequired", "PendingVerification", "Blocked")
WHOSE = ("AuthFailure", "AuthFailure.ServiceLinkedRole", "InvalidClientTokenId", "SignatureDoesNotMatch")
WRONG = ("InvalidParameterValue", "InvalidParameterCombination", "NobodyKnowsThis")
KEYS = (
    ("InvalidAMIID.NotFound", "resources.ec2.images"),
    ("InvalidSubnetID.NotFound", "resources.ec2.subnet"),
    ("InvalidGroup.NotFound", "resources.ec2.security_group"),
    ("SecurityGroupLimitExceeded", "resources.ec2.security_group"),
    ("TagPolicyViolation", "resources.ec2.tags"),
    ("VPCIdNotSpecified", "create-default-vpc"),
)

ROWS = [
    *((code, 500, Action.NEXT_ZONE, Exit.FAILED, "other types or zones") for code in CAPACITY),
    *((code, 400, Action.NEXT_FAMILY, Exit.FAILED, "gpujob doctor --on ec2") for code in QUOTA),
    *((code, 503, Action.RETRY, Exit.UNREACHABLE, "the same command again") for code in BUSY),
    *((code, 403, Action.DENIED, Exit.ACCESS, "docs/iam.md") for code in POLICY),
    *((code, 400, Action.DENIED, Exit.ACCESS, "aws sso login") for code in EXPIRED),
    *((code, 400, Action.DENIED, Exit.ACCESS, "account") for code in ACCOUNT),
    *((code, 403, Action.DENIED, Exit.ACCESS, "set this machine's clock") for code in SKEWED),
    *((code, 401, Action.DENIED, Exit.ACCESS, "aws sts get-caller-identity") for code in WHOSE),
    *((code, 400, Action.REFUSED, Exit.USAGE, "gpujob doctor --on ec2") for code in WRONG),
    *((code, 400, Action.REFUSED, Exit.USAGE, key) for code, key in KEYS),
    ("Client.RequestLimitExceeded", 400, Action.RETRY, Exit.UNREACHABLE, "the same command again"),
    ("Server.Unavailable", 400, Action.RETRY, Exit.UNREACHABLE, "the same command again"),
    ("Client.UnauthorizedOperation", 403, Action.DENIED, Exit.ACCESS, "aws sts get-caller-identity"),
    ("InsufficientAddressCapacity", 400, Action.NEXT_ZONE, Exit.FAILED, "other types or zones"),
    ("InsufficientReservedInstanceCapacity", 400, Action.NEXT_ZONE, Exit.FAILED, "other types or zones"),
    ("RequestThrottledException", 400, Action.RETRY, Exit.UNREACHABLE, "the same command again"),
    ("TooManyRequestsException", 429, Action.RETRY, Exit.UNREACHABLE, "the same command again"),
    (
        *("AuthFailure.ServiceLinkedRoleCreationNotPermitted", 403, Action.DENIED, Exit.ACCESS),
        "aws iam create-service-linked-role --aws-service-name spot.amazonaws.com",
    ),
    ("NobodyKnowsThis", 500, Action.RETRY, Exit.UNREACHABLE, "the same command again"),
    ("ConnectionLost", 0, Action.RETRY, Exit.UNREACHABLE, "the same command again"),
    ("NoConnection", 0, Action.REFUSED, Exit.UNREACHABLE, "the same command again"),
    ("NoCredentials", 0, Action.DENIED, Exit.ACCESS, "aws configure"),
    ("IdempotentInstanceTerminated", 400, Action.NEW_ATTEMPT, Exit.FAILED, "the same command again"),
    ("IdempotentParameterMismatch", 400, Action.REFUSED, Exit.FAILED, "gpujob hosts orphans"),
    ("InvalidInstanceID.NotFound", 400, Action.REFUSED, Exit.NOT_FOUND, "gpujob hosts list"),
    ("InvalidInstanceID.Malformed", 400, Action.REFUSED, Exit.NOT_FOUND, "gpujob hosts list"),
    ("InvalidVolume.NotFound", 400, Action.REFUSED, Exit.NOT_FOUND, "gpujob hosts list"),
]


@pytest.mark.parametrize(("code", "status", "action", "exit_code", "next_step"), ROWS)
def test_each_code_has_its_action_its_exit_code_and_a_next_step(
    code: str, status: int, action: Action, exit_code: Exit, next_step: str
) -> None:
    error = AwsError(code, "in their words", "run_instances", "us-east-1", status)
    shown = errors.explain(error)
    assert errors.action(code, status) is action
    assert shown.exit_code is exit_code
    assert next_step in shown.next_step
    assert "us-east-1" in shown.what or code == "NoCredentials"
    assert "in their words" in shown.why or code == "IdempotentParameterMismatch"


@pytest.mark.parametrize(
    ("reason", "step"),
    [
        ("Client.VolumeLimitExceeded: Volume limit exceeded", "--service-code ebs --region eu-west-1"),
        ("Client.InternalError: Client error on launch", "resources.ec2.kms_key"),
        ("Client.InvalidSnapshot.NotFound: The snapshot does not exist", "resources.ec2.images"),
        ("Client.UserInitiatedShutdown: User initiated shutdown", "gpujob hosts list"),
        ("Server.InternalError: Internal error on launch", "the same command again"),
        ("", "the same command again"),
    ],
)
def test_the_reason_of_an_end_has_a_next_step_that_changes_it(reason: str, step: str) -> None:
    instance = Instance(id="i-1", region="eu-west-1", launched=0.0, state="terminated", state_reason=reason)
    ended = errors.Ended(instance)
    assert (ended.why, ended.no_capacity) == (reason or "EC2 reports no reason", False)
    assert step in ended.next_step


def test_a_token_in_use_means_that_another_client_is_launching_this_job() -> None:
    message = (
        "Arguments on this idempotent request are inconsistent with arguments used in previous request(s)"
    )
    error = AwsError("IdempotentParameterMismatch", message, "run_instances", "us-east-1", 400)
    assert error.why == "another client is launching this job"
    assert (error.exit_code, error.next_step) == (Exit.FAILED, "gpujob hosts orphans")
    assert errors.action(error.code) is Action.REFUSED  # nothing is launched in its place


@pytest.mark.parametrize(
    ("because", "step"),
    [
        ("no permissions boundary allows the ec2:RunInstances action", "permissions boundary of this user"),
        ("explicit deny in a permissions boundary", "permissions boundary of this user"),
        ("explicit deny in a service control policy", "whoever administers the organization"),
        ("no identity-based policy allows the ec2:RunInstances action", "docs/iam.md has the smallest"),
    ],
)
def test_a_permissions_boundary_is_named_and_not_taken_for_the_policy(because: str, step: str) -> None:
    message = (
        f"User: arn:aws:iam::1:user/ada is not authorized to perform: ec2:RunInstances because {because}"
    )
    error = AwsError("UnauthorizedOperation", message, "run_instances", "us-east-1", 403)
    assert (error.exit_code, error.why) == (Exit.ACCESS, message)
    assert step in error.next_step


def test_a_protected_instance_is_reported_with_the_command_that_frees_it() -> None:
    message = (
        "The instance 'i-0a1' may not be terminated. Modify its 'disableApiTermination' instance attribute"
    )
    shown = errors.explain(
        AwsError("OperationNotPermitted", message, "terminate_instances", "eu-west-1", 400)
    )
    assert shown.why == message
    assert "--region eu-west-1 --instance-id i-0a1 --no-disable-api-termination" in shown.next_step


@pytest.mark.parametrize(
    ("region", "is_known"), [("us-east-1", True), ("us-gov-west-1", True), ("us-est-1", False)]
)
def test_a_misspelt_region_is_not_reported_as_a_lost_network(region: str, is_known: bool) -> None:
    shown = errors.explain(AwsError("NoConnection", "Could not connect", "describe_vpcs", region))
    assert shown.exit_code is (Exit.UNREACHABLE if is_known else Exit.USAGE)
    assert ("did you mean" in shown.why) != is_known


def test_an_aws_error_has_the_texts_of_its_explanation() -> None:
    error = AwsError("UnauthorizedOperation", "no", "describe_subnets", "eu-west-1", 403)
    shown = errors.explain(error)
    assert (error.what, error.why, error.next_step) == (shown.what, shown.why, shown.next_step)
    assert error.exit_code is Exit.ACCESS


def test_an_encoded_error_is_omitted_and_the_command_to_decode_it_shown() -> None:
    message = "You are not authorized. Encoded authorization failure message: 4FS0QpJd8v"
    why = errors.explain(AwsError("UnauthorizedOperation", message, "run_instances", "us-east-1", 403)).why
    assert "4FS0QpJd8v" not in why
    assert why == "You are not authorized. (aws sts decode-authorization-message shows more)"


@pytest.mark.parametrize(
    ("kind", "spot", "code", "listed"),
    [
        ("g5.xlarge", False, "L-DB2E81BA", "Running On-Demand G and VT instances"),
        ("p5.48xlarge", False, "L-417A185B", "Running On-Demand P instances"),
        ("g5.xlarge", True, "L-3819A6DF", "All G and VT Spot Instance Requests"),
        ("p4d.24xlarge", True, "L-7212CCBC", "All P4, P3 and P2 Spot Instance Requests"),
        ("p5.48xlarge", True, None, "All P5 Spot Instance Requests"),
        ("p6-b200.48xlarge", True, None, "All P6 Spot Instance Requests"),
        (
            "t3.medium",
            False,
            "L-1216C47A",
            "Running On-Demand Standard (A, C, D, M, T, Z) instances",
        ),
        ("m5.large", True, "L-34B43A08", "All Standard (A, C, D, H, I, M, R, T, Z) Spot Instance Requests"),
    ],
)
def test_each_family_and_market_has_a_quota_of_its_own(
    kind: str, spot: bool, code: str | None, listed: str
) -> None:
    quota = catalog.quota_of(Candidate("eu-west-1", "eu-west-1a", kind, spot))
    assert quota.code == code
    assert quota.matches(listed)
    assert f"--quota-code {code} --region eu-west-1" in quota.command or code is None
    for other in ("All DL Spot Instance Requests", "Running On-Demand DL instances"):
        assert not quota.matches(other)


def test_a_limit_of_volumes_is_not_reported_as_one_of_vcpus() -> None:
    quota = catalog.quota_of(Candidate("eu-west-1", "eu-west-1a", "g5.xlarge", False), "VolumeLimitExceeded")
    assert (quota.service, quota.code) == ("ebs", None)
    assert "vCPU" not in str(quota)
    assert "--service-code ebs --region eu-west-1" in quota.command


@pytest.mark.parametrize(
    ("code", "message", "step"),
    [
        (
            "InvalidParameterValue",
            "The architecture 'arm64' of the specified instance type does not match the architecture "
            "'x86_64' of the specified AMI.",
            "types and images of one architecture",
        ),
        (
            "InvalidParameter",
            "Security group sg-1 and subnet subnet-1 belong to different networks.",
            "subnet and security_group of one VPC",
        ),
    ],
)
def test_parameters_that_do_not_fit_each_other_are_named_as_the_next_step(
    code: str, message: str, step: str
) -> None:
    error = AwsError(code, message, "run_instances", "us-east-1", 400)
    assert (error.why, step in error.next_step) == (message, True)


@pytest.mark.parametrize(
    "message", ["Signature expired: 20261126T1 is now earlier than", "Signature not yet current: 20261126T1"]
)
def test_a_wrong_clock_of_the_client_is_named_as_the_cause(message: str) -> None:
    error = AwsError("SignatureDoesNotMatch", message, "run_instances", "us-east-1", 403)
    assert "set this machine's clock" in error.next_step
