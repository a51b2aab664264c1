"""The policy in docs/iam.md allows each call that the code makes, and nothing that it does not make."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from botocore import xform_name
from botocore.session import Session

from orchestrator.core.spec import JobSpec
from orchestrator.instances import cloud, diagnostics, spec
from orchestrator.instances.cloud import Cloud
from orchestrator.instances.errors import AwsError
from orchestrator.instances.quote import quote
from tests.support import REPOSITORY, new_client

FOLDER = Path(cloud.__file__).parent
TEXT = (REPOSITORY / "docs" / "iam.md").read_text()
POLICY = json.loads(TEXT.split("```json")[1].split("```")[0])
SERVICES = {"ec2": "ec2", "ssm": "ssm", "sts": "sts", "servicequotas": "service-quotas", "pricing": "pricing"}
IMPLIED = {"ec2:CreateTags"}  # of TagSpecifications; called by itself, too


def actions() -> dict[str, dict[str, Any]]:
    """Return each action of the policy with its statement."""
    listed = [(one["Action"], one) for one in POLICY["Statement"]]
    return {
        action: statement
        for names, statement in listed
        for action in ([names] if isinstance(names, str) else names)
    }


def operations() -> set[str]:
    """Return the actions of all operations that are named in the code."""
    text = "\n".join(path.read_text("utf-8") for path in FOLDER.glob("*.py"))
    words = set(re.findall(r'"([a-z]+(?:_[a-z]+)+)"', text))
    found = set()
    for prefix, service in SERVICES.items():
        model = Session().get_service_model(service)
        found |= {f"{prefix}:{name}" for name in model.operation_names if xform_name(name) in words}
    return found


def test_the_policy_allows_what_the_code_calls_and_no_more() -> None:
    assert operations() | IMPLIED == set(actions())


@pytest.mark.parametrize(
    "action", sorted(name for name in actions() if not re.search(r":(Describe|Get|List)", name))
)
def test_a_change_is_restricted_to_resources_of_gpujob(action: str) -> None:
    conditions = [
        json.dumps(one.get("Condition", {}))
        for one in POLICY["Statement"]
        if action in one["Action"] or action == one["Action"]
    ]
    unconditional = ("ec2:CreateSecurityGroup", "sts:DecodeAuthorizationMessage")
    assert any("gpujob:managed" in each for each in conditions) or action in unconditional


def test_doctor_tags_its_dry_run_as_a_launch_does(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the tags on every resource, exactly this policy would refuse the dry run."""

    sent: dict[str, Any] = {}

    def once(
        _: Cloud, region: str, operation: str, service: str, parameters: dict[str, Any]
    ) -> dict[str, Any]:
        if parameters.get("DryRun"):
            sent[operation] = parameters
            raise AwsError("DryRunOperation", "", operation, region, 412)
        return {"Reservations": []}

    monkeypatch.setattr(Cloud, "_once", once)
    monkeypatch.setattr(diagnostics, "_some_image", lambda cloud, launch: "ami-1")
    with new_client() as client:
        candidate = spec.Candidate("us-east-1", "", "g5.xlarge", False)
        launch = quote(JobSpec("job"), "us-east-1", 0.0, "me", 0).spec
        rows = diagnostics._permissions(Cloud(client.context()), candidate, launch)
    assert {row[1] for row in rows} == {"ok"}
    tagged = {one["ResourceType"] for one in sent["run_instances"]["TagSpecifications"]}
    assert tagged == set(spec.TAGGED_KINDS)
    assert "terminate_instances" not in sent  # there is no instance of gpujob to ask about


def test_doctor_checks_the_type_subnet_image_and_tags_of_the_job(monkeypatch: pytest.MonkeyPatch) -> None:
    """An account without a default VPC, whose organization requires tags, passes with a job that says so."""
    sent: dict[str, dict[str, Any]] = {}
    answers: dict[str, dict[str, Any]] = {
        "get_caller_identity": {"Arn": "arn:aws:iam::1:user/ada"},
        "describe_subnets": {
            "Subnets": [{"SubnetId": "subnet-9", "AvailabilityZone": "eu-west-1b", "VpcId": "vpc-9"}]
        },
        "describe_images": {"Images": [{"ImageId": "ami-9", "RootDeviceName": "/dev/sda1"}]},
        "describe_instance_type_offerings": {
            "InstanceTypeOfferings": [{"InstanceType": "p5.48xlarge", "Location": "eu-west-1b"}]
        },
        "list_service_quotas": {"Quotas": [{"QuotaName": "All P5 Spot Instance Requests", "Value": 192.0}]},
        "describe_instances": {"Reservations": []},
    }

    def once(_: Cloud, region: str, operation: str, service: str, parameters: dict[str, Any]) -> Any:
        assert region == "eu-west-1"
        sent[operation] = parameters
        if parameters.get("DryRun"):
            raise AwsError("DryRunOperation", "", operation, region, 412)
        return answers[operation]

    monkeypatch.setattr(Cloud, "_once", once)
    with new_client() as client:
        ec2 = {"types": ["p5.48xlarge"], "spot": True, "regions": ["eu-west-1"], "images": ["ami-9"]}
        network = {"subnet": "subnet-9", "security_group": "sg-9", "tags": {"cost-center": "42"}}
        client.job("pass", resources={"gpus": 8, "ec2": {**ec2, **network}})
        result = client.run("doctor", "--on", "ec2", "job.yaml", "--json")
    rows = {row["what"]: (row["verdict"], row["detail"]) for row in result.json["rows"]}
    assert {verdict for verdict, _ in rows.values()} == {"ok"}, rows
    assert rows["network"][1] == "subnet-9 of vpc-9 in eu-west-1b"
    assert "p5.48xlarge" in rows["type"][1]
    assert "spot vCPUs of P5: 192" in rows["quota"][1]
    assert "sg-9 stays as it is" in rows["address"][1]
    (tagged, *_) = sent["run_instances"]["TagSpecifications"]
    assert {"Key": "cost-center", "Value": "42"} in tagged["Tags"]
    assert (sent["run_instances"]["ImageId"], "describe_vpcs" in sent) == ("ami-9", False)


def test_a_refusal_is_shown_with_what_aws_decodes(monkeypatch: pytest.MonkeyPatch) -> None:
    message = "You are not authorized. Encoded authorization failure message: 4FS0QpJd8v"
    decoded = {
        "explicitDeny": True,
        "context": {"action": "ec2:RunInstances", "resource": "arn:aws:ec2:us-east-1:1:instance/*"},
    }

    def once(
        _: Cloud, region: str, operation: str, service: str, parameters: dict[str, Any]
    ) -> dict[str, Any]:
        assert (operation, parameters) == ("decode_authorization_message", {"EncodedMessage": "4FS0QpJd8v"})
        return {"DecodedMessage": json.dumps(decoded)}

    with new_client() as client:
        of = Cloud(client.context())
        monkeypatch.setattr(Cloud, "_once", once)
        shown = of._decoded("us-east-1", message)
    assert "a policy denies ec2:RunInstances on arn:aws:ec2:us-east-1:1:instance/*" in shown
    assert "4FS0QpJd8v" not in shown
