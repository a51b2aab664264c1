"""`gpujob init`: three questions on a terminal, and a job file that passes its check."""

from __future__ import annotations

import errno
import io
from collections.abc import Iterator

import pytest

from orchestrator.commands import jobs
from orchestrator.commands.init import Answers
from orchestrator.core.spec import JobSpec
from tests.support import Client, Result, new_client


@pytest.fixture
def client() -> Iterator[Client]:
    with new_client() as new:
        yield new


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def answered(client: Client, *answers: str) -> Result:
    stdin = Terminal("".join(f"{answer}\n" for answer in answers))
    return client.run("init", stdin=stdin, stderr=Terminal())


def job(client: Client, name: str) -> JobSpec:
    return jobs.load(client.context(), name, [], []).spec


def test_three_answers_become_a_job_that_passes_its_check(client: Client) -> None:
    client.write("fit.py", "print(1)")
    client.write("datasets/faces v2/a.png", "x")
    result = answered(client, "fit.py", "datasets/faces v2", "12")
    assert (result.code, result.out, result.err.count("[")) == (0, "fit.yaml\n", 3)
    found = job(client, "fit")
    assert (found.command, found.data, found.limits.max_hours) == (
        ["python", "fit.py"],
        {"faces-v2": "datasets/faces v2"},
        12,
    )
    assert client.run("check", "fit").code == 0


def test_enter_takes_the_script_that_is_there_and_no_data(client: Client) -> None:
    client.write("main.py", "print(1)")
    assert answered(client, "", "", "").out == "main.yaml\n"
    found = job(client, "main")
    assert (found.data, found.limits.max_hours) == ({}, None)


def test_an_answer_that_cannot_be_used_is_asked_again(client: Client) -> None:
    result = answered(
        client, "python 'x.py", "python x.py --lr 0.1", "nowhere", "", "soon", "-1", "inf", "0.5"
    )
    assert (result.code, result.out) == (0, "x.yaml\n")
    assert [part in result.err for part in ("not closed", "no nowhere", "soon is no number")] == [True] * 3
    assert job(client, "x").command == ["python", "x.py", "--lr", "0.1"]


@pytest.mark.parametrize("answers", [(), ("a.py",), ("a.py", "")])
def test_an_end_of_input_writes_nothing(client: Client, answers: tuple[str, ...]) -> None:
    result = answered(client, *answers)
    assert (result.code, list(client.project.iterdir())) == (2, [])
    assert "] \n" in result.err, "the error stands behind the question"


def test_without_a_terminal_or_with_a_script_nothing_is_asked(client: Client) -> None:
    assert client.run("init").out == "train.yaml\n"
    assert client.run("init", "a b.py", stdin=Terminal(), stderr=Terminal()).out == "a-b.yaml\n"


@pytest.mark.parametrize(
    ("script", "command", "name"),
    [
        ("my train.py", ["python", "my train.py"], "my-train"),
        ("sub/go.sh", ["bash", "sub/go.sh"], "go"),
        ("binary", ["./binary"], "binary"),
        ("train.py --epochs 3", ["python", "train.py", "--epochs", "3"], "train"),
        ("torchrun --nproc-per-node 4 t.py x", ["torchrun", "--nproc-per-node", "4", "t.py", "x"], "t"),
        ("make train", ["make", "train"], "make"),
        ("-.py", ["python", "-.py"], "job"),
    ],
)
def test_a_script_or_a_command_becomes_words_and_a_name(script: str, command: list[str], name: str) -> None:
    assert (Answers(script).command, Answers(script).name) == (command, name)


@pytest.mark.parametrize(
    ("script", "why"), [("train.py 'x", "quotation mark"), ("", "empty"), (" ", "no word")]
)
def test_a_command_that_has_no_words_is_refused(client: Client, script: str, why: str) -> None:
    result = client.run("init", script)
    assert (result.code, why in result.err, list(client.project.iterdir())) == (2, True, [])


def test_init_on_a_full_disk_leaves_no_part_of_a_job_file(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    client.write("train.py", "pass")
    with monkeypatch.context() as patched:
        patched.setattr("os.fsync", full)
        result = client.run("init", "train.py")
    assert (result.code, "train.yaml cannot be written" in result.err) == (1, True)
    assert "No space left on device" in result.err
    assert [path.name for path in client.project.iterdir()] == ["train.py"]
    assert client.run("init", "train.py").code == 0


def test_check_of_a_command_reports_what_a_deploy_requires(client: Client) -> None:
    client.job("print(1)", data={"images": "nowhere"})
    assert client.run("check", "job").code == 2
    client.job("print(1)")
    report = client.run("check", "job", "--json").json
    assert (report["tier"], report["checked"][-1], report["findings"]) == ("command", "host.space", [])
    client.write("job.yaml", "name: job\ncommand: [no-such-program-anywhere]\n")
    missing = client.run("check", "job")
    assert (missing.code, "no-such-program-anywhere" in missing.err) == (1, True)
