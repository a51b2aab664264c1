"""Times in the answers of AWS."""

from __future__ import annotations

from typing import Any

import pytest
from botocore.utils import parse_timestamp

from orchestrator.instances.aws_session import parse_time, session_without_credentials
from tests.support import new_client

pytestmark = pytest.mark.unit


@pytest.mark.parametrize(
    "value",
    [
        "2026-11-26T14:00:00Z",
        "2026-11-26T14:00:00.123Z",
        "2026-11-26T14:00:00.123456+02:00",
        "2026-11-26T14:00:00",
        "20261126T140000Z",
        "Thu, 26 Nov 2026 14:00:00 GMT",
        1764165600,
        1764165600.5,
        "1764165600",
    ],
)
def test_times_are_read_as_botocore_reads_them(value: Any) -> None:
    ours, theirs = parse_time(value), parse_timestamp(value)
    assert (ours, ours.utcoffset()) == (theirs, theirs.utcoffset())


@pytest.mark.parametrize("value", ["yesterday", "", None])
def test_what_is_no_time_is_refused_as_botocore_does(value: Any) -> None:
    with pytest.raises(ValueError, match="Invalid timestamp"):
        parse_timestamp(value)
    with pytest.raises(ValueError, match="Invalid timestamp"):
        parse_time(value)


def test_a_session_reads_the_times_of_its_answers_so() -> None:
    with new_client() as client:
        session = session_without_credentials(client.context())
    factory = session._session.get_component("response_parser_factory")
    assert factory.create_parser("rest-xml")._timestamp_parser is parse_time
