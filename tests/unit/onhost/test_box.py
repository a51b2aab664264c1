from __future__ import annotations

import io
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from orchestrator.core.layout import Layout
from orchestrator.onhost import box, frames, helper
from orchestrator.onhost.box import Box
from orchestrator.onhost.boxwatch import IDLE_MINUTES, SLACK, BoxWatch
from tests.rigs.ec2.metadata import TOKEN, Metadata
from tests.rigs.patience import wait_until

NOTICE = {"action": "terminate", "time": "2026-11-21T10:00:00Z"}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What a box holds after its first seconds, at 1000: off at 9000, its lease over at 1900."""
    for name, text in {"run/deadline": "9000\n", "run/lease": "1900\n", "kept/deadline": "9000\n"}.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    monkeypatch.setenv("GPUJOB_BOX", str(tmp_path))
    return tmp_path


@pytest.fixture
def found(folder: Path) -> Box:
    here = box.here()
    assert here is not None
    return here


def ask(folder: Path, **question: Any) -> dict[str, Any]:
    return helper.answer(Layout(str(folder)), {"id": 1, **question})


def watch(found: Box | None, notice: Any = lambda: None, idle_minutes: float | None = 1.0) -> BoxWatch:
    return BoxWatch(found, idle_minutes, grace=60.0, notice=notice)


def test_the_lease_moves_forward_and_never_back(found: Box, folder: Path) -> None:
    assert found.renew(2500.7) == 2500
    assert found.renew(2400.0) == 2500
    assert (folder / "run/lease").read_text() == "2500\n"
    assert sorted(path.name for path in (folder / "run").iterdir()) == ["deadline", "lease"]


def test_an_extended_deadline_is_on_the_disk_too(found: Box, folder: Path) -> None:
    assert found.extend(12000) is True
    assert [(folder / name / "deadline").read_text() for name in ("run", "kept")] == ["12000\n"] * 2


def test_a_deadline_that_the_disk_does_not_take_is_extended_until_the_next_stop(folder: Path) -> None:
    (folder / "kept/deadline").unlink()
    (folder / "kept").rmdir()
    said = ask(folder, op="extend", until=12000)["answer"]
    assert (said["deadline"], said["kept"]) == (12000, False)


@pytest.mark.parametrize("text", ["", "soon", "-5", "1" * 12, "٣٣"])
def test_what_is_no_number_is_none(found: Box, folder: Path, text: str) -> None:
    (folder / "run/lease").write_text(text)
    assert found.lease is None
    assert found.renew(50.0) == 50


def test_the_helper_tells_what_the_box_knows_of_itself(folder: Path) -> None:
    (folder / "run/spot").touch()
    (folder / "run/ready").write_text('{"v": 1, "boot": "b"}')
    (folder / "run/notice").write_text(json.dumps(NOTICE))
    (folder / "kept/off").write_text("lease 1234\n")
    before = time.time()
    said = ask(folder, op="box")["answer"]
    assert (said["deadline"], said["lease"], said["spot"], said["notice"]) == (9000, 1900, True, NOTICE)
    assert (said["ready"], said["off"]) == ({"v": 1, "boot": "b"}, "lease 1234")
    assert said["uptime"] > 0
    assert int(before) <= said["now"] <= time.time() + 1


def test_a_lease_is_asked_for_in_seconds_from_now(folder: Path) -> None:
    before = int(time.time())
    said = ask(folder, op="lease", seconds=600)["answer"]
    assert before + 600 <= said["lease"] <= time.time() + 601


def test_an_answer_that_takes_longer_than_the_lease_renews_it(
    found: Box, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def slow(*_: Any) -> bool:
        return wait_until(lambda: found.lease != 1900, "the lease is renewed", pause=0.001)

    before = int(time.time())
    monkeypatch.setattr(frames, "BEAT", 0.001)
    monkeypatch.setitem(helper._OPS, "make_environment", slow)
    monkeypatch.setattr("sys.stdin", io.StringIO('{"id": 1, "op": "make_environment", "lease": 1200}\n'))
    monkeypatch.setattr("sys.stdout", io.StringIO())
    helper.serve(Layout(str(folder)))
    assert before + 1200 <= (found.lease or 0) <= time.time() + 1201


class Beats:
    """An answer that takes `count` beats; seconds of the clock that the helper reads."""

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
    ("question", "say", "lease"),
    [
        ({"lease": 600}, lambda _: None, 2000 + 100 * 10 + 600),
        ({}, lambda _: None, 1900),
        ({"lease": 600}, gone, 1900),
    ],
)
def test_an_answer_renews_the_lease_for_a_client_that_asked_for_it_and_is_still_there(
    found: Box, monkeypatch: pytest.MonkeyPatch, question: Any, say: Any, lease: int
) -> None:
    helper._beat(Beats(100, 10.0, monkeypatch), say, question)  # type: ignore[arg-type]
    assert found.lease == lease


def test_an_answer_without_end_does_not_hold_a_box_for_ever(
    found: Box, monkeypatch: pytest.MonkeyPatch
) -> None:
    helper._beat(Beats(100, 3600.0, monkeypatch), lambda _: None, {"lease": 600})  # type: ignore[arg-type]
    assert found.lease == 2000 + 5 * 3600 + 600


def test_a_host_that_is_no_box_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GPUJOB_BOX", str(tmp_path))
    assert ask(tmp_path, op="box")["refused"]["kind"] == "box"
    assert watch(box.here(), notice=lambda: NOTICE).verdict(1e12, 0.0) is None


def test_a_run_that_lives_renews_the_lease_and_an_idle_one_does_not(found: Box) -> None:
    ours = watch(found)
    assert ours.verdict(2000.0, idle_for=0.0) is None
    assert found.lease == 2000 + 60 + 60 + SLACK
    assert ours.verdict(2100.0, idle_for=100.0) is None
    assert found.lease == 2000 + 60 + 60 + SLACK


def test_a_job_without_an_idle_limit_does_not_hold_the_box_for_ever(found: Box) -> None:
    watch(found, idle_minutes=None).verdict(2000.0, idle_for=0.0)
    assert found.lease == 2000 + IDLE_MINUTES * 60 + 60 + SLACK


def test_a_run_ends_its_grace_before_the_box_does(found: Box) -> None:
    ours = watch(found)
    assert ours.verdict(9000 - 60 - SLACK - 1, 0.0) is None
    assert ours.verdict(9000 - 60 - SLACK, 0.0) == "hours"
    assert ours.said == "the box goes off at its deadline, in 70 seconds"


def test_a_spot_notice_ends_the_run_and_is_kept_for_who_asks(found: Box, folder: Path) -> None:
    asked = []
    ours = watch(found, notice=lambda: asked.append(1) or NOTICE)
    assert ours.verdict(2000.0, 0.0) is None  # nobody takes back what is no spot box
    assert asked == []
    (folder / "run/spot").touch()
    assert ours.verdict(2005.0, 0.0) == "preempted"
    assert found.facts()["notice"] == NOTICE


def test_a_box_whose_files_cannot_be_written_does_not_end_its_run(found: Box, folder: Path) -> None:
    (folder / "run/lease").unlink()
    (folder / "run/lease").mkdir()
    assert watch(found).verdict(2000.0, 0.0) is None


@pytest.fixture
def metadata(monkeypatch: pytest.MonkeyPatch) -> Iterator[Metadata]:
    service = Metadata("127.0.0.1", dict, port=0)
    monkeypatch.setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", service.url)
    yield service
    service.close()


def test_the_metadata_service_is_asked_with_a_token(metadata: Metadata) -> None:
    asker = box.Metadata()
    assert asker.notice() is None
    metadata.announce_end(time.time() + 120)
    said = asker.notice()
    assert said is not None
    assert said["action"] == "terminate"


def test_a_token_that_ran_out_is_asked_for_anew(metadata: Metadata) -> None:
    metadata.announce_end(time.time() + 120)
    asker = box.Metadata()
    asker._token = "stale" + TOKEN
    assert asker.notice() is not None


def test_a_metadata_service_that_does_not_answer_is_no_notice(metadata: Metadata) -> None:
    asker = box.Metadata()
    metadata.close()
    assert asker.notice() is None
