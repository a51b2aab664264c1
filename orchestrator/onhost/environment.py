"""The environment of a run (docs/contract.md): from run.json and the secrets file, and nothing else.

What the tmux server was started with stays out.
"""

from __future__ import annotations

import contextlib
import json
import os
from typing import Any

from orchestrator.core.layout import RunPaths, scratch
from orchestrator.onhost import jsonfile


def of(paths: RunPaths, spec: dict[str, Any]) -> dict[str, str]:
    """Also makes the run's TMPDIR, and removes the secrets file: from here they live in memory alone."""
    data = {name: entry["path"] for name, entry in spec.get("data", {}).items()}
    temporary = scratch(spec["mark"])
    os.makedirs(temporary, mode=0o700, exist_ok=True)
    found: dict[str, str] = dict(spec.get("env", {}))
    found.update(jsonfile.load(paths.secrets) or {})
    found.update({"GPUJOB_DATA_" + _upper(name): path for name, path in data.items()})
    found.update(
        GPUJOB_MARK=spec["mark"],
        GPUJOB_RUN_ID=spec["id"],
        GPUJOB_RUN_DIR=paths.folder,
        GPUJOB_EVENTS=paths.events,
        GPUJOB_CHECKPOINTS=paths.checkpoints,
        GPUJOB_CONFIG=json.dumps(spec.get("config", {})),
        GPUJOB_DATA=json.dumps(data),
        GPUJOB_CODE_TREE=((spec.get("trainers") or spec.get("code")) or {}).get("tree", ""),
        PYTHONUNBUFFERED="1",
        TMPDIR=temporary,
    )
    with contextlib.suppress(OSError):
        os.unlink(paths.secrets)
    return found


def _upper(name: str) -> str:
    return "".join(c if c.isalnum() and c.isascii() else "_" for c in name.upper())
