"""The process of forkedworkers.py: `python -I workerserver.py ADDRESS OWNER ROOT`.

It forks one worker for each `python workerserver.py ADDRESS -u -c CODE`, which stands for it, and ends
with the process OWNER.
"""

from __future__ import annotations

import importlib
import pkgutil
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent / "torchpython"))

THREADS = {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"}
PRELOADED = (
    *("numpy", "safetensors.torch", "torch", "torch.utils.data", "torch._dynamo", "optuna", "fabric"),
    *("boto3", "moto.ec2.models", "moto.s3.models", "moto.server"),
)
PROGRAMS = ("orchestrator", "trainers")


def main(address: str, owner: str, root: str) -> None:
    import server  # noqa: PLC0415 - slow for what stands for a worker

    for name in PRELOADED:
        importlib.import_module(name)
    sys.path.insert(0, root)
    for program in map(importlib.import_module, PROGRAMS):
        for module in pkgutil.walk_packages(program.__path__, f"{program.__name__}."):
            if not module.name.endswith("__main__"):
                importlib.import_module(module.name)
    server.serve(address, int(owner), lambda request: server.exit_code(lambda: _work(request)))


def _work(request: dict[str, Any]) -> None:
    exec(request["words"][-1], {"__name__": "__main__"})


if __name__ == "__main__":
    if sys.argv[2] == "-u":
        import forward

        forward.hand_over(sys.argv[1], {"words": sys.argv[2:]})
        sys.exit("the process that forks the workers has ended")
    main(*sys.argv[1:])
