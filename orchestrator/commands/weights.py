"""Checkpoints that a trainer reads as input: `--init-from`, and the options that are paths of checkpoints."""

from __future__ import annotations

import glob
from collections.abc import Sequence
from pathlib import Path

from orchestrator import settings_files
from orchestrator.commands import verify
from orchestrator.context import Context
from orchestrator.core.spec import JobFile
from orchestrator.errors import UsageError

HOST = "host:"
INIT = "init_from"
"""The option of every included trainer that --init-from sets."""


def find(ctx: Context, word: str) -> str:
    """The path that --init-from names; it may also be the ID of a fetched run, or a unique prefix of it."""
    if word.startswith(HOST):
        return word
    if ctx.path(word).exists():
        return str(ctx.path(word))
    fetched = ctx.path(settings_files.load(ctx)["fetch_dir"].value)
    candidates = sorted(fetched.glob(f"{glob.escape(word)}*")) if word else []
    if len(candidates) == 1:
        return str(candidates[0])
    if candidates:
        names = ", ".join(path.name for path in candidates[:5])
        raise UsageError(f"--init-from {word} is ambiguous", f"it matches {names}", "type more of the name")
    why = f"it is neither a path nor a run in {ctx.short(fetched)}"
    raise UsageError(f"--init-from {word}: there is no such checkpoint", why, "gpujob fetch RUN")


def require_trainer(file: JobFile) -> None:
    """UsageError for --init-from with a job that runs a command."""
    if file.spec.trainer is None:
        why = f"{file.spec.name} runs a command of its own, which loads weights itself"
        raise UsageError("--init-from works with the included trainers", why, "--data NAME=PATH")


def resolve(file: JobFile, folders: dict[str, Path], options: Sequence[str]) -> dict[str, Path]:
    """The verified checkpoint for each of `options` on the client: of a fetched run, its best one."""
    resolved = {}
    for name in options:
        if not file.spec.data[name].startswith(HOST):
            resolved[name] = verify.resolve(folders[name])
            if (resolved[name] / verify.MANIFEST).is_file():
                verify.require_intact(resolved[name])
    return resolved
