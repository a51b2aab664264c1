"""A host whose answers are nonsense: an error that says what is wrong, never a bug report."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from orchestrator.errors import GpujobError
from orchestrator.targets import helper, helper_files
from orchestrator.targets.helper_host import HelperHost
from orchestrator.targets.pipes import Reader
from tests.support import Client, ScriptedHost, new_client

RUN = "job-20261121T101112-1a2b"
FILE = {"path": "log", "bytes": 1, "sha256": "0" * 64}
STAGE = {"folder": "/r", "token": "t", "files": [FILE], "left_out": [], "missing": [], "no_room": []}


class Pipe:
    """Answers every request with the same bytes."""

    def __init__(self, content: bytes) -> None:
        self._content = content

    def write(self, data: bytes) -> None: ...

    def receive(self) -> bytes:
        content, self._content = self._content, b""
        return content

    def close(self) -> None: ...


class Host(HelperHost):
    label = "gpu"

    def __init__(self, client: Client, content: bytes) -> None:
        super().__init__(client.context(sleep=lambda _: None))
        self._content = content

    def open(self, verb: str, *words: str) -> Any:
        pipe = Pipe(self._content)
        return pipe, Reader(pipe)  # type: ignore[arg-type]

    def drop(self) -> None: ...


@pytest.fixture
def client() -> Iterator[Client]:
    with new_client() as new:
        yield new


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("Welcome to Ubuntu", "not JSON"),
        ("[" * 100_000, "nested deeper"),
        ("[]", "a list"),
        ('{"id": 1}', "null instead of an object"),
        ('{"id": 1, "answer": []}', "a list instead of an object"),
        ('{"id": 1, "refused": "no"}', "without a reason"),
        ('{"id": 1, "refused": {"kind": [], "message": "m"}}', "without a reason"),
    ],
)
def test_a_line_that_is_no_answer_is_an_error_with_the_reason(client: Client, line: str, words: str) -> None:
    with pytest.raises(GpujobError) as error:
        Host(client, line.encode() + b"\n").ask("status")
    assert words in f"{error.value.what} {error.value.why}"
    assert error.value.next_step == "gpujob doctor"


@pytest.mark.parametrize("frame", [b"x\n", b"1e3\n", b"--1\n", b"\xff\n", b"9" * 5000 + b"\n", b"\n"])
def test_bytes_that_are_no_frame_are_an_error_with_these_bytes(client: Client, frame: bytes) -> None:
    with pytest.raises(GpujobError, match="the host sent no frame"):
        list(Host(client, frame).follow(RUN, "log"))


@pytest.mark.parametrize("end", [b"{}", b"[]", b'{"code": "0", "err": ""}', b'{"code": 0}', b"bye"])
def test_a_command_without_an_exit_code_is_an_error(client: Client, end: bytes) -> None:
    with pytest.raises(GpujobError, match="cannot be used"):
        Host(client, b"-1\n" + end + b"\n").run(["true"], b"", {}, lambda line: None)


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"folder": 5}, "folder"),
        ({"files": None}, "files"),
        ({"files": [[]]}, "files[0]"),
        ({"files": [{**FILE, "bytes": "1"}]}, "files[0].bytes"),
        ({"files": [{**FILE, "bytes": -1}]}, "files[0].bytes"),
        ({"files": [{**FILE, "path": None}]}, "files[0].path"),
        ({"files": [{"path": "log"}]}, "bytes"),
        ({"left_out": "log"}, "left_out"),
        ({"no_room": {}}, "no_room"),
        ({"missing": [1]}, "missing"),
        ({"files": [{**FILE, "path": "../x"}]}, "outside"),
        ({"files": [{**FILE, "sha256": "x"}]}, "sha256"),
    ],
)
def test_a_stage_that_is_nonsense_is_an_error_that_names_the_field(
    changes: dict[str, Any], field: str
) -> None:
    host = ScriptedHost({"stage": {**STAGE, **changes}, "unstage": {}})
    with pytest.raises(GpujobError) as error, helper_files.staged(host, RUN, "best"):
        pass
    assert field in f"{error.value.what} {error.value.why}"
    assert error.value.exit_code == 1


def test_a_key_that_an_answer_lacks_is_an_error_that_names_it(client: Client) -> None:
    answer = Host(client, b'{"id": 1, "answer": {}}\n').ask("status")
    with pytest.raises(GpujobError) as error:
        answer["root"]
    assert error.value.what == "the host's answer to 'status' cannot be used"
    assert error.value.why == "it has no 'root'"


@pytest.mark.parametrize("answer", [{}, {"was_running": True}, {"was_running": True, "remaining": "none"}])
def test_a_stop_without_an_answer_about_processes_is_an_error(answer: dict[str, Any]) -> None:
    """It must not be printed as: no process is left."""
    with pytest.raises(GpujobError, match="cannot be used"):
        helper.stop(ScriptedHost({"stop": answer}), RUN, "ana", now=False)


@pytest.mark.parametrize("answer", [{}, {"text": 5, "offset": 1}, {"text": "", "offset": -1}])
def test_a_read_that_is_nonsense_is_an_error(answer: dict[str, Any]) -> None:
    with pytest.raises(GpujobError, match="cannot be used"):
        helper.read_events(ScriptedHost({"read_events": answer}), RUN, 0, 10)
