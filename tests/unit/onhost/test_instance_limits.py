from __future__ import annotations

import io
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from orchestrator.core.layout import Layout
from orchestrator.onhost import frames, helper, instance_limits, operations
from orchestrator.onhost.instance_limits import (
    DEFAULT_IDLE_MINUTES,
    MARGIN,
    InstanceLimits,
    InstanceWatch,
    Verdict,
)
from orchestrator.onhost.records import RunSpec
from tests.rigs.ec2.metadata import TOKEN, Metadata
from tests.rigs.patience import wait_until

NOTICE = {"action": "terminate", "time": "2026-11-21T10:00:00Z"}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The files of an instance that booted at 1000: its deadline is 9000, its lease ends at 1900."""
    for name, text in {"run/deadline": "9000\n", "run/lease": "1900\n", "kept/deadline": "9000\n"}.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    monkeypatch.setenv("GPUJOB_INSTANCE_FILES", str(tmp_path))
    return tmp_path


@pytest.fixture
def limits(folder: Path) -> InstanceLimits:
    limits = instance_limits.find()
    assert limits is not None
    return limits


def ask(folder: Path, **request: Any) -> dict[str, Any]:
    return helper.answer(Layout(str(folder)), {"id": 1, **request})


def watch(
    limits: InstanceLimits | None, notice: Any = lambda: None, idle_minutes: float | None = 1.0
) -> InstanceWatch:
    spec = RunSpec.parse({"limits": {"idle_minutes": idle_minutes, "grace_seconds": 60}})
    return InstanceWatch(limits, spec, notice)


def test_the_lease_moves_forward_and_never_back(limits: InstanceLimits, folder: Path) -> None:
    assert limits.renew_lease(2500.7) == 2500
    assert limits.renew_lease(2400.0) == 2500
    assert (folder / "run/lease").read_text() == "2500\n"
    assert sorted(path.name for path in (folder / "run").iterdir()) == ["deadline", "lease"]


def test_an_extended_deadline_is_on_the_disk_too(limits: InstanceLimits, folder: Path) -> None:
    assert limits.set_deadline(12000) is True
    assert [(folder / name / "deadline").read_text() for name in ("run", "kept")] == ["12000\n"] * 2


def test_a_deadline_on_a_full_disk_is_extended_until_the_next_stop(folder: Path) -> None:
    (folder / "kept/deadline").unlink()
    (folder / "kept").rmdir()
    answer = ask(folder, op="set_deadline", until=12000)["answer"]
    assert (answer["deadline"], answer["deadline_persisted"]) == (12000, False)


@pytest.mark.parametrize("text", ["", "soon", "-5", "1" * 12, "٣٣"])
def test_an_invalid_number_is_none(limits: InstanceLimits, folder: Path, text: str) -> None:
    (folder / "run/lease").write_text(text)
    assert limits.lease is None
    assert limits.renew_lease(50.0) == 50


def test_the_helper_answers_with_the_facts_of_the_instance(folder: Path) -> None:
    (folder / "run/spot").touch()
    (folder / "run/ready").write_text('{"v": 1, "boot": "b"}')
    (folder / "run/notice").write_text(json.dumps(NOTICE))
    (folder / "kept/off").write_text("lease 1234\n")
    before = time.time()
    answer = ask(folder, op="instance")["answer"]
    assert (answer["deadline"], answer["lease"], answer["spot"], answer["notice"]) == (
        9000,
        1900,
        True,
        NOTICE,
    )
    assert (answer["ready"], answer["shutdown_reason"]) == ({"v": 1, "boot": "b"}, "lease 1234")
    assert answer["uptime"] > 0
    assert int(before) <= answer["now"] <= time.time() + 1


def test_a_lease_is_renewed_by_seconds_from_now(folder: Path) -> None:
    before = int(time.time())
    answer = ask(folder, op="renew_lease", seconds=600)["answer"]
    assert before + 600 <= answer["lease"] <= time.time() + 601


def test_an_answer_that_takes_longer_than_the_lease_renews_it(
    limits: InstanceLimits, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def slow(*_: Any) -> bool:
        return wait_until(lambda: limits.lease != 1900, "the lease is renewed", pause=0.001)

    before = int(time.time())
    monkeypatch.setattr(frames, "HEARTBEAT", 0.001)
    monkeypatch.setitem(operations.OPERATIONS, "ensure_environment", slow)
    monkeypatch.setattr("sys.stdin", io.StringIO('{"id": 1, "op": "ensure_environment", "lease": 1200}\n'))
    monkeypatch.setattr("sys.stdout", io.StringIO())
    helper.serve(Layout(str(folder)))
    assert before + 1200 <= (limits.lease or 0) <= time.time() + 1201


class Heartbeats:
    """An answer that takes `count` heartbeats, and the clock that the helper reads, in seconds."""

    def __init__(self, count: int, seconds_each: float, monkeypatch: pytest.MonkeyPatch) -> None:
        self.left, self.now, self.each = count, 0.0, seconds_each
        monkeypatch.setattr(time, "monotonic", lambda: self.now)
        monkeypatch.setattr(time, "time", lambda: 2000 + self.now)

    def wait(self, seconds: float) -> bool:
        self.left, self.now = self.left - 1, self.now + self.each
        return self.left < 0


def gone(_: Any) -> None:
    raise BrokenPipeError


@pytest.mark.parametrize(
    ("options", "send", "lease"),
    [
        ({"lease": 600}, lambda _: None, 2000 + 100 * 10 + 600),
        ({}, lambda _: None, 1900),
        ({"lease": 600}, gone, 1900),
    ],
)
def test_an_answer_renews_the_lease_if_its_client_is_still_connected(
    limits: InstanceLimits, monkeypatch: pytest.MonkeyPatch, options: Any, send: Any, lease: int
) -> None:
    helper._send_heartbeats(Heartbeats(100, 10.0, monkeypatch), send, options)  # type: ignore[arg-type]
    assert limits.lease == lease


def test_an_endless_answer_does_not_renew_the_lease_for_ever(
    limits: InstanceLimits, monkeypatch: pytest.MonkeyPatch
) -> None:
    helper._send_heartbeats(Heartbeats(100, 3600.0, monkeypatch), lambda _: None, {"lease": 600})  # type: ignore[arg-type]
    assert limits.lease == 2000 + 5 * 3600 + 600


def test_a_host_that_is_no_instance_refuses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GPUJOB_INSTANCE_FILES", str(tmp_path))
    assert ask(tmp_path, op="instance")["refused"]["kind"] == "no-instance"
    assert watch(instance_limits.find(), notice=lambda: NOTICE).verdict(1e12, 0.0) is None


def test_an_active_run_renews_the_lease_and_an_idle_one_does_not(limits: InstanceLimits) -> None:
    run = watch(limits)
    assert run.verdict(2000.0, idle_seconds=0.0) is None
    assert limits.lease == 2000 + 60 + 60 + MARGIN
    assert run.verdict(2100.0, idle_seconds=100.0) is None
    assert limits.lease == 2000 + 60 + 60 + MARGIN


def test_a_job_without_an_idle_limit_does_not_renew_the_lease_for_ever(limits: InstanceLimits) -> None:
    watch(limits, idle_minutes=None).verdict(2000.0, idle_seconds=0.0)
    assert limits.lease == 2000 + DEFAULT_IDLE_MINUTES * 60 + 60 + MARGIN


def test_a_run_ends_its_grace_before_the_instance_does(limits: InstanceLimits) -> None:
    run = watch(limits)
    assert run.verdict(9000 - 60 - MARGIN - 1, 0.0) is None
    message = "the instance shuts down at its deadline, in 70 seconds"
    assert run.verdict(9000 - 60 - MARGIN, 0.0) == Verdict("hours", message)


def test_a_spot_notice_ends_the_run_and_is_recorded(limits: InstanceLimits, folder: Path) -> None:
    requests = []
    run = watch(limits, notice=lambda: requests.append(1) or NOTICE)
    assert run.verdict(2000.0, 0.0) is None  # only a spot instance is interrupted
    assert requests == []
    (folder / "run/spot").touch()
    verdict = run.verdict(2005.0, 0.0)
    assert verdict is not None
    assert verdict.reason == "preempted"
    assert limits.facts()["notice"] == NOTICE


def test_limits_that_cannot_be_written_do_not_end_the_run(limits: InstanceLimits, folder: Path) -> None:
    (folder / "run/lease").unlink()
    (folder / "run/lease").mkdir()
    assert watch(limits).verdict(2000.0, 0.0) is None


@pytest.fixture
def metadata(monkeypatch: pytest.MonkeyPatch) -> Iterator[Metadata]:
    service = Metadata("127.0.0.1", dict, port=0)
    monkeypatch.setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", service.url)
    yield service
    service.close()


def test_the_metadata_service_is_queried_with_a_token(metadata: Metadata) -> None:
    service = instance_limits.Metadata()
    assert service.notice() is None
    metadata.announce_end(time.time() + 120)
    answer = service.notice()
    assert answer is not None
    assert answer["action"] == "terminate"


def test_a_token_that_has_expired_is_requested_again(metadata: Metadata) -> None:
    metadata.announce_end(time.time() + 120)
    service = instance_limits.Metadata()
    service._token = "stale" + TOKEN
    assert service.notice() is not None


def test_a_metadata_service_that_does_not_answer_is_no_notice(metadata: Metadata) -> None:
    service = instance_limits.Metadata()
    metadata.close()
    assert service.notice() is None
