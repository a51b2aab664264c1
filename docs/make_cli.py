"""Writes docs/cli.md and completion.json from the app, job.schema.json and the table of job keys from types.

python docs/make_cli.py            write them
python docs/make_cli.py --check    exit 1 if one of them is out of date
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import sys
from pathlib import Path
from typing import Any

from job_schema import json_schema, table
from typer.core import TyperArgument
from typer.main import get_group

from orchestrator.cli import main
from orchestrator.cli.app import app
from orchestrator.cli.equivalents import EQUIVALENTS
from orchestrator.cli.help import Command, Group

PAGE = Path(__file__).with_name("cli.md")
JOB_FILE = Path(__file__).with_name("job-file.md")
SCHEMA = Path(__file__).parent.parent / "jobs" / "job.schema.json"
COMPLETION = Path(__file__).parent.parent / "orchestrator" / "cli" / "completion.json"
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
    ordered = sorted(EQUIVALENTS.items(), key=lambda row: (" " in row[0], row[0]))
    rows = [f"| `gpujob {theirs}` | `{ours}` |" for theirs, ours in ordered]
    parts += ["## Commands of other tools", "gpujob answers these with the command to use instead."]
    parts += ["\n".join(["| typed | use |", "|---|---|", *rows])]
    return "\n\n".join(parts) + "\n"


def completion_table(command: Command | Group, summary: str = "") -> dict[str, Any]:
    """A command for completion.py: its commands, its arguments, and its options with value and help."""
    arguments = [
        one.human_readable_name.strip("[]").rstrip(".") for one in command.params if _is_argument(one)
    ]
    options = {
        name: ["" if one.is_flag else one.metavar or "", one.help or ""]
        for one in command.params
        if not _is_argument(one) and not one.hidden
        for name in one.opts
    }
    children = command.commands if isinstance(command, Group) else {}
    nodes = {
        name: completion_table(one, (one.help or "").partition("\n")[0]) for name, one in children.items()
    }
    return {"help": summary, "arguments": arguments, "options": options, "commands": nodes}


def _is_argument(param: Any) -> bool:
    return isinstance(param, TyperArgument)


def job_file() -> str:
    """docs/job-file.md with its table written anew."""
    before, start, rest = JOB_FILE.read_text("utf-8").partition("from the types of the job file -->\n")
    return f"{before}{start}\n{table()}\n\n{''.join(rest.partition('<!-- end of keys -->')[1:])}"


def written() -> dict[Path, str]:
    """Every file that this writes, with its text."""
    completion = json.dumps(completion_table(get_group(app)), indent=1) + "\n"
    schema = json.dumps(json_schema(), indent=2) + "\n"
    return {PAGE: page(), SCHEMA: schema, JOB_FILE: job_file(), COMPLETION: completion}


if __name__ == "__main__":
    os.environ |= {"COLUMNS": "100", "NO_COLOR": "1"}
    for path, text in written().items():
        if "--check" not in sys.argv:
            path.write_text(text, "utf-8")
        elif not path.exists() or path.read_text("utf-8") != text:
            sys.exit(f"{path.name} is out of date; run: python docs/make_cli.py")
