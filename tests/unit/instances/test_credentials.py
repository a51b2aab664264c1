"""Every way in which botocore cannot have credentials is one clear error at once, in AWS's own words."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from orchestrator import settings_files
from orchestrator.errors import Exit, GpujobError, UsageError
from orchestrator.instances import changes
from orchestrator.instances.aws_session import new_session
from orchestrator.instances.cloud import Account, Cloud
from orchestrator.instances.connection import InstanceHost
from orchestrator.instances.errors import AwsError
from orchestrator.instances.instance import Instance
from tests.support import Client, new_client
from tests.unit.instances.fake_account import FakeAccount


@pytest.fixture
def client() -> Iterator[Client]:
    with new_client() as client:
        yield client


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The only configuration that botocore finds."""
    path = tmp_path / "config"
    monkeypatch.setenv("AWS_CONFIG_FILE", str(path))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("HOME", str(tmp_path))
    return path


SSO = "\n".join(
    [
        "sso_start_url = https://x.awsapps.com/start",
        *("sso_region = us-east-1", "sso_account_id = 1", "sso_role_name = r", ""),
    ]
)
KEYS = {"Version": 1, "AccessKeyId": "a", "SecretAccessKey": "b"}


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[default]\ncredential_process = sh -c 'echo vault is sealed >&2; exit 3'\n", "vault is sealed"),
        ("[default]\ncredential_process = echo no JSON\n", "JSONDecodeError"),
        ("[default]\ncredential_process = /does/not/exist\n", "/does/not/exist"),
        ("[default]\nrole_arn = arn:aws:iam::1:role/r\n", "source_profile"),
        (f"[default]\n{SSO}", "SSO"),
        ("", "Unable to locate credentials"),
    ],
)
def test_credentials_that_cannot_be_had_are_reported_at_once(
    client: Client, config: Path, text: str, says: str
) -> None:
    config.write_text(text)
    slept: list[float] = []
    with pytest.raises(AwsError) as raised:
        Cloud(client.context(sleep=slept.append)).call("us-east-1", "describe_instances")
    error = raised.value
    assert (error.exit_code, slept) == (Exit.ACCESS, [])
    assert says in error.why
    assert "credentials" in error.what or "login" in error.what


TWO_PROFILES = """[default]
region = us-east-2
[profile "team ml"]
region = eu-central-1
aws_access_key_id = of-the-team
aws_secret_access_key = secret
"""


def test_the_setting_aws_profile_says_whose_account_is_asked(
    client: Client, config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a project's gpujob.yaml, so that every command of the project asks the same account."""
    config.write_text(TWO_PROFILES)
    client.env["AWS_CONFIG_FILE"] = str(config)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "of-this-shell")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setenv("AWS_PROFILE", "default")
    client.write("gpujob.yaml", "aws_profile: team ml\n")
    ctx = client.context()
    assert new_session(ctx).get_credentials().access_key == "of-the-team"
    region = settings_files.load(ctx)["region"]
    assert (region.value, region.source) == ("eu-central-1", f'{ctx.short(config)} [profile "team ml"]')
    client.write("gpujob.yaml", "region: eu-west-1\n")
    assert new_session(client.context()).get_credentials().access_key == "of-this-shell"


def test_a_setting_that_names_no_profile_is_refused_with_those_that_exist(
    client: Client, config: Path
) -> None:
    config.write_text(TWO_PROFILES)
    client.env["GPUJOB_AWS_PROFILE"] = "team-ml"
    with pytest.raises(UsageError) as raised:
        Cloud(client.context()).call("us-east-1", "describe_instances")
    assert "$GPUJOB_AWS_PROFILE: AWS has no profile 'team-ml'" in str(raised.value)
    assert raised.value.why == "profiles: default, team ml"
    assert raised.value.next_step == "aws configure --profile team-ml"


SESSION = (
    "[default]\nsso_session=s\nsso_account_id=1\nsso_role_name=r\n[sso-session s]\nsso_start_url=https://x\n"
)
KEY = {"AWS_ACCESS_KEY_ID": "AKIA", "AWS_SECRET_ACCESS_KEY": "x"}


@pytest.mark.parametrize(
    ("env", "text", "what", "next_step"),
    [
        ({}, SESSION, "configuration", "aws configure sso"),
        ({}, "[defau\nregion", "configuration", "aws configure list"),
        (
            {},
            "[default]\nrole_arn=arn:aws:iam::1:role/r\nsource_profile=gone\n",
            "configuration",
            "env | grep",
        ),
        (KEY | {"AWS_ENDPOINT_URL": "not a url"}, "", "configuration", "env | grep AWS_"),
        (KEY | {"AWS_RETRY_MODE": "bad"}, "", "configuration", "env | grep AWS_"),
        (KEY | {"AWS_SESSION_TOKEN": "secret\ncanary"}, "", "configuration", "env | grep AWS_"),
        (KEY | {"HTTP_PROXY": "::::"}, "", "configuration", "env | grep AWS_"),
        (
            {"AWS_WEB_IDENTITY_TOKEN_FILE": "/does/not/exist/token", "AWS_ROLE_ARN": "arn:aws:iam::1:role/r"},
            *("", "credentials", "aws sts get-caller-identity"),
        ),
    ],
)
def test_a_setting_that_cannot_be_used_is_not_a_login_that_ended(
    client: Client,
    config: Path,
    monkeypatch: pytest.MonkeyPatch,
    env: dict[str, str],
    text: str,
    what: str,
    next_step: str,
) -> None:
    config.write_text(text)
    for name, value in ({"AWS_ENDPOINT_URL": "http://127.0.0.1:9"} | env).items():
        monkeypatch.setenv(name, value)
    slept: list[float] = []
    with pytest.raises(AwsError) as raised:
        Cloud(client.context(sleep=slept.append)).call("us-east-1", "describe_instances")
    error = raised.value
    assert (what in error.what, next_step in error.next_step, slept) == (True, True, []), error.next_step
    assert "canary" not in f"{error} {error.why}"


def test_a_region_that_cannot_be_one_is_named_as_such(
    client: Client, config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in KEY.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(AwsError, match="us_east_1") as raised:
        Cloud(client.context()).call("us_east_1", "describe_instances")
    assert (raised.value.exit_code, "AWS_REGION" in raised.value.next_step) == (Exit.USAGE, True)


def test_a_command_reads_its_credentials_once(
    client: Client, config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So that a command which asks for an MFA code asks once."""
    count = config.with_name("count")
    script = config.with_name("process")
    script.write_text(f"echo x >>{count}; echo {json.dumps(json.dumps(KEYS))}\n")
    config.write_text(f"[default]\ncredential_process = sh {script}\n")
    ctx = client.context()
    clients: list[Any] = []
    each = [Account(ctx).cloud, Cloud(ctx), Account(ctx).cloud]
    threads = [
        threading.Thread(target=lambda c=one: clients.append(c._client("ec2", "us-east-1"))) for one in each
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(clients) == 3
    assert count.read_text() == "x\n"


class _Client:
    """Accepts one key alone; a tool of the user renews the credentials in the file at a refusal."""

    def __init__(self, ctx: Any, config: Path, renewed: str) -> None:
        self.ctx, self.config, self.renewed = ctx, config, renewed

    def describe_instances(self) -> dict[str, Any]:
        key = new_session(self.ctx).get_credentials().access_key
        if key == "valid":
            return {}
        self.config.write_text(_keys(self.renewed))
        raise ClientError({"Error": {"Code": "ExpiredToken", "Message": "expired"}}, "DescribeInstances")


def _keys(key: str) -> str:
    return f"[default]\naws_access_key_id = {key}\naws_secret_access_key = secret\n"


@pytest.mark.parametrize("renewed", ["valid", "old"])
def test_credentials_that_were_renewed_during_a_command_are_read_anew(
    client: Client, config: Path, monkeypatch: pytest.MonkeyPatch, renewed: str
) -> None:
    config.write_text(_keys("old"))
    ctx = client.context()
    monkeypatch.setattr(Cloud, "_client", lambda *_: _Client(ctx, config, renewed))
    if renewed == "valid":
        assert Cloud(ctx).call("us-east-1", "describe_instances") == {}
    else:
        with pytest.raises(AwsError, match="ExpiredToken"):
            Cloud(ctx).call("us-east-1", "describe_instances")


def test_a_termination_that_expired_credentials_stop_is_completed_later(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    aws = FakeAccount(monkeypatch)
    aws.instance("i-1")
    account = Account(client.context())
    record = Instance(id="i-1", region="us-east-1", launched=1000.0, address="127.0.0.1", account="1")
    account.records.save(record)
    aws.errors["terminate_instances"] = "ExpiredToken"
    with pytest.raises(GpujobError) as raised:
        InstanceHost(account, record).terminate()
    assert "i-1 is not terminated yet, and is billed" in raised.value.what
    assert raised.value.exit_code == Exit.ACCESS
    assert "gpujob hosts list, which completes" in raised.value.next_step
    aws.errors.clear()
    changes.complete(account)
    assert aws.instances["i-1"]["State"] == {"Name": "shutting-down"}


def test_a_prompt_without_a_terminal_is_a_credentials_error(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    def ask(**_: Any) -> Any:
        raise EOFError("EOF when reading a line")

    monkeypatch.setattr("boto3.session.Session", ask)
    with pytest.raises(AwsError) as raised:
        Cloud(client.context()).call("us-east-1", "describe_instances")
    assert (raised.value.exit_code, "EOF when reading" in raised.value.why) == (Exit.ACCESS, True)
