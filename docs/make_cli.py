"""Writes docs/cli.md from --help; `--check` says whether it is up to date."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

PAGE = Path(__file__).with_name("cli.md")
GPUJOB = [sys.executable, "-c", "from orchestrator.cli import script; script()"]
COMMANDS = (
    *("deploy", "check", "status", "monitor", "stop", "fetch", "verify", "prepare"),
    *("evaluate", "predict", "export", "doctor", "init", "hosts attach", "hosts list", "config show"),
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
    if "--check" in sys.argv:
        if PAGE.read_text("utf-8") != page():
            sys.exit("docs/cli.md is not what --help says; type: python docs/make_cli.py")
    else:
        PAGE.write_text(page(), "utf-8")
