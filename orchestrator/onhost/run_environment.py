"""Builds the environment variables of a run (docs/contract.md) from run.json and the secrets file.

Other variables of the tmux server are not passed on.
"""

from __future__ import annotations

import contextlib
import json
import os

from orchestrator.core.layout import RunPaths, scratch
from orchestrator.onhost import files, private
from orchestrator.onhost.records import RunSpec


def prepare(paths: RunPaths, spec: RunSpec) -> dict[str, str]:
    """Returns the environment variables of a run; creates its TMPDIR and deletes its secrets file.

    The secrets are kept in memory only from then on.
    """
    temporary = scratch(spec.mark)
    private.make_folder(temporary)
    variables = {
        "PYTHONUNBUFFERED": "1",
        **spec.env,
        **(files.load_json(paths.secrets) or {}),
        **{"GPUJOB_DATA_" + _upper(name): path for name, path in spec.data.items()},
        "GPUJOB_MARK": spec.mark,
        "GPUJOB_RUN_ID": spec.id,
        "GPUJOB_RUN_DIR": paths.folder,
        "GPUJOB_EVENTS": paths.events,
        "GPUJOB_CHECKPOINTS": paths.checkpoints,
        "GPUJOB_CONFIG": json.dumps(spec.config),
        "GPUJOB_DATA": json.dumps(spec.data),
        "GPUJOB_CODE_TREE": spec.trainers_tree or spec.code_tree or "",
        "TMPDIR": temporary,
    }
    with contextlib.suppress(OSError):
        os.unlink(paths.secrets)
    return variables


def _upper(name: str) -> str:
    return "".join(c if c.isalnum() and c.isascii() else "_" for c in name.upper())
