"""The EC2 API, asked one call at a time: every failure is an AwsError with a code, throttling waits."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from orchestrator.context import Context
from orchestrator.instances.awserrors import Action, AwsError, action

_PAUSES = (1.0, 2.0, 4.0, 8.0, 15.0)  # seconds; a repeated RunInstances carries the same token
_CONNECT = 10  # seconds; AWS's own default of 60 looks like a hang


class Cloud:
    """Clients of this account, made when first used: importing boto3 and its EC2 model takes 0.5 s."""

    def __init__(self, ctx: Context) -> None:
        self._ctx = ctx
        self._session: Any = None
        self._clients: dict[tuple[str, str], Any] = {}

    def call(self, region: str, operation: str, service: str = "ec2", **words: Any) -> dict[str, Any]:
        """One call, e.g. "run_instances"; repeated where EC2 is busy or its answer was lost. AwsError.

        All that gpujob asks for may be repeated: reads, RunInstances with its token, and changes of things
        by their id, whose callers take "it is so already" for done.
        """
        for pause in (*_PAUSES, None):
            try:
                return self._once(region, operation, service, words)
            except AwsError as error:
                if pause is None or action(error.code, error.status) is not Action.REPEAT:
                    raise
            self._ctx.sleep(pause)
        raise AssertionError("the last try raises")

    def all(self, region: str, operation: str, key: str, **words: Any) -> Iterator[dict[str, Any]]:
        """Items of a paged answer."""
        while True:
            answer = self.call(region, operation, **words)
            yield from answer[key]
            if not answer.get("NextToken"):
                return
            words["NextToken"] = answer["NextToken"]

    def regions(self) -> list[str]:
        """Those that this account may use."""
        found = self.call("us-east-1", "describe_regions")["Regions"]
        return sorted(region["RegionName"] for region in found)

    def _once(self, region: str, operation: str, service: str, words: dict[str, Any]) -> dict[str, Any]:
        from botocore import exceptions as aws  # noqa: PLC0415 - 0.2 s that only EC2 pays for
        from botocore.parsers import ResponseParserError  # noqa: PLC0415

        def failed(code: str, message: str, status: int = 0) -> AwsError:
            return AwsError(code, message, operation, region, status)

        try:
            answer: dict[str, Any] = getattr(self._client(service, region), operation)(**words)
        except aws.ClientError as error:
            said, status = error.response.get("Error", {}), error.response.get("ResponseMetadata", {})
            code, message = said.get("Code", "Unknown"), said.get("Message", "")
            raise failed(code, message, status.get("HTTPStatusCode", 0)) from None
        except (aws.NoCredentialsError, aws.PartialCredentialsError, aws.ProfileNotFound) as error:
            raise failed("NoCredentials", str(error)) from None
        except (aws.TokenRetrievalError, aws.SSOTokenLoadError, aws.UnauthorizedSSOTokenError) as error:
            raise failed("ExpiredToken", str(error)) from None
        except aws.ConnectionError as error:
            raise failed("NoConnection", str(error)) from None
        except aws.HTTPClientError as error:
            raise failed("ConnectionLost", str(error)) from None
        except (aws.BotoCoreError, ResponseParserError) as error:  # the latter is no BotoCoreError
            raise failed("Unavailable", f"{type(error).__name__}: {error}", 500) from None
        return answer

    def _client(self, service: str, region: str) -> Any:
        """No retries of its own: botocore would take missing capacity (an HTTP 500) for a reason to wait."""
        import boto3  # noqa: PLC0415
        from botocore.config import Config  # noqa: PLC0415

        self._session = self._session or boto3.session.Session()
        if (service, region) not in self._clients:
            config = Config(
                retries={"total_max_attempts": 1},
                connect_timeout=_CONNECT,
                read_timeout=60,
                user_agent_extra="gpujob",
            )
            made = self._session.client(service, region_name=region, config=config)
            self._clients[(service, region)] = made
        return self._clients[(service, region)]
