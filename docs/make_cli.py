"""Writes docs/cli.md from --help and jobs/job.schema.json; `--check` says whether they are up to date."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from orchestrator.core.spec import json_schema

PAGE = Path(__file__).with_name("cli.md")
SCHEMA = Path(__file__).parent.parent / "jobs" / "job.schema.json"
GPUJOB = [sys.executable, "-c", "from orchestrator.cli import script; script()"]
COMMANDS = (
    *("deploy", "check", "status", "monitor", "stop", "fetch", "verify", "prepare"),
    *("evaluate", "predict", "export", "doctor", "init", "ssh", "cost", "config show"),
    *(f"hosts {verb}" for verb in ("up", "attach", "list", "extend", "down", "orphans")),
)


def said(words: list[str]) -> str:
    env = {**os.environ, "COLUMNS": "100", "NO_COLOR": "1"}
    done = subprocess.run([*GPUJOB, *words, "--help"], env=env, capture_output=True, text=True, check=True)
    return done.stdout.rstrip()


def page() -> str:
    parts = ["# The command line", "Made by `python docs/make_cli.py` from `--help`."]
    for command in COMMANDS:
        parts += [f"## gpujob {command}", f"```\n{said(command.split())}\n```"]
    return "\n\n".join(parts) + "\n"


if __name__ == "__main__":
    made = {PAGE: page(), SCHEMA: json.dumps(json_schema(), indent=2) + "\n"}
    for path, text in made.items():
        if "--check" not in sys.argv:
            path.write_text(text, "utf-8")
        elif path.read_text("utf-8") != text:
            sys.exit(f"{path.name} is not what the code says; type: python docs/make_cli.py")
