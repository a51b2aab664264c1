"""The environment of a job, read and checked on the client: requirements, variables, scripts."""

from __future__ import annotations

import hashlib
import importlib
import json
import posixpath
import re
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec

from orchestrator import files, process
from orchestrator.context import Context
from orchestrator.core import shell, uvlock
from orchestrator.core import variables as run_variables
from orchestrator.core.inputs import Setup
from orchestrator.core.jsontext import Object
from orchestrator.core.spec import JobFile
from orchestrator.errors import UsageError
from orchestrator.source import Source

_LOCAL = re.compile(r"(-[erc]\b|--(editable|requirement|constraint)\b|\.|/|file:)")


class JobEnvironment(msgspec.Struct, frozen=True):
    """What the job's files on the client say of its environment.

    `requirements`: the text for pip, None for a job without one. `variables`: of env.vars and env.file.
    `secrets`: those of pass_env that env.file has.
    """

    requirements: str | None = None
    variables: Mapping[str, str] = {}
    secrets: Mapping[str, str] = {}


def read(ctx: Context, file: JobFile, base: Path) -> JobEnvironment:
    """UsageError, with file and line, for what cannot be used, also for a script that bash cannot read."""
    requirements = _requirements(file, base)
    variables, secrets = _variables(file, base)
    _require_syntax(ctx, file)
    return JobEnvironment(requirements, variables, secrets)


def _requirements(file: JobFile, base: Path) -> str | None:
    """The text for pip. What it names must be had on the host, so no line may name a file here."""
    name = file.spec.env.requirements
    if name is None:
        return None
    where = file.where("env", "requirements")
    shown = f"{where}: env.requirements: {name}"
    if (base / name).name in ("uv.lock", "pyproject.toml"):
        return _of_project(base / name, shown)
    text = files.read_text(base / name, shown)
    for number, line in enumerate(text.splitlines(), 1):
        if _LOCAL.match(line.strip()):
            why = f"{name}:{number}: {line.strip()}"
            raise UsageError(
                f"{where}: env.requirements names a file of this machine", why, "name packages alone"
            )
    return text


def _of_project(path: Path, shown: str) -> str:
    """The text for pip of a uv.lock, or of a pyproject.toml that has none beside it."""
    lock = path.with_name("uv.lock")
    if path.name == "uv.lock" or lock.is_file():
        return uvlock.requirements(_toml(lock, shown), shown)
    return uvlock.project_requirements(_toml(path, shown), shown)


def _toml(path: Path, shown: str) -> Object:
    try:
        tomllib = importlib.import_module("tomllib")  # from Python 3.11 on
    except ImportError:
        why = f"this Python, {sys.version.split()[0]}, cannot read TOML; 3.11 or newer can"
        raise UsageError(f"{shown} cannot be read", why, "name a requirements file instead") from None
    try:
        return Object(tomllib.loads(files.read_text(path, shown)))
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{shown}: {path.name} is not valid TOML", str(error)) from None


def read_setup(file: JobFile, trees: Mapping[str, Source], listed: Mapping[str, str]) -> Setup | None:
    """The script of `setup`, with the files of the code that its words name; None for an empty one."""
    text = "\n".join(file.spec.setup)
    if not text.strip():
        return None
    tree = trees["job"].tree if "job" in trees else None
    words = {posixpath.normpath(word) for word in _WORD_ENDS.split(text) if word and "\0" not in word}
    entries = [one for one in tree.entries if _is_named(one.path, words)] if tree else []
    parts = [text, json.dumps(dict(listed), sort_keys=True)]
    parts += [f"{one.kind} {one.path} {one.digest} {one.size if not one.digest else ''}" for one in entries]
    digest = hashlib.sha256("\0".join(parts).encode("utf-8", "surrogateescape")).hexdigest()
    paths = tuple(one.path for one in entries)
    return Setup(text, tree.hash if tree else "", paths, digest, dict(listed))


_WORD_ENDS = re.compile(r"[\s;|&<>()'\"`=\[\]{},]+")


def _is_named(path: str, words: set[str]) -> bool:
    parts = path.split("/")
    return "." in words or any("/".join(parts[:end]) in words for end in range(1, len(parts) + 1))


def _variables(file: JobFile, base: Path) -> tuple[dict[str, str], dict[str, str]]:
    """The variables of env.vars and env.file, and those of env.file that pass_env names.

    UsageError with file and line for one that looks like a secret.
    """
    spec, name = file.spec, file.spec.env.file
    if both := sorted(set(spec.env.vars) & set(spec.pass_env)):
        where = file.where("env", "vars", both[0])
        raise UsageError(f"{where}: {both[0]} is in env.vars and in pass_env", "", "keep one of the two")
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


def secrets(ctx: Context, names: Sequence[str], listed: Mapping[str, str]) -> dict[str, str]:
    """The variables of pass_env: the client's, or as `listed` in env.file. UsageError for others."""
    values = {**listed, **ctx.env}
    missing = [name for name in names if name not in values]
    if missing:
        raise UsageError(f"pass_env: {', '.join(missing)} is not set", "", f"export {missing[0]}=…")
    return {name: values[name] for name in names}


def _require_syntax(ctx: Context, file: JobFile) -> None:
    """UsageError, with the line, where bash cannot read a script. Not on a Mac, whose bash is of 2007."""
    bash = shutil.which("bash", path=ctx.env.get("PATH"))
    if bash is None or ctx.platform != "linux":
        return
    for key, text in (
        ("command", shell.script_in(file.spec.command or [])),
        ("setup", "\n".join(file.spec.setup)),
    ):
        done = process.run([bash, "-n"], stdin=text.encode(), env=ctx.env) if text else None
        if done and done.code:
            reason = (done.err.strip().splitlines() or ["bash cannot read it"])[0].partition(": ")[2]
            what = f"{file.where(key)}: {key} is no valid script: {reason}"
            raise UsageError(what, f"{key} is run by bash", "correct it; bash -n FILE tells more")
