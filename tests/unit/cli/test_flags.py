"""`-q`, `-v`, `--debug` and `-V`, before and after the command; commands of other tools."""

from __future__ import annotations

import io
from collections.abc import Iterator

import pytest

from orchestrator import __version__
from orchestrator.cli.equivalents import EQUIVALENTS
from orchestrator.cli.help import Group
from tests.rigs.commandtree import ROOT
from tests.support import Client, new_client


@pytest.fixture
def client() -> Iterator[Client]:
    with new_client() as client:
        yield client


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    "words", ["-V", "--version", "status -V", "-V status", "hosts -V", "hosts list --version"]
)
def test_the_version_flag_works_at_every_position(client: Client, words: str) -> None:
    result = client.run(*words.split())
    assert (result.code, result.out, result.err) == (0, f"gpujob {__version__}\n", "")


@pytest.mark.parametrize("words", ["-q {}", "--quiet {}", "{} -q", "{} --quiet"])
@pytest.mark.parametrize("command", ["init train.py", "hosts list"])
def test_quiet_prints_results_and_no_hints(client: Client, words: str, command: str) -> None:
    client.write("train.py", "print(1)")
    loud = client.run(*command.split())
    (client.project / "train.yaml").unlink(missing_ok=True)
    quiet = client.run(*words.format(command).split())
    assert loud.err
    assert (quiet.code, quiet.out, quiet.err) == (loud.code, loud.out, "")


def test_quiet_is_accepted_between_a_group_and_its_command(client: Client) -> None:
    assert client.run("hosts", "-q", "list").err == ""


def test_quiet_still_prints_errors_and_warnings(client: Client) -> None:
    assert "error: there is no job 'nosuch'" in client.run("deploy", "nosuch", "-q").err
    ctx = client.context(quiet=True)
    ctx.warn("warning: x")
    ctx.talk("hint")
    assert ctx.stderr.getvalue() == "warning: x\n"  # type: ignore[attr-defined]


def test_quiet_redraws_no_progress(client: Client) -> None:
    assert client.context(stderr=Terminal()).shows_progress
    assert not client.context(stderr=Terminal(), quiet=True).shows_progress
    assert not client.context(stderr=Terminal(), json=True).shows_progress
    assert not client.context().shows_progress


@pytest.mark.parametrize(
    "words", ["-v config show", "config show -v", "config -v show", "config show --verbose"]
)
def test_verbose_adds_the_time_taken_and_the_log(client: Client, words: str) -> None:
    plain, verbose = client.run("config", "show"), client.run(*words.split())
    assert verbose.out == plain.out
    assert plain.err == ""
    assert verbose.err.startswith("exit code 0 after ")
    assert str(client.state_dir / "gpujob.log") in verbose.err


@pytest.mark.parametrize("words", ["--debug status", "status --debug"])
def test_debug_prints_the_traceback_of_a_bug(
    client: Client, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object, **__: object) -> int:
        raise ZeroDivisionError("oh")

    monkeypatch.setattr("orchestrator.commands.status.status", broken)
    assert "Traceback" in client.run(*words.split()).err


@pytest.mark.parametrize("foreign", EQUIVALENTS)
def test_a_command_of_another_tool_suggests_the_gpujob_command(client: Client, foreign: str) -> None:
    result = client.run(*foreign.split(), "--some-option", "x")
    assert (result.code, result.out) == (2, "")
    assert f"next: {EQUIVALENTS[foreign]}\n" in result.err


def test_an_equivalent_is_a_command_that_exists_under_a_name_that_does_not() -> None:
    for foreign, ours in EQUIVALENTS.items():
        first, *rest = ours.removeprefix("gpujob ").split()
        command = ROOT.commands.get(first)
        if isinstance(command, Group):
            command = command.commands[rest[0]]
        options = {opt for param in (command or ROOT).params for opt in [*param.opts, "--help"]}
        assert command or first in options
        assert {word for word in rest if word.startswith("--")} <= options
        group, _, name = foreign.rpartition(" ")
        assert name not in (ROOT.commands[group].commands if group else ROOT.commands)  # type: ignore[attr-defined]


def test_a_typo_is_answered_with_the_nearest_command(client: Client) -> None:
    assert "Did you mean 'deploy'?" in client.run("deplyo").err
    assert "Did you mean 'orphans'?" in client.run("hosts", "orphan").err
