"""Builds the environment variables of a run (docs/contract.md) from run.json and the secrets file.

Other variables of the tmux server are not passed on.
"""

from __future__ import annotations

import contextlib
import json
import os
from typing import Mapping

from orchestrator.core.layout import RunPaths, scratch
from orchestrator.onhost import files, leases, private
from orchestrator.onhost.records import RunSpec


def prepare(paths: RunPaths, spec: RunSpec) -> dict[str, str]:
    """Returns the environment variables of a run; creates its TMPDIR."""
    temporary = scratch(spec.mark)
    private.make_folder(temporary)
    own = {"GPUJOB_MARK": spec.mark, "TMPDIR": temporary}
    return {**variables(paths, spec, files.load_json(paths.secrets)), **own}


def forget_secrets(paths: RunPaths) -> None:
    """Deletes the file of the secrets, which from then on are in memory only."""
    with contextlib.suppress(OSError):
        os.unlink(paths.secrets)


def variables(paths: RunPaths, spec: RunSpec, secrets: Mapping[str, str] | None = None) -> dict[str, str]:
    """Returns the variables of a run, and `secrets`, without those that make a process one of the run."""
    return {
        "PYTHONUNBUFFERED": "1",
        **spec.env,
        **leases.variables(paths),
        **(secrets or {}),
        **{"GPUJOB_DATA_" + _upper(name): path for name, path in spec.data.items()},
        "GPUJOB_RUN_ID": spec.id,
        "GPUJOB_RUN_DIR": paths.folder,
        "GPUJOB_EVENTS": paths.events,
        "GPUJOB_CHECKPOINTS": paths.checkpoints,
        "GPUJOB_CONFIG": json.dumps(spec.config),
        "GPUJOB_DATA": json.dumps(spec.data),
        "GPUJOB_CODE_TREE": spec.trainers_tree or spec.code_tree or "",
    }


def _upper(name: str) -> str:
    return "".join(c if c.isalnum() and c.isascii() else "_" for c in name.upper())
