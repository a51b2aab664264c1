"""run.json, written once: what a run is made of (docs/contract.md). Pure."""

from __future__ import annotations

from typing import Any

from orchestrator.core.hostfacts import HostFacts
from orchestrator.core.inputs import CodeTree, DataInput, PlanInputs
from orchestrator.core.interpreters import Environment, Interpreter
from orchestrator.core.layout import Layout
from orchestrator.errors import UsageError

_TORCHRUN = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node"]


def compose(inputs: PlanInputs, facts: HostFacts, python: Interpreter | None) -> dict[str, Any]:
    job, who = inputs.job, inputs.identity
    return {
        "v": 1,
        "id": who.run_id,
        "job": job.name,
        "created": who.created,
        "who": who.who,
        "client": who.client,
        "mark": who.mark,
        "source": inputs.source,
        "trainer": job.trainer,
        "argv": argv(inputs, python.path if python else None),
        "env": _env(inputs, facts, python),
        "python": _python(python),
        "pass_env": job.pass_env,
        "config": job.config,
        "data": {data.name: _data(data, facts.root) for data in inputs.data},
        "code": _tree(inputs.code),
        "trainers": _tree(inputs.trainers),
        "resources": {"gpus": job.resources.gpus},
        "limits": {
            "max_hours": job.limits.max_hours,
            "idle_minutes": job.limits.idle_minutes,
            "grace_seconds": job.limits.grace_seconds,
        },
        "restart": {"max": job.restart.max},
        "outputs": job.outputs,
    }


def argv(inputs: PlanInputs, python: str | None) -> list[str]:
    """The command of the run, one process a GPU; `python`: the interpreter's path."""
    job = inputs.job
    if job.command:
        return list(job.command)
    if not python or not job.trainer:
        raise UsageError("a job has either a trainer or a command")
    train = ["-m", "trainers", "train", job.trainer]
    gpus = job.resources.gpus
    processes = min(gpus, len(inputs.facts.gpus or ())) if inputs.facts else gpus
    return [python, *_TORCHRUN, str(processes), *train] if processes > 1 else [python, *train]


def _tree(tree: CodeTree | None) -> dict[str, Any] | None:
    return {key: value for key, value in vars(tree).items() if key != "role"} if tree else None


def _data(data: DataInput, root: str) -> dict[str, Any]:
    return {
        "path": data.path_on_host(root),
        "files": data.files,
        "bytes": data.bytes,
        "fingerprint": data.fingerprint,
        "source": data.path if data.upload else None,
    }


def _python(python: Interpreter | None) -> dict[str, Any] | None:
    """The interpreter, and what its environment was made of."""
    if python is None:
        return None
    record: dict[str, Any] = {"path": python.path}
    if isinstance(python, Environment):
        record |= {
            "version": python.base.version,
            "over": python.base.path,
            "packages": list(python.packages),
        }
        record["requirements"] = python.requirements
    else:
        record["version"] = python.version
    record |= {"torch": python.torch, "cuda": python.cuda}
    return {name: value for name, value in record.items() if value}


def _env(inputs: PlanInputs, facts: HostFacts, python: Interpreter | None) -> dict[str, str]:
    env = {}
    if isinstance(python, Environment):  # as if it were activated
        home = python.path.rpartition("/bin/")[0]
        env = {"VIRTUAL_ENV": home, "PATH": f"{home}/bin:{facts.path}"}
    if inputs.trainers:
        env["PYTHONPATH"] = Layout(facts.root).tree(inputs.trainers.tree)
    return env
