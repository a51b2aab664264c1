"""Calls the EC2 API: every failure is an AwsError with a code; what may succeed later is retried."""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

from orchestrator.context import Context
from orchestrator.core import decode, jsontext
from orchestrator.core.decode import S
from orchestrator.core.jsontext import Object
from orchestrator.instances import answers
from orchestrator.instances.aws_session import forget_session, new_session
from orchestrator.instances.errors import EXPIRED, FORBIDDEN, Action, AwsError, action
from orchestrator.instances.records import InstanceStore

T = TypeVar("T")
_PAUSES = (1.0, 2.0, 4.0, 8.0, 15.0)  # seconds; a repeated RunInstances carries the same token
VISIBLE_SECONDS = 60.0
"""Seconds after a change in which EC2 may not know a new resource, or report the former state."""
_VISIBLE_PAUSES = (0.2, 0.5, 1.0, *[2.0] * 30)  # seconds, as long as VISIBLE_SECONDS
UNSEEN_PAUSES = (0.5, 1.0, 2.0, 3.0)
"""Seconds before each repetition of a call about a resource that EC2 does not show, as it may for seconds."""
_CREATING = ("run_instances", "create_security_group")
_IDS = ("InstanceId", "GroupId", "VolumeId", "SpotInstanceRequestId")
_STALE_PAGES = ("InvalidNextToken", "InvalidPaginationToken", "ExpiredNextTokenException")
_FILTER_VALUES = 200
"""EC2's limit of the values of a filter."""
_CONNECT_TIMEOUT = 10  # seconds; AWS's own default of 60 looks like a hang


class Account:
    """The user's AWS account: its API, and the records of the instances that were launched in it."""

    def __init__(self, ctx: Context) -> None:
        self.ctx = ctx
        self.cloud = Cloud(ctx)
        self.records = InstanceStore(ctx.state_dir)


class Cloud:
    """Makes calls of the EC2 API.

    API clients are created when first used, since importing boto3 and its EC2 model takes 0.5 s.
    """

    def __init__(self, ctx: Context) -> None:
        self._ctx = ctx
        self._session: Any = None
        self._clients: dict[tuple[str, str], Any] = {}
        self._lock = threading.Lock()
        self._expected: dict[str, float] = {}  # id → until when EC2 may not know it

    def expect(self, resource_id: str, created: float) -> None:
        """Makes calls that name this resource wait until EC2 knows it, up to VISIBLE_SECONDS after `created`.

        EC2 is eventually consistent: a call right after a creation may answer that there is no such resource.
        Resources that this object created are expected by themselves.
        """
        self._expected[resource_id] = created + VISIBLE_SECONDS

    def read(self, region: str, operation: str, kind: type[S], service: str = "ec2", **parameters: Any) -> S:
        """Makes one call; returns its answer as a `kind`. Raises AwsError, also where that does not fit."""
        return _parsed(self.call(region, operation, service, **parameters), kind, operation, region)

    def call(self, region: str, operation: str, service: str = "ec2", **parameters: Any) -> object:
        """Makes one call, e.g. "start_instances"; returns its answer. Raises AwsError.

        It is retried if EC2 is busy, the answer was lost, or EC2 does not know a new resource yet (`expect`),
        and once with the credentials read anew where they have expired.
        Every call that gpujob makes may be repeated: reads, RunInstances with its token, and changes by id;
        callers accept that a change was already made.
        """

        def answered() -> object:
            return self._ctx.retry(
                lambda: self._once(region, operation, service, parameters),
                _PAUSES,
                AwsError,
                lambda error: action(error.code, error.status) is Action.RETRY,
            )

        def visible() -> object:
            return self._ctx.retry(
                answered, _VISIBLE_PAUSES, AwsError, lambda error: self._may_appear(error, parameters)
            )

        try:
            answer = visible()
        except AwsError as error:
            if error.code not in EXPIRED:
                raise
            self._forget_credentials()
            answer = visible()
        if operation in _CREATING:
            for resource_id in _ids(answer):
                self.expect(resource_id, self._ctx.now())
        return answer

    def _forget_credentials(self) -> None:
        """Makes the next call read the credentials anew: those in a file may have been renewed meanwhile."""
        with self._lock:
            forget_session(self._ctx)
            self._session = None
            self._clients.clear()

    def _may_appear(self, error: AwsError, parameters: Mapping[str, object]) -> bool:
        """Returns whether the error is about a resource that EC2 may not know yet."""
        if not error.code.endswith(".NotFound"):
            return False
        request, now = json.dumps(parameters, default=str), self._ctx.now()
        return any(now < until and each in request for each, until in self._expected.items())

    def first(
        self, region: str, operation: str, key: str, kind: type[S], filters: Mapping[str, Sequence[str]]
    ) -> S | None:
        """Returns the first item under `key`, waiting until EC2 shows one; None after VISIBLE_SECONDS."""
        for pause in _VISIBLE_PAUSES:
            if items := self.some(region, operation, key, kind, filters):
                return items[0]
            self._ctx.sleep(pause)
        return None

    def ask_again(self, ask: Callable[[], T | None], absent_since: float | None = None) -> T | None:
        """Returns what `ask` returns once EC2 shows what it did not show a moment ago; None if it stays gone.

        `absent_since`: when EC2 did not show it for the first time; the time since then has been waited.
        """
        waited = 0.0 if absent_since is None else self._ctx.now() - absent_since
        left = sum(UNSEEN_PAUSES) - waited
        for pause in UNSEEN_PAUSES:
            if left <= 0:
                break
            self._ctx.sleep(min(pause, left))
            left -= pause
            if (item := ask()) is not None:
                return item
        return None

    def all(self, region: str, operation: str, key: str, kind: type[S], **parameters: Any) -> list[S]:
        """Returns the items under `key` of a paged answer, from the first page again if its token expires."""

        def pages() -> list[S]:
            items, token = list[S](), ""
            while True:
                more = {"NextToken": token} if token else {}
                answer = self.call(region, operation, **parameters, **more)
                page = answer if isinstance(answer, dict) else {}
                items_of_page, token = page.get(key), page.get("NextToken") or ""
                if not isinstance(items_of_page, list):
                    raise _unreadable(f"it has no {key}", operation, region)
                items += [_parsed(item, kind, operation, region) for item in items_of_page]
                if not isinstance(token, str) or not token:
                    return items

        return self._ctx.retry(pages, _PAUSES[:2], AwsError, lambda error: error.code in _STALE_PAGES)

    def some(
        self, region: str, operation: str, key: str, kind: type[S], filters: Mapping[str, Sequence[str]]
    ) -> list[S]:
        """Returns the items under `key` that every filter selects, by one of any number of its values."""
        items = list[S]()
        (name, values), *more = filters.items()
        for start in range(0, len(values), _FILTER_VALUES):
            part = {name: values[start : start + _FILTER_VALUES], **dict(more)}
            chosen = [{"Name": each, "Values": list(some)} for each, some in part.items()]
            items += self.all(region, operation, key, kind, Filters=chosen)
        return items

    def now(self) -> float:
        """Returns this client's time in seconds since 1970, which AWS accepts as a time."""
        return self._ctx.now()

    def regions(self, home: str) -> list[str]:
        """Returns the names of the regions that this account may use; `home` is one of its partition.

        Where it may not ask, that is `home` alone.
        """
        try:
            regions = self.all(home, "describe_regions", "Regions", answers.Region)
        except AwsError as error:
            if error.code not in FORBIDDEN:
                raise
            self._ctx.warn(f"only {home} is searched: {error.what}: {error.why}")
            return [home]
        return sorted(region.region_name for region in regions)

    def _once(self, region: str, operation: str, service: str, parameters: Mapping[str, Any]) -> object:
        from botocore import exceptions as aws  # noqa: PLC0415 - 0.2 s, for EC2 only
        from botocore.parsers import ResponseParserError  # noqa: PLC0415

        def failed(code: str, message: str, status: int = 0) -> AwsError:
            return AwsError(code, message, operation, region, status)

        try:
            answer: object = getattr(self._client(service, region), operation)(**parameters)
        except aws.ClientError as error:
            details, metadata = error.response.get("Error", {}), error.response.get("ResponseMetadata", {})
            code, message = details.get("Code", "Unknown"), details.get("Message", "")
            message = self._decoded(region, message)
            raise failed(code, message, metadata.get("HTTPStatusCode", 0)) from None
        except aws.ConnectionError as error:
            raise failed("NoConnection", str(error)) from None
        except (aws.HTTPClientError, aws.IncompleteReadError) as error:
            cause = getattr(error, "kwargs", {}).get("error")
            if isinstance(cause, ValueError | FileNotFoundError):  # nothing was sent
                raise failed("NoCredentials", _described(cause)) from None
            raise failed("ConnectionLost", str(error)) from None
        except ResponseParserError as error:
            raise failed("Unavailable", f"{type(error).__name__}: {error}", 500) from None
        except (aws.ParamValidationError, aws.DataNotFoundError, AttributeError) as error:
            raise failed("InvalidRequest", f"{type(error).__name__}: {error}") from None
        except aws.BotoCoreError as error:  # all others are about the configuration and its credentials
            raise failed("NoCredentials", f"{type(error).__name__}: {error}") from None
        except ValueError as error:  # of an endpoint that is no URL
            raise failed("NoCredentials", _described(error)) from None
        return answer

    def _decoded(self, region: str, message: str) -> str:
        """Returns the message of a refusal with what AWS's encoded part says, if it can be had."""
        plain, marker, encoded = message.partition("Encoded authorization failure message:")
        if not marker:
            return message
        try:
            answer = self._once(
                region, "decode_authorization_message", "sts", {"EncodedMessage": encoded.strip()}
            )
        except AwsError:
            return message
        text = Object(answer if isinstance(answer, dict) else {}).text("DecodedMessage") or ""
        with contextlib.suppress(jsontext.BadJson):
            details = jsontext.read_object(text)
            act, resource = (details.child("context").text(name) for name in ("action", "resource"))
            why = "a policy denies" if details.flag("explicitDeny") else "no policy allows"
            if act and resource:
                return f"{plain.strip()} ({why} {act} on {resource})"
        return message

    def _client(self, service: str, region: str) -> Any:
        """Returns an API client without botocore's retries, which would also retry missing capacity."""
        from botocore.config import Config  # noqa: PLC0415

        self._session = self._session or new_session(self._ctx)
        with self._lock:  # several threads may not create clients of one session at the same time
            if (service, region) not in self._clients:
                config = Config(
                    retries={"total_max_attempts": 1},
                    connect_timeout=_CONNECT_TIMEOUT,
                    read_timeout=60,
                    user_agent_extra="gpujob",
                )
                client = self._session.client(service, region_name=region, config=config)
                self._clients[(service, region)] = client
            return self._clients[(service, region)]


def _described(error: ValueError | FileNotFoundError) -> str:
    """Returns class and text of an error about settings, without the key or token that it may quote."""
    kind = "ValueError" if isinstance(error, ValueError) else "FileNotFoundError"
    if str(error).startswith("Invalid header value"):
        return f"{kind}: a key or a token has a line break or another character that cannot be sent"
    return f"{kind}: {error}"


def _parsed(value: object, kind: type[S], operation: str, region: str) -> S:
    parsed = decode.struct(value, kind)
    if parsed is None:
        raise _unreadable(decode.fault(value, kind)[0], operation, region)
    return parsed


def _unreadable(why: str, operation: str, region: str) -> AwsError:
    return AwsError("UnreadableAnswer", f"the answer has another form: {why}", operation, region)


def _ids(answer: Any) -> Iterator[str]:
    """Yields the ids of resources in an answer."""
    if isinstance(answer, dict):
        for key, value in answer.items():
            if key in _IDS and isinstance(value, str):
                yield value
            else:
                yield from _ids(value)
    elif isinstance(answer, list):
        for item in answer:
            yield from _ids(item)
