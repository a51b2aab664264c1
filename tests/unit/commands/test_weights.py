"""--init-from: the checkpoint it names is found, verified, and sent as data of the run."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.commands import jobs
from orchestrator.core.spec import JobFile
from orchestrator.errors import GpujobError, UsageError
from tests.support import Client, new_client
from tests.unit.commands.test_verify import checkpoint

RUN = "blendshapes-20261121T101112-1a2b"


@pytest.fixture
def client() -> Iterator[Client]:
    with new_client() as new:
        yield new


def load(client: Client, word: str, job: str = "blendshapes", data: tuple[str, ...] = ("faces",)) -> jobs.Job:
    (client.project / "faces" / "blendshapes").mkdir(parents=True, exist_ok=True)
    return jobs.load(client.context(), job, [], list(data), init_from=word)


def fetched(client: Client, run: str = RUN) -> Path:
    folder = client.project / "fetched" / run / "checkpoints"
    checkpoint(folder / "7")
    (folder / "best").write_text("7\n")
    return folder / "7"


@pytest.mark.parametrize("word", [f"fetched/{RUN}", RUN, "blend", f"fetched/{RUN}/checkpoints/7"])
def test_init_from_is_a_path_or_the_name_of_a_fetched_run(client: Client, word: str) -> None:
    best = fetched(client)
    job = load(client, word)
    assert job.data == {"blendshapes": client.project / "faces" / "blendshapes", "init_from": best}
    assert "init_from" not in job.spec.config
    assert not job.missing


def test_a_file_of_weights_is_taken_as_it_is(client: Client) -> None:
    client.write("w.safetensors", "weights")
    assert load(client, "w.safetensors").data["init_from"] == client.project / "w.safetensors"


def test_weights_on_the_host_are_used_in_place(client: Client) -> None:
    job = load(client, "host:/models/7")
    assert job.on_host == {"init_from": "/models/7"}


def test_a_damaged_checkpoint_is_refused_before_anything_starts(client: Client) -> None:
    (fetched(client) / "model.safetensors").write_bytes(b"other")
    with pytest.raises(GpujobError, match=r"model\.safetensors"):
        load(client, RUN)


def test_a_checkpoint_that_does_not_exist_is_named(client: Client) -> None:
    with pytest.raises(UsageError, match="--init-from absent: there is no such checkpoint") as error:
        load(client, "absent")
    assert error.value.next_step == "gpujob fetch RUN"


def test_an_ambiguous_name_of_a_fetched_run_lists_the_matches(client: Client) -> None:
    fetched(client)
    fetched(client, RUN.replace("1a2b", "3c4d"))
    with pytest.raises(UsageError, match="is ambiguous") as error:
        load(client, "blend")
    assert RUN in error.value.why


def test_a_job_with_a_command_of_its_own_has_no_init_from(client: Client) -> None:
    client.write("mine.yaml", "name: mine\ncommand: [python, x.py]\n")
    client.write("w.safetensors", "weights")
    with pytest.raises(UsageError, match="--init-from works with the included trainers"):
        load(client, "w.safetensors", "mine", ())


def test_a_resumed_run_takes_no_init_from(client: Client) -> None:
    result = client.run("deploy", "--resume", RUN, "--init-from", "x")
    assert result.code == 2
    assert "it takes no --set, --data, --init-from, --name or --region" in result.err


def test_a_missing_teacher_of_a_built_in_job_is_not_left_out(client: Client) -> None:
    (client.project / "phoenix").mkdir()
    job = jobs.load(client.context(), "student-distilled", [], ["phoenix=phoenix"])
    with pytest.raises(UsageError, match="no folder teacher"):
        jobs.require_data(job)


def test_data_of_all_names_does_not_replace_weights_that_are_named(client: Client) -> None:
    best = fetched(client)
    for name in ("ravdess", "crema", "init_from"):
        (client.project / "all" / name).mkdir(parents=True)
    job = load(client, RUN, "facenet-lstm", ("all",))
    assert job.data["init_from"] == best
    assert isinstance(job.file, JobFile)
    assert job.data["crema"] == client.project / "all" / "crema"
