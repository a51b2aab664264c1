"""gpujob as a library. `Client` runs the commands; `answers` are what they return, `errors` what they raise.

from gpujob import Client

client = Client("project")
run = client.deploy("train", on="gpubox").run
client.wait(run)
client.fetch(run)
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from orchestrator import __version__ as __version__

if TYPE_CHECKING:
    from gpujob.client import Client as Client
    from gpujob.client import DeployOptions as DeployOptions
    from orchestrator import errors as errors
    from orchestrator.view import answers as answers

__all__ = ["Client", "DeployOptions", "__version__", "answers", "errors"]


def __getattr__(name: str) -> Any:
    """Loads the rest when it is first used: `python -m gpujob` does without."""
    if name in ("Client", "DeployOptions"):
        return getattr(importlib.import_module("gpujob.client"), name)
    if name in ("answers", "errors"):
        return importlib.import_module(
            {"answers": "orchestrator.view.answers"}.get(name, "orchestrator.errors")
        )
    raise AttributeError(f"module 'gpujob' has no attribute {name!r}")
