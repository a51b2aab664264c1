"""The suggestions of shell completion."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.cli import completion
from orchestrator.core.hostfacts import RunFacts, RunRecord
from orchestrator.store import CachedRun, Store
from tests.support import Client, new_client

FIRST, SECOND = "mine-20261121T101112-1a2b", "other-20261121T101113-3c4d"


@pytest.fixture
def client(monkeypatch: pytest.MonkeyPatch) -> Iterator[Client]:
    with new_client() as client:
        monkeypatch.chdir(client.project)
        for name, value in client.env.items():
            monkeypatch.setenv(name, value)
        yield client


def test_runs_are_offered_newest_first_and_then_their_jobs(client: Client) -> None:
    for number, (run, job) in enumerate(((FIRST, "mine"), (SECOND, "other"))):
        record = RunRecord(job=job, created=float(number + 1))
        Store(client.state_dir).save_run(CachedRun("local", 1.0, RunFacts(id=run, record=record)))
    assert completion.runs("") == [SECOND, FIRST, "mine", "other"]
    assert completion.runs("m") == [FIRST, "mine"]


def test_job_files_here_in_jobs_and_in_the_package_are_offered(client: Client) -> None:
    client.write("mine.yaml", "")
    client.write("jobs/minor.yaml", "")
    Path("mine.txt").touch()
    assert completion.jobs("min") == ["mine", "minor"]
    assert "facenet-lstm" in completion.jobs("")


def test_trainers_are_offered_by_their_names(client: Client) -> None:
    assert completion.trainers("blend") == ["blendshapes"]
