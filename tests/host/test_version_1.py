"""Files of version 1 (commit 55b617d) are read: a client's cache and intent, and a run's folder."""

from __future__ import annotations

import shutil
import tarfile

import pytest

from tests.support import REPOSITORY, Client

FIXTURES = REPOSITORY / "tests" / "fixtures"
RUN = "job-20261126T010238-638a"
INTERRUPTED = "other-20261126T010248-355d"


@pytest.fixture
def old_client(client: Client) -> Client:
    for name in ("runs", "intents", "targets"):
        shutil.copytree(FIXTURES / "client_state_v1" / name, client.state_dir / name)
    with tarfile.open(FIXTURES / "host_and_project_v1.tar.xz") as archive:
        archive.extractall(client.home / "old", filter="data")
    shutil.copytree(client.home / "old" / "runs", client.root / "runs")
    shutil.copytree(client.home / "old" / "project", client.project, dirs_exist_ok=True)
    return client


@pytest.mark.parametrize("options", [("--cached",), ()])
def test_a_run_of_version_1_is_shown_from_cache_and_host(
    old_client: Client, options: tuple[str, ...]
) -> None:
    result = old_client.run("status", RUN, "--json", *options)
    assert result.code == 0, result.err
    (run,) = result.json["runs"]
    assert (run["state"], run["job"], run["exit_code"], run["epoch"]) == ("succeeded", "job", 0, 2.0)
    assert run["metrics"] == {"val": {"accuracy": 0.5, "loss": None}}
    assert run["checkpoints"] == {"steps": [2, 4], "last": 4, "best": 2}
    assert run["last_lines"] == ["the last line"]
    message = "gradient norm 9, the running median is 0.05"
    assert run["health"] == [{"rule": "gradient", "severity": "warning", "message": message}]


def test_a_run_of_version_1_is_fetched_with_its_outputs(old_client: Client) -> None:
    result = old_client.run("fetch", RUN, "--which", "all")
    assert result.code == 0, result.err
    folder = old_client.project / "fetched" / RUN
    assert (folder / "checkpoints" / "4" / "weights").read_text() == "wwww"
    assert (folder / "outputs" / "train.py").exists()


def test_a_deploy_that_version_1_began_is_continued_as_the_same_run(old_client: Client) -> None:
    result = old_client.run("deploy", "other")
    assert result.code == 0, result.err
    assert result.out.strip() == INTERRUPTED
    assert "continuing the interrupted deploy" in result.err
