"""The environment of a job, read and checked on the client: requirements, variables, scripts."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

from orchestrator import files, process
from orchestrator.context import Context
from orchestrator.core import script
from orchestrator.core import variables as run_variables
from orchestrator.core.spec import JobFile
from orchestrator.errors import UsageError

_LOCAL = re.compile(r"(-[erc]\b|--(editable|requirement|constraint)\b|\.|/|file:)")


def requirements(file: JobFile, base: Path) -> str | None:
    """The text for pip. What it names must be had on the host, so no line may name a file here."""
    name = file.spec.env.requirements
    if name is None:
        return None
    where = file.where("env", "requirements")
    text = files.read_text(base / name, f"{where}: env.requirements: {name}")
    for number, line in enumerate(text.splitlines(), 1):
        if _LOCAL.match(line.strip()):
            why = f"{name}:{number}: {line.strip()}"
            raise UsageError(
                f"{where}: env.requirements names a file of this machine", why, "name packages alone"
            )
    return text


def variables(file: JobFile, base: Path) -> tuple[dict[str, str], dict[str, str]]:
    """The variables of env.vars and env.file, and those of env.file that pass_env names.

    UsageError with file and line for one that looks like a secret.
    """
    spec, name = file.spec, file.spec.env.file
    if both := sorted(set(spec.env.vars) & set(spec.pass_env)):
        where = file.where("env", "vars", both[0])
        raise UsageError(f"{where}: {both[0]} stands in env.vars and in pass_env", "", "keep one of the two")
    if name is None:
        return spec.env.vars, {}
    text = files.read_text(base / name, f"{file.where('env', 'file')}: env.file: {name}")
    listed = run_variables.parse(text, name)
    secrets = {key: value for key, value in listed.items() if key in spec.pass_env}
    for key, value in listed.items():
        if key not in secrets and key not in spec.env.vars:
            run_variables.require(key, value, name, "env.file", spec.trainer is not None)
    plain = {key: value for key, value in listed.items() if key not in secrets}
    return {**plain, **spec.env.vars}, secrets


def require_syntax(ctx: Context, file: JobFile) -> None:
    """UsageError, with the line, where bash cannot read a script. Not on a Mac, whose bash is of 2007."""
    text = script.text(file.spec.command or [])
    bash = shutil.which("bash", path=ctx.env.get("PATH"))
    if text is None or bash is None or ctx.platform != "linux":
        return
    done = process.run([bash, "-n"], stdin=text.encode(), env=ctx.env)
    if done.code:
        reason = (done.err.strip().splitlines() or ["bash cannot read it"])[0].partition(": ")[2]
        what = f"{file.where('command')}: command is no valid script: {reason}"
        raise UsageError(what, "a text is run by bash", "a list of words is not: command: [python, train.py]")
