"""Which file JOB means, where its data is looked for, and how every mistake is told."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.commands import jobs
from orchestrator.errors import UsageError
from tests.support import Box, new_box

COMMAND = "name: mine\ncommand: [python, x.py]\ndata: {a: sets/a}\n"


@pytest.fixture
def box() -> Iterator[Box]:
    with new_box() as found:
        yield found


def load(box: Box, word: str, sets: list[str] | None = None, data: list[str] | None = None) -> jobs.Job:
    return jobs.load(box.context(), word, sets or [], data or [])


def test_a_name_is_looked_for_here_then_in_jobs_then_among_ours(box: Box) -> None:
    assert load(box, "facenet-lstm").ours
    box.write("jobs/facenet-lstm.yaml", COMMAND)
    assert load(box, "facenet-lstm").base == box.project / "jobs"
    box.write("facenet-lstm.yaml", COMMAND)
    assert load(box, "facenet-lstm").base == box.project


def test_a_word_with_a_slash_or_a_suffix_is_a_path(box: Box) -> None:
    box.write("deep/mine.yaml", COMMAND)
    job = load(box, "deep/mine.yaml")
    assert job.data["a"] == box.project / "deep" / "sets" / "a"
    assert job.code_folder == box.project / "deep"
    with pytest.raises(UsageError, match="no job file"):
        load(box, "deep/other.yaml")


def test_an_unknown_name_is_guessed_at(box: Box) -> None:
    with pytest.raises(UsageError) as caught:
        load(box, "facenet-lsmt")
    assert "did you mean 'facenet-lstm'?" in caught.value.why


def test_data_may_be_given_by_name_or_as_the_folder_of_all(box: Box) -> None:
    box.write("mine.yaml", COMMAND)
    assert load(box, "mine", data=["a=/x"]).data["a"] == Path("/x")
    assert load(box, "mine", data=["sets2"]).data["a"] == box.project / "sets2" / "a"
    with pytest.raises(UsageError, match="no data 'b'"):
        load(box, "mine", data=["b=/x"])


def test_data_of_our_own_jobs_is_looked_for_below_the_current_folder(box: Box) -> None:
    job = load(box, "facenet-lstm")
    assert all(path.is_relative_to(box.project) for path in job.data.values())
    with pytest.raises(UsageError) as caught:
        jobs.need_data(job)
    assert caught.value.exit_code == 2
    assert "gpujob prepare facenet-lstm --sample" in caught.value.next_step


def test_missing_data_is_named_with_the_line_of_the_job_file(box: Box) -> None:
    box.write("mine.yaml", COMMAND)
    with pytest.raises(UsageError, match=r"mine\.yaml:3: data\.a"):
        jobs.need_data(load(box, "mine"))


def test_an_unknown_trainer_is_guessed_at_with_its_line(box: Box) -> None:
    box.write("mine.yaml", "name: m\ntrainer: facenet\n")
    with pytest.raises(UsageError, match=r"mine\.yaml:2: unknown trainer 'facenet'"):
        load(box, "mine")


def test_an_unknown_option_of_a_trainer_is_refused_with_its_line_and_a_guess(box: Box) -> None:
    box.write("mine.yaml", "name: m\ntrainer: facenet-lstm\nconfig:\n  seed: 1\n  epohcs: 3\n")
    with pytest.raises(UsageError) as caught:
        load(box, "mine")
    assert caught.value.what.startswith("mine.yaml:5: ")
    assert "epochs" in caught.value.what + caught.value.why


def test_files_of_the_users_stand_in_for_no_module(box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    box.shadow()
    monkeypatch.chdir(box.project)
    assert load(box, "facenet-lstm").spec.trainer == "facenet-lstm"


def test_an_unknown_option_given_by_set_is_blamed_on_the_flag(box: Box) -> None:
    with pytest.raises(UsageError, match=r"^--set: "):
        load(box, "facenet-lstm", sets=["config.epohcs=3"])


def test_requirements_that_are_no_text_are_named_with_their_line_and_the_jobs(box: Box) -> None:
    box.write("mine.yaml", COMMAND + "env: {requirements: needs.txt}\n")
    (box.project / "needs.txt").write_bytes(b"tiny\n# f\xfcr\n")
    with pytest.raises(UsageError, match=r"^mine\.yaml:4: env\.requirements: needs\.txt:2 cannot be read"):
        load(box, "mine")


def test_a_job_file_that_is_no_text_is_refused_and_a_mark_of_utf_8_is_none_of_it(box: Box) -> None:
    (box.project / "mine.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UsageError, match=r"^mine\.yaml:1 cannot be read"):
        load(box, "mine")
    (box.project / "mine.yaml").write_bytes(b"\xef\xbb\xbf" + COMMAND.encode())
    assert load(box, "mine").spec.name == "mine"
