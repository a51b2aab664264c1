"""The copy of a run's results to S3: what is complete, verified, continued by a later process."""

from __future__ import annotations

import json
import shutil
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from orchestrator.core.layout import Layout
from orchestrator.onhost import companions, mirror, staging
from orchestrator.onhost.mirror import Mirror
from orchestrator.onhost.records import RunSpec
from tests.rigs.s3 import BUCKET, FakeS3

pytestmark = pytest.mark.slow

RUN = "job-20261121T101112-1a2b"


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run that ended, with two checkpoints."""
    folder = tmp_path / "runs" / RUN
    for step in ("1", "2"):
        (folder / "checkpoints" / step).mkdir(parents=True)
        (folder / "checkpoints" / step / "model.safetensors").write_text(f"weights {step}")
        (folder / "checkpoints" / step / "manifest.sha256").write_text(f"digests {step}")
    (folder / "checkpoints" / "last").write_text("2")
    (folder / "work").mkdir()
    (folder / "run.json").write_text(json.dumps(record()))
    (folder / "log").write_text("trained\n")
    (folder / "state.json").write_text(
        json.dumps({"v": 1, "id": RUN, "ended": time.time(), "reason": "exit"})
    )
    return folder


def record(**changes: Any) -> dict[str, Any]:
    settings = {"credentials": "host", "mirror": f"s3://{BUCKET}/runs", **changes}
    return {"v": 1, "id": RUN, "job": "job", "outputs": [], "s3": settings}


def look(run: Path, now: float | None = None, secrets: dict[str, str] | None = None) -> bool:
    """What a process does at one look."""
    target = mirror.source(RunSpec.load(str(run / "run.json")) or RunSpec.parse({}))
    assert target
    layout = Layout(str(run.parent.parent))
    return Mirror(layout, RUN, target, secrets or {}).look(now or time.time())


def stored(bucket: FakeS3) -> list[str]:
    return [name.removeprefix(f"runs/{RUN}/") for name in bucket.names()]


def test_a_run_that_ended_is_copied_with_its_log(bucket: FakeS3, run: Path) -> None:
    assert look(run)
    checkpoints = [
        f"checkpoints/{step}/{name}" for step in "12" for name in ("manifest.sha256", "model.safetensors")
    ]
    assert stored(bucket) == [*checkpoints, "checkpoints/last", "log", "run.json", "state.json"]
    facts = companions.read_mirror(str(run / "mirror.json"))
    assert facts
    assert (facts["state"], facts["error"], facts["count"]) == ("complete", None, 8)


def test_a_programs_own_folder_named_best_is_copied(bucket: FakeS3, run: Path) -> None:
    (run / "checkpoints" / "best").mkdir()
    (run / "checkpoints" / "best" / "model.pt").write_bytes(b"weights")
    assert look(run)
    assert "checkpoints/best/model.pt" in stored(bucket)


def test_a_later_process_copies_what_one_that_was_killed_did_not(bucket: FakeS3, run: Path) -> None:
    (run / "checkpoints" / "3").mkdir()
    assert look(run)
    known = json.loads((run / "mirror.json").read_text())
    del known["files"]["checkpoints/1/model.safetensors"]
    known["done"] = {}
    (run / "mirror.json").write_text(json.dumps({**known, "state": "copying"}))
    bucket.requests.clear()
    assert look(run)
    assert bucket.requests["PUT"] == 1


def test_while_a_run_is_going_only_what_is_complete_is_copied(bucket: FakeS3, run: Path) -> None:
    (run / "state.json").write_text(json.dumps({"v": 1, "id": RUN}))
    (run / "checkpoints" / ".3.partial").write_text("half")
    (run / "checkpoints" / "model.pt").write_text("half")
    assert not look(run)
    assert "checkpoints/model.pt" not in stored(bucket)
    assert "log" not in stored(bucket)
    assert not look(run, now=time.time() + mirror.SETTLED + 1)
    assert "checkpoints/model.pt" in stored(bucket)


def test_a_failure_is_recorded_and_tried_again_for_an_hour(bucket: FakeS3, run: Path) -> None:
    bucket.down = True
    assert not look(run)
    facts = companions.read_mirror(str(run / "mirror.json"))
    assert facts
    assert facts["state"] == "copying"
    assert "AccessDenied" in facts["error"]
    assert look(run, now=time.time() + mirror.LIMIT + 1)
    bucket.down = False
    assert look(run)
    assert "log" in stored(bucket)


def test_without_the_credentials_of_its_session_a_copy_says_so(bucket: FakeS3, run: Path) -> None:
    (run / "run.json").write_text(json.dumps(record(credentials="session")))
    assert not look(run)
    facts = companions.read_mirror(str(run / "mirror.json"))
    assert facts
    assert f"gpujob deploy --resume {RUN}" in facts["error"]


def test_a_process_that_died_is_reported(run: Path) -> None:
    (run / "mirror.json").write_text(
        json.dumps({"state": "copying", "process": {"pid": 1, "ticks": 1}, "boot": "x"})
    )
    facts = companions.read_mirror(str(run / "mirror.json"))
    assert facts
    assert facts["error"] == "the process that copies has ended"


def test_files_whose_etag_is_no_md5_are_verified_by_reading_them(
    bucket: FakeS3, run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mirror.s3_etags, "of", lambda path, part: "of another kind")
    assert look(run)
    bucket.put(f"runs/{RUN}/log", "changed")
    known = json.loads((run / "mirror.json").read_text())
    assert known["state"] == "complete"


def test_of_a_run_over_several_hosts_the_first_one_copies() -> None:
    assert mirror.source(RunSpec.parse({**record(), "group": {"rank": 0}}))
    assert mirror.source(RunSpec.parse({**record(), "group": {"rank": 1}})) is None


def test_a_run_that_was_purged_while_it_waited_is_not_made_anew(
    run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(companions, "begin", dict)
    monkeypatch.setattr(companions, "wait_for_turn", lambda *_: shutil.rmtree(run))
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    mirror.main(Layout(str(run.parent.parent)), RUN)
    assert not run.exists()


def test_a_file_that_may_not_be_read_is_reported_and_the_rest_copied(
    bucket: FakeS3, run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = staging._Stage._pin

    def pin(stage: staging._Stage, source: str, relative: str, folder: str) -> staging.StagedFile:
        if relative == "checkpoints/2/model.safetensors":
            raise PermissionError(13, "Permission denied", source)
        return real(stage, source, relative, folder)

    monkeypatch.setattr(staging._Stage, "_pin", pin)
    assert not look(run)
    assert {"checkpoints/2/manifest.sha256", "checkpoints/1/model.safetensors", "log"} <= set(stored(bucket))
    facts = companions.read_mirror(str(run / "mirror.json"))
    assert facts
    assert facts["error"] == "checkpoints/2/model.safetensors may not be read by the user of the host"
