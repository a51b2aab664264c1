"""`gpujob init [SCRIPT]`: writes a commented job file for the user's own script."""

from __future__ import annotations

import json
import re

from orchestrator import files
from orchestrator.context import Context
from orchestrator.core import spec
from orchestrator.errors import UsageError

_RUNNERS = {".py": "python", ".sh": "bash"}


def init(ctx: Context, script: str | None) -> int:
    """Writes NAME.yaml to the current folder; never replaces a file."""
    script = script or "train.py"
    path = ctx.path(script)
    name = re.sub(r"[^A-Za-z0-9_-]+", "-", path.stem).strip("-_")[:40] or "job"
    target = ctx.cwd / f"{name}.yaml"
    if target.exists():
        raise UsageError(
            f"{target.name} exists already",
            "it is not replaced",
            f"gpujob deploy {name} --dry-run",
        )
    text = (files.folder("templates") / "job.yaml").read_text("utf-8")
    words = [_RUNNERS.get(path.suffix, ""), script]
    command = [word for word in words if word] if path.suffix in _RUNNERS else [f"./{script}"]
    text = text.replace("@NAME@", name).replace("@COMMAND@", json.dumps(command, ensure_ascii=False))
    spec.parse(text, target.name)
    target.write_text(text, "utf-8")
    ctx.out(target.name)
    if not path.exists():
        ctx.talk(f"{script} does not exist yet; set `command` in {target.name} to your training command")
    ctx.talk(f"next: gpujob deploy {name} --dry-run")
    return 0
