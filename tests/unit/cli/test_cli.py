"""The command line: exit codes, errors, JSON, start-up time, and its documentation."""

from __future__ import annotations

import errno
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator

import pytest

from orchestrator import __version__, cli
from tests.support import GPUJOB, REPOSITORY, Client, new_client

HEAVY = ("boto3", "botocore", "paramiko", "fabric", "libtmux", "torch", "numpy", "asyncio")
COMMANDS = (
    *("deploy", "check", "status", "monitor", "stop", "fetch", "verify", "prepare", "runs", "diff"),
    *("logs", "report", "evaluate", "predict", "export", "doctor", "init", "ssh", "hosts", "cost", "config"),
    *("notify", "tunnel", "cp", "sweep", "export-metrics", "tensorboard"),
)


@pytest.fixture
def client() -> Iterator[Client]:
    with new_client() as new:
        yield new


def modules_after(client: Client, *words: str) -> set[str]:
    code = (
        "import sys\nfrom orchestrator.cli import main\n"
        f"main({list(words)!r})\nsys.stderr.write('\\nMODULES ' + ' '.join(sys.modules))"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], env=client.env, cwd=client.project, capture_output=True, text=True
    )
    return set(result.stderr.rpartition("MODULES ")[2].split())


@pytest.mark.parametrize("words", [["--help"], ["--version"], ["status", "--cached"], ["deploy", "--help"]])
def test_a_light_command_loads_nothing_heavy(client: Client, words: list[str]) -> None:
    loaded = modules_after(client, *words)
    assert "orchestrator.cli" in loaded
    assert loaded.isdisjoint(HEAVY)


def test_status_of_this_machine_loads_neither_yaml_of_jobs_nor_rich(client: Client) -> None:
    assert modules_after(client, "status").isdisjoint({*HEAVY, "rich", "pathspec"})


def test_the_version_is_that_of_the_package(client: Client) -> None:
    assert client.run("--version").out == f"gpujob {__version__}\n"


def test_help_names_every_command_and_the_readme_or_docs_explain_each(client: Client) -> None:
    result = subprocess.run([*GPUJOB, "--help"], env=client.env, capture_output=True, text=True, check=True)
    listed = set(re.findall(r"^  ([a-z][a-z-]+)  ", result.stdout, re.MULTILINE))
    assert listed == set(COMMANDS)
    page = (REPOSITORY / "docs" / "cli.md").read_text()
    assert [name for name in listed if f"## gpujob {name}" not in page] == []


def test_the_command_line_page_matches_the_help_output() -> None:
    result = subprocess.run(
        [sys.executable, "docs/make_cli.py", "--check"], cwd=REPOSITORY, capture_output=True
    )
    assert result.returncode == 0, result.stdout.decode() + result.stderr.decode()


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["deplyo"], 2, "No such command 'deplyo'. Did you mean 'deploy'?"),
        (["deploy", "x", "--colour"], 2, "No such option"),
        (["check"], 2, "Missing argument"),
        (["deploy"], 2, "JOB is missing"),
        (["deploy", "nosuch"], 2, "there is no job 'nosuch'"),
        (["deploy", "x", "--on", "mars"], 2, "no job 'x'"),
        (["status", "--on", "ec2"], 3, "no EC2 instance is on record"),
        (["status", "--on", "a b"], 2, "is not a target"),
        (["status", "nosuch"], 3, "no run 'nosuch'"),
        (["monitor", "--stream", "--attach"], 2, "exclude each other"),
        (["fetch", "--which", "worst"], 2, "best, last or all"),
        (["verify", "nowhere"], 3, "is not a checkpoint"),
        (["evaluate", "nowhere", "--split", "some"], 2, "train, val, test or all"),
        (["prepare", "nosuch"], 2, "unknown trainer"),
        (["predict", "nowhere", "x"], 3, "is not a checkpoint"),
    ],
)
def test_an_error_is_one_line_with_its_exit_code(
    client: Client, words: list[str], code: int, message: str
) -> None:
    result = client.run(*words)
    assert (result.code, result.out) == (code, "")
    assert message in result.err
    assert "Traceback" not in result.err


def test_with_json_an_error_is_an_object_on_stdout(client: Client) -> None:
    result = client.run("status", "nosuch", "--json")
    assert result.json["error"]["exit_code"] == result.code == 3
    assert result.json["schema_version"] == 2
    assert json.loads(client.run("deploy", "x", "--colour", "--json").out)["error"]["kind"] == "UsageError"


def test_an_internal_error_names_the_log_instead_of_a_traceback(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object, **__: object) -> int:
        raise ZeroDivisionError("oh")

    monkeypatch.setattr("orchestrator.commands.status.status", broken)
    result = client.run("status")
    assert result.code == 1
    assert "Traceback" not in result.err
    log = client.state_dir / "gpujob.log"
    assert str(log) in result.err
    assert "ZeroDivisionError" in log.read_text()
    assert "Traceback" in client.run("--debug", "status").err


@pytest.mark.parametrize(
    ("number", "what"),
    [
        (errno.ENOSPC, "the disk is full"),
        (errno.EDQUOT, "the disk quota of this user is used up"),
        (errno.EFBIG, "File too large"),
        (errno.EIO, "Input/output error"),
        (errno.EMFILE, "Too many open files"),
        (errno.EBADF, "gpujob itself failed"),
    ],
)
def test_what_the_system_refuses_is_no_bug_though_no_file_is_named(
    client: Client, monkeypatch: pytest.MonkeyPatch, number: int, what: str
) -> None:
    def write(*_: object, **__: object) -> int:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("orchestrator.commands.status.status", write)
    result = client.run("status")
    assert (result.code, what in result.err) == (1, True), result.err
    assert ("bug in gpujob" in result.err) == (number == errno.EBADF)


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="as Linux has it")  # noqa: PTH110
def test_output_to_a_full_disk_is_one_error(client: Client) -> None:
    with open("/dev/full", "w") as full:  # noqa: PTH123
        words = [*GPUJOB, "status", "--cached"]
        done = subprocess.run(words, stdout=full, stderr=subprocess.PIPE, env=client.env, cwd=client.project)
    assert (done.returncode, done.stderr.decode()) == (1, "error: the disk is full\n  next: df -h .\n")


@pytest.mark.parametrize(
    ("size", "used"), [("120", True), ("\u00b2", False), ("9" * 11, False), ("-5", False), ("x", False)]
)
def test_a_size_that_no_terminal_has_is_ignored(
    monkeypatch: pytest.MonkeyPatch, size: str, used: bool
) -> None:
    monkeypatch.setenv("COLUMNS", size)
    cli._ignore_odd_sizes()
    assert ("COLUMNS" in os.environ) == used


def test_settings_that_are_no_utf_8_are_named_with_line_and_byte(client: Client) -> None:
    (client.project / "gpujob.yaml").write_bytes(b"target: gpu\n# f\xfcr dich\n")
    result = client.run("status")
    assert (result.code, result.out) == (2, "")
    assert "gpujob.yaml:2 cannot be read: it is not UTF-8 text" in result.err
    assert "byte 0xfc at offset 15" in result.err
    assert "iconv -f ISO-8859-1 -t UTF-8 " in result.err


def test_settings_that_cannot_be_read_are_named(client: Client) -> None:
    (client.project / "gpujob.yaml").mkdir()
    result = client.run("status")
    assert (result.code, "gpujob.yaml cannot be read" in result.err) == (2, True)


def test_a_setting_shows_its_source_and_a_flag_takes_precedence(client: Client) -> None:
    client.write("gpujob.yaml", "fetch_dir: home\n")
    shown = client.run("config", "show", "--json").json["settings"]
    assert shown["fetch_dir"] == {"value": "home", "source": "gpujob.yaml"}
    assert shown["root"]["source"] == "$GPUJOB_ROOT"
    client.write("gpujob.yaml", "target: a b\n")
    assert client.run("status").code == 2
    assert client.run("status", "--on", "local").code == 0


def test_a_damaged_settings_file_is_named_with_its_line(client: Client) -> None:
    client.write("gpujob.yaml", "target: local\ntargt: x\n")
    assert "gpujob.yaml: unknown setting 'targt'" in client.run("status").err
    client.write("gpujob.yaml", "target: [\n")
    assert "gpujob.yaml:" in client.run("status").err


def test_init_writes_a_job_that_a_dry_run_accepts_and_never_replaces_one(client: Client) -> None:
    client.write("my train.py", "print(1)")
    assert client.run("init", "my train.py").out == "my-train.yaml\n"
    assert client.run("deploy", "my-train", "--dry-run").code == 0
    assert client.run("init", "my train.py").code == 2


def test_a_dry_run_does_nothing_and_twice_gives_the_same_bytes(client: Client) -> None:
    client.job("print(1)")
    first, second = client.run("deploy", "job", "--dry-run"), client.run("deploy", "job", "--dry-run")
    assert first.out == second.out
    assert "code: the job's code" in first.out
    assert not (client.root / "runs").exists()
    assert not (client.root / "code").exists()


def test_the_local_target_reports_in_one_line_that_it_needs_linux(client: Client) -> None:
    result = client.run("status", platform="darwin")
    assert (result.code, "works on Linux only" in result.err) == (2, True)


def test_doctor_names_missing_programs_and_the_install_command(client: Client) -> None:
    (client.home / "empty").mkdir()
    result = client.run("doctor", env={**client.env, "PATH": str(client.home / "empty")})
    assert result.code == 1
    assert "apt-get install -y tmux" in result.err
    assert client.run("doctor").code == 0


def test_completion_offers_jobs_and_trainers(client: Client) -> None:
    env = {
        **client.env,
        "_GPUJOB_COMPLETE": "complete_bash",
        "COMP_WORDS": "gpujob deploy face",
        "COMP_CWORD": "2",
    }
    result = subprocess.run([*GPUJOB], env=env, cwd=client.project, capture_output=True, text=True)
    assert "facenet-lstm" in result.stdout


@pytest.mark.parametrize("closed", [">&-", "2>&-", "<&-"])
def test_a_command_works_with_a_closed_stream(client: Client, closed: str) -> None:
    shell = ["sh", "-c", f'"$@" {closed}', "sh", *GPUJOB, "config", "show"]
    env = {**client.env, "PYTHONPATH": str(REPOSITORY)}
    done = subprocess.run(shell, cwd=client.project, env=env, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
