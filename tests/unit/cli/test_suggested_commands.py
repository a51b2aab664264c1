"""Every command of gpujob that a message suggests exists and takes the words that it is suggested with."""

from __future__ import annotations

import ast
import re
import shlex
from collections.abc import Iterator
from typing import Any

import typer

from orchestrator.cli.app import app
from tests.support import REPOSITORY

GROUP: Any = typer.main.get_command(app)
NAMES = "|".join(GROUP.commands)
COMMAND = re.compile(rf"(?:\A|, or |; |\n *|next: )(gpujob (?:{NAMES})\b.*?)(?=,|;| \(| >|\n|\Z)")
STANDS_FOR = {"HOURS": "1", "H": "1", "USD": "1", "PORT": "1", "[RUN]": "RUN", "RUN...": "RUN"}


def docstrings(tree: ast.AST) -> set[int]:
    nodes = (node.value for node in ast.walk(tree) if isinstance(node, ast.Expr))
    return {id(node) for node in nodes if isinstance(node, ast.Constant | ast.JoinedStr)}


def texts(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """The texts of a module but its docstrings, with 1 for each value that is inserted."""
    left_out = docstrings(tree)
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            left_out.update(id(part) for part in node.values)
            parts = [str(part.value) if isinstance(part, ast.Constant) else "1" for part in node.values]
            yield node.lineno, "".join(parts)
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in left_out:
            yield node.lineno, node.value.replace("%s", "1")


def suggestions() -> Iterator[tuple[str, str]]:
    for path in sorted((REPOSITORY / "orchestrator").rglob("*.py")):
        source = path.read_text("utf-8")
        for line, text in texts(ast.parse(source)) if "gpujob " in source else ():
            for command in COMMAND.findall(text):
                yield f"{path.relative_to(REPOSITORY)}:{line}", command.strip()


def fault(command: str) -> str:
    """Why gpujob does not accept the command; empty if it does."""
    group, words = GROUP, [STANDS_FOR.get(word, word) for word in shlex.split(command)]
    while hasattr(group, "commands"):
        name, *words = words[1:] if words[0] == "gpujob" else words
        if name not in group.commands:
            return f"there is no {name}"
        group = group.commands[name]
    try:
        group.make_context(name, words, resilient_parsing=False)
    except typer.Exit:
        return ""
    except Exception as error:  # the class of Typer's errors is not public
        return str(getattr(error, "message", error))
    return ""


def with_numbers(command: str) -> str:
    """The command with numbers as the values that are inserted."""
    return re.sub(r"\bX\b", "1", command)


def test_each_suggested_command_is_one_that_gpujob_accepts() -> None:
    places = {command: place for place, command in suggestions()}
    assert len(places) > 100
    faults = {command: why for command in places if (why := fault(command) and fault(with_numbers(command)))}
    assert [(places[command], command, why) for command, why in faults.items()] == []
