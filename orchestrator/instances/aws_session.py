"""Sessions of AWS: whose credentials a command uses, and how the times in answers are read."""

from __future__ import annotations

import contextlib
from datetime import datetime
from typing import Any, cast

from orchestrator import settings_files
from orchestrator.context import Context
from orchestrator.core import shell
from orchestrator.errors import UsageError

_SESSION = "AWS session"


def new_session(ctx: Context) -> Any:
    """Returns the session of a command, whose credentials are read: a user is asked for an MFA code once.

    Raises a BotoCoreError for every failure of AWS's configuration, which includes the commands it names, and
    a UsageError for a setting `aws_profile` that names no profile.
    """
    return ctx.once(_SESSION, lambda: _session_with_credentials(ctx))


def forget_session(ctx: Context) -> None:
    """Makes the next `new_session` read the credentials anew."""
    ctx.made.pop(_SESSION, None)


def _session_with_credentials(ctx: Context) -> Any:
    from botocore import exceptions as aws  # noqa: PLC0415

    try:
        session = session_without_credentials(ctx)
        credentials = session.get_credentials()
        if credentials is None:
            raise aws.NoCredentialsError
        credentials.get_frozen_credentials()
    except (aws.BotoCoreError, aws.ClientError, UsageError):
        raise
    except Exception as error:  # such as OSError, ValueError and EOFError of a credential_process or a prompt
        message = f"{type(error).__name__}: {error}"
        raise aws.CredentialRetrievalError(provider="configuration", error_msg=message) from None
    return session


def session_without_credentials(ctx: Context) -> Any:
    """Returns a session of the profile in the settings, whose answers are read by `parse_time`."""
    import boto3  # noqa: PLC0415
    from botocore.session import get_session  # noqa: PLC0415

    session = get_session()
    chosen = settings_files.load(ctx)["aws_profile"]
    if chosen.value:
        if chosen.value not in session.available_profiles:
            known = ", ".join(session.available_profiles) or "none"
            what = f"{chosen.source}: AWS has no profile {chosen.value!r}"
            raise UsageError(
                what, f"profiles: {known}", shell.join(["aws", "configure", "--profile", chosen.value])
            )
        session.set_config_variable("profile", chosen.value)
    session.get_component("response_parser_factory").set_parser_defaults(timestamp_parser=parse_time)
    return boto3.session.Session(botocore_session=session)


def parse_time(value: Any) -> datetime:
    """As botocore does, but the usual form without dateutil, which takes most of the time of a listing."""
    with contextlib.suppress(AttributeError, ValueError):
        if (time := datetime.fromisoformat(value.replace("Z", "+00:00"))).tzinfo:
            return time
    from botocore.utils import parse_timestamp  # noqa: PLC0415

    return cast("datetime", parse_timestamp(value))
