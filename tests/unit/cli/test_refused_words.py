"""Words of a command line that would be ignored, or taken for something else, are refused."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support import Client, new_client


@pytest.fixture
def client() -> Iterator[Client]:
    with new_client() as new:
        yield new


@pytest.mark.parametrize(
    "words",
    [
        ("--region", "us-west-2"),
        ("--wait-for-capacity", "2"),
        ("--ssh-cidr", "10.0.0.0/8"),
        ("--open-to-the-world",),
    ],
)
def test_an_option_of_a_launch_is_refused_on_another_target(client: Client, words: tuple[str, ...]) -> None:
    client.write("job.yaml", "name: job\ncommand: ['true']\n")
    result = client.run("deploy", "job", "--on", "local", *words, "--dry-run")
    assert (result.code, f"{words[0]} is for a launch" in result.err) == (2, True)


def test_a_job_for_doctor_of_another_target_than_ec2_is_refused(client: Client) -> None:
    result = client.run("doctor", "train")
    assert (result.code, "next: gpujob check train --on local" in result.err) == (2, True)


@pytest.mark.parametrize(
    ("words", "what"),
    [
        (("stop", "", "--purge", "--yes"), "RUN"),
        (("deploy", "job", "--name", ""), "--name"),
        (("deploy", "job", "--data", "a", "--data", ""), "--data"),
        (("predict", "checkpoint", "a", ""), "FILE"),
        (("ssh", "", "--", "ls", ""), "RUN"),
        (("status", "--on", ""), "--on"),
    ],
)
def test_an_empty_word_as_of_an_unset_variable_is_refused(
    client: Client, words: tuple[str, ...], what: str
) -> None:
    result = client.run(*words)
    assert (result.code, f"{what} is empty" in result.err) == (2, True)


def test_cp_without_a_run_is_refused_and_not_of_the_latest_run(client: Client) -> None:
    result = client.run("cp", ":log", ".")
    assert (result.code, "there is no run before the colon" in result.err) == (2, True)


def test_data_without_a_path_is_refused_and_not_the_current_folder(client: Client) -> None:
    result = client.run("check", "blendshapes", "--data", "blendshapes=")
    assert (result.code, "--data blendshapes=: the path is empty" in result.err) == (2, True)


def test_json_after_two_dashes_is_an_option_of_the_other_program(client: Client) -> None:
    result = client.run("ssh", "nosuch", "--", "python", "train.py", "--json")
    assert (result.code, result.out, result.err.startswith("error: ")) == (3, "", True)


@pytest.mark.parametrize("words", [["nvidia-smi"], ["ls", "-l"]])
def test_a_command_for_a_host_without_two_dashes_is_explained(client: Client, words: list[str]) -> None:
    result = client.run("ssh", "job", *words)
    assert (result.code, "next: gpujob ssh RUN -- COMMAND" in result.err) == (2, True)


def test_an_empty_target_is_refused_and_not_taken_for_the_default(client: Client) -> None:
    client.job("print(1)")
    refused = client.run("deploy", "job", "--on", "")
    assert (refused.code, refused.out) == (2, "")
    assert "--on is empty" in refused.err
