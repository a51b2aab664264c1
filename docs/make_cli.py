"""Writes docs/cli.md from the app and jobs/job.schema.json from the job file's types.

python docs/make_cli.py            write both
python docs/make_cli.py --check    exit 1 if one of them is out of date
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import sys
from pathlib import Path

from typer.main import get_group

from orchestrator.cli import main
from orchestrator.cli.app import app
from orchestrator.cli.equivalents import EQUIVALENTS
from orchestrator.cli.help import Group
from orchestrator.core.jobschema import json_schema

PAGE = Path(__file__).with_name("cli.md")
SCHEMA = Path(__file__).parent.parent / "jobs" / "job.schema.json"
INTRODUCTION = """# Command line

This page is generated: `python docs/make_cli.py` writes it from the output of `--help`.

`-q`, `-v`, `--debug` and `-V` work before and after the command. Results are printed on stdout, everything
else on stderr. With `--json`, stdout holds one JSON object, also when the command fails.

| exit code | meaning |
|---|---|
| 0 | The command succeeded. |
| 1 | The command failed. |
| 2 | The command line or the job file is wrong. |
| 3 | The run or the host does not exist. |
| 4 | Credentials were rejected, or the host key is not the recorded one. |
| 5 | The host or AWS could not be reached; the same command may succeed later. |
| 6 | The job itself failed. |
| 7 | Confirmation is needed: add `--yes`. |
| 130 | Ctrl-C. |"""


def command_paths() -> list[list[str]]:
    """Every command in the order of `gpujob --help`, those of a group after the group's name."""
    paths = []
    for name, command in get_group(app).commands.items():
        names = command.commands if isinstance(command, Group) else [""]
        paths += [[name, *filter(None, [child])] for child in names]
    return paths


def help_text(words: list[str]) -> str:
    with contextlib.redirect_stdout(io.StringIO()) as text:
        main([*words, "--help"])
    return text.getvalue().rstrip()


def page() -> str:
    parts = [INTRODUCTION]
    for path in [[], *command_paths()]:
        parts += [f"## {' '.join(['gpujob', *path])}", f"```\n{help_text(path)}\n```"]
    rows = [f"| `gpujob {theirs}` | `{ours}` |" for theirs, ours in EQUIVALENTS.items()]
    parts += ["## Commands of other tools", "gpujob answers these with the command to use instead."]
    parts += ["\n".join(["| typed | use |", "|---|---|", *rows])]
    return "\n\n".join(parts) + "\n"


if __name__ == "__main__":
    os.environ |= {"COLUMNS": "100", "NO_COLOR": "1"}
    for path, text in {PAGE: page(), SCHEMA: json.dumps(json_schema(), indent=2) + "\n"}.items():
        if "--check" not in sys.argv:
            path.write_text(text, "utf-8")
        elif path.read_text("utf-8") != text:
            sys.exit(f"{path.name} is out of date; run: python docs/make_cli.py")
