"""Finding the file of JOB and its data, and the message for every mistake."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from orchestrator.commands import jobs
from orchestrator.errors import UsageError
from tests.support import REPOSITORY, Client, new_client

COMMAND = "name: mine\ncommand: [python, x.py]\ndata: {a: sets/a}\n"


@pytest.fixture
def client() -> Iterator[Client]:
    with new_client() as new:
        yield new


def load(client: Client, word: str, sets: list[str] | None = None, data: list[str] | None = None) -> jobs.Job:
    return jobs.load(client.context(), word, sets or [], data or [])


def test_a_name_is_searched_in_the_folder_then_jobs_then_the_package(client: Client) -> None:
    assert load(client, "facenet-lstm").ours
    client.write("jobs/facenet-lstm.yaml", COMMAND)
    assert load(client, "facenet-lstm").base == client.project / "jobs"
    client.write("facenet-lstm.yaml", COMMAND)
    assert load(client, "facenet-lstm").base == client.project


def test_a_word_with_a_slash_or_a_suffix_is_a_path(client: Client) -> None:
    client.write("deep/mine.yaml", COMMAND)
    job = load(client, "deep/mine.yaml")
    assert job.data["a"] == client.project / "deep" / "sets" / "a"
    assert job.code_folder == client.project / "deep"
    with pytest.raises(UsageError, match="no job file"):
        load(client, "deep/other.yaml")


def test_an_unknown_name_is_guessed_at(client: Client) -> None:
    with pytest.raises(UsageError) as error:
        load(client, "facenet-lsmt")
    assert "did you mean 'facenet-lstm'?" in error.value.why


def test_data_may_be_given_by_name_or_as_the_folder_of_all(client: Client) -> None:
    client.write("mine.yaml", COMMAND)
    assert load(client, "mine", data=["a=/x"]).data["a"] == Path("/x")
    assert load(client, "mine", data=["sets2"]).data["a"] == client.project / "sets2" / "a"
    with pytest.raises(UsageError, match="no data 'b'"):
        load(client, "mine", data=["b=/x"])


def test_the_folder_of_a_jobs_only_data_may_be_given_without_its_name(client: Client) -> None:
    client.write("mine.yaml", COMMAND)
    client.write("lr=0.1/train/clip", "x")
    assert load(client, "mine", data=["./lr=0.1"]).data["a"] == client.project / "lr=0.1"
    client.write("lr=0.1/a/clip", "x")
    assert load(client, "mine", data=["./lr=0.1"]).data["a"] == client.project / "lr=0.1" / "a"


def test_data_for_a_job_that_names_none_is_refused_and_not_ignored(client: Client) -> None:
    client.write("mine.yaml", "name: mine\ncommand: [python3, train.py]\n")
    for option in ("sets", "a=sets"):
        with pytest.raises(UsageError, match="the job has no data") as error:
            load(client, "mine", data=[option])
        assert "data: {NAME: PATH}" in error.value.next_step


def test_data_of_built_in_jobs_is_searched_below_the_current_folder(client: Client) -> None:
    job = load(client, "facenet-lstm")
    assert all(path.is_relative_to(client.project) for path in job.data.values())
    with pytest.raises(UsageError) as error:
        jobs.require_data(job)
    assert error.value.exit_code == 2
    assert "gpujob prepare facenet-lstm --sample" in error.value.next_step


def test_one_data_folder_of_a_built_in_job_is_enough_if_it_is_given(client: Client) -> None:
    (client.project / "mine").mkdir()
    job = load(client, "facenet-lstm", data=["crema=mine"])
    assert (job.data, job.missing) == ({"crema": client.project / "mine"}, [])
    assert list(job.spec.data) == ["crema"]
    (client.project / "all" / "ravdess").mkdir(parents=True)
    assert list(load(client, "facenet-lstm", data=["all"]).data) == ["ravdess"]
    assert load(client, "facenet-lstm", data=["crema=absent"]).missing == ["crema"]


def test_missing_data_is_named_with_the_line_of_the_job_file(client: Client) -> None:
    client.write("mine.yaml", COMMAND)
    with pytest.raises(UsageError, match=r"mine\.yaml:3: data\.a"):
        jobs.require_data(load(client, "mine"))


def test_an_unknown_trainer_is_guessed_at_with_its_line(client: Client) -> None:
    client.write("mine.yaml", "name: m\ntrainer: facenet\n")
    with pytest.raises(UsageError, match=r"mine\.yaml:2: unknown trainer 'facenet'"):
        load(client, "mine")


def test_an_unknown_trainer_option_is_refused_with_its_line_and_a_guess(client: Client) -> None:
    client.write("mine.yaml", "name: m\ntrainer: facenet-lstm\nconfig:\n  seed: 1\n  epohcs: 3\n")
    with pytest.raises(UsageError) as error:
        load(client, "mine")
    assert error.value.what.startswith("mine.yaml:5: ")
    assert "epochs" in error.value.what + error.value.why


def test_user_files_shadow_no_module(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    client.shadow()
    monkeypatch.chdir(client.project)
    assert load(client, "facenet-lstm").spec.trainer == "facenet-lstm"


def test_an_unknown_option_given_by_set_is_blamed_on_the_flag(client: Client) -> None:
    with pytest.raises(UsageError, match=r"^--set: "):
        load(client, "facenet-lstm", sets=["config.epohcs=3"])


def test_binary_requirements_are_reported_with_both_line_numbers(client: Client) -> None:
    client.write("mine.yaml", COMMAND + "env: {requirements: needs.txt}\n")
    (client.project / "needs.txt").write_bytes(b"tiny\n# f\xfcr\n")
    with pytest.raises(UsageError, match=r"^mine\.yaml:4: env\.requirements: needs\.txt:2 cannot be read"):
        load(client, "mine")


def test_a_binary_job_file_is_refused_and_a_utf_8_mark_is_ignored(client: Client) -> None:
    (client.project / "mine.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UsageError, match=r"^mine\.yaml:1 cannot be read"):
        load(client, "mine")
    (client.project / "mine.yaml").write_bytes(b"\xef\xbb\xbf" + COMMAND.encode())
    assert load(client, "mine").spec.name == "mine"


def test_each_job_of_the_sign_teacher_says_why_it_normalises_as_it_does() -> None:
    """The two jobs differ in nothing but the statistics that sentences are normalised with."""
    found = {}
    for name in ("i3d-teacher", "i3d-teacher-per-sample"):
        text = (REPOSITORY / "jobs" / f"{name}.yaml").read_text()
        (line,) = [line for line in text.splitlines() if line.lstrip().startswith("normalise:")]
        assert len(line.partition("#")[2]) > 40, "the reason stands beside the option"
        found[name] = yaml.safe_load(text)["config"]
    assert found["i3d-teacher"].pop("normalise") == "global"
    assert found["i3d-teacher-per-sample"].pop("normalise") == "per-sample"
    assert found["i3d-teacher"] == found["i3d-teacher-per-sample"]
