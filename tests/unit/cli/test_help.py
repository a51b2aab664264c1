"""The help pages: groups, examples, defaults, and that no text is cut in a narrow terminal."""

from __future__ import annotations

import contextlib
import io
import re
import shlex
from collections.abc import Iterator
from typing import Any

import pytest
from typer.core import TyperOption

from orchestrator.cli import main
from orchestrator.cli.help import GLOBAL_OPTIONS, Group
from tests.rigs.commandtree import ROOT

_STARTS = re.compile(r"[A-Z][a-z]+,? ")
_DEFAULT = re.compile(r"\(default:? [^)]+\)|\(required\)")


def all_commands() -> Iterator[tuple[str, Any]]:
    for name, command in ROOT.commands.items():
        yield name, command
        if isinstance(command, Group):
            yield from ((f"{name} {child}", each) for child, each in command.commands.items())


COMMANDS = dict(all_commands())


def page(words: str, columns: int, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("COLUMNS", str(columns))
    with contextlib.redirect_stdout(io.StringIO()) as text:
        assert main([*words.split(), "--help"]) == 0
    return text.getvalue()


def test_commands_are_listed_in_five_groups(monkeypatch: pytest.MonkeyPatch) -> None:
    titles = re.findall(r"^([A-Z].*):$", page("", 80, monkeypatch), re.MULTILINE)
    assert titles == ["Run", "Reach", "Results", "Instances", "Setup", "Global options", "Examples"]


@pytest.mark.parametrize("columns", [40, 60, 80, 100])
@pytest.mark.parametrize("name", ["", *COMMANDS])
def test_no_text_is_cut_and_no_line_is_too_long(
    name: str, columns: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    command = COMMANDS.get(name, ROOT)
    text = page(name, columns, monkeypatch)
    flat = " ".join(text.split())
    children = command.commands.values() if isinstance(command, Group) else ()
    texts = [command.help, *(param.help for param in command.params), *(child.help for child in children)]
    first_lines = [(each or "").partition("\n")[0] for each in texts]
    assert [each for each in first_lines if each not in flat] == []
    words = {word for word in text.split() if len(word) > columns - 6}
    assert [line for line in text.splitlines() if len(line) > columns and not words & {*line.split()}] == []


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_is_one_line_that_starts_with_a_verb(name: str) -> None:
    summary, _, more = COMMANDS[name].help.partition("\n")
    assert _STARTS.match(summary)
    assert summary.endswith(".")
    assert len(summary) <= 68  # one line of `gpujob --help` in 80 columns
    assert not more or more.startswith("\n")


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_has_two_examples_of_its_own(name: str) -> None:
    examples = COMMANDS[name].epilog.splitlines()
    assert len(set(examples)) == 2
    assert all(example.split()[: len(name.split())] == name.split() for example in examples)


@pytest.mark.parametrize("name", COMMANDS)
def test_an_example_names_only_options_that_exist(name: str) -> None:
    for example in COMMANDS[name].epilog.splitlines():
        words = shlex.split(example.partition(" -- ")[0])
        command = COMMANDS.get(" ".join(words[:2])) or COMMANDS[words[0]]
        names = {opt for param in command.params for opt in param.opts}
        unknown = {word for word in words if word.startswith("--")} - names
        assert not unknown or name == "prepare"


@pytest.mark.parametrize("name", COMMANDS)
def test_an_option_with_a_value_states_its_default(name: str) -> None:
    for param in COMMANDS[name].params:
        assert param.help
        assert _STARTS.match(param.help) or param.param_type_name == "argument", param.name
        if isinstance(param, TyperOption) and not param.is_flag:
            assert _DEFAULT.search(param.help), param.name
            if isinstance(param.default, (str, int, float)):
                shown = param.default if isinstance(param.default, str) else f"{param.default:g}"
                assert re.search(rf"default:? {shown}\b", param.help), param.name


def test_every_command_accepts_the_global_options() -> None:
    assert all(set(GLOBAL_OPTIONS) <= set(command.params) for command in [ROOT, *COMMANDS.values()])
