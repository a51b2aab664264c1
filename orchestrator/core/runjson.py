"""run.json, which is written once for each run, and what a resume changes in it (docs/contract.md). Pure."""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import UNSET, UnsetType

from orchestrator.core import s3
from orchestrator.core.hostfacts import HostFacts
from orchestrator.core.inputs import CodeTree, DataInput, Environment, Interpreter, PlanInputs
from orchestrator.core.layout import Layout
from orchestrator.core.notify import Notify
from orchestrator.core.resources import Resources
from orchestrator.core.spec import JobSpec, Restart
from orchestrator.errors import UsageError

_TORCHRUN = ["-m", "torch.distributed.run"]


class PythonJson(msgspec.Struct, frozen=True, omit_defaults=True):
    """The interpreter. `over`: the one that its environment was built over, with `packages`."""

    path: str
    version: str = ""
    over: str = ""
    packages: tuple[str, ...] = ()
    requirements: str = ""
    setup: str = ""
    setup_folder: str = ""
    torch: str | None = None
    cuda: str | None = None


class DataJson(msgspec.Struct, frozen=True):
    """`path`: on the host. `source`: where the client had it, None where it was used in place."""

    path: str
    files: int
    bytes: int
    fingerprint: str
    source: str | None


class TreeJson(msgspec.Struct, frozen=True):
    """`patch`: of a `dirty` tree, what differs from the commit."""

    tree: str
    files: int
    bytes: int
    commit: str | None
    dirty: bool
    patch: str


class LimitsJson(msgspec.Struct, frozen=True):
    """`budget_hours`: what the budget pays for, None where that is unknown."""

    max_hours: float | None
    budget_usd: float | None
    budget_hours: float | None
    idle_minutes: float | None
    grace_seconds: float


class ImageJson(msgspec.Struct, frozen=True):
    name: str


class S3Json(s3.S3, frozen=True):
    """How S3 is reached. `mirror`: where results are copied to."""

    mirror: str | None = None


class GroupJson(msgspec.Struct, frozen=True):
    """Of a run over several hosts; see Node."""

    rank: int
    hosts: tuple[str, ...]
    addresses: tuple[str, ...]
    port: int


class RunJson(msgspec.Struct, frozen=True, kw_only=True):
    """The content of run.json. `env`: without the variables of pass_env. `mark`: finds its processes."""

    v: int = 1
    id: str
    job: str
    created: float
    who: str
    client: str
    mark: str
    source: str
    trainer: str | None
    argv: list[str]
    env: dict[str, str]
    python: PythonJson | None
    pass_env: list[str]
    notify: Notify | None
    config: dict[str, Any]
    data: dict[str, DataJson]
    code: TreeJson | None
    trainers: TreeJson | None
    resources: Resources
    limits: LimitsJson
    restart: Restart
    outputs: list[str]
    s3: S3Json | UnsetType = UNSET
    detach: str
    image: ImageJson | UnsetType = UNSET
    group: GroupJson | UnsetType = UNSET
    group_key: str | UnsetType = UNSET


class LimitChanges(msgspec.Struct, frozen=True, omit_defaults=True):
    max_hours: float | None = None
    budget_usd: float | None = None
    budget_hours: float | None = None


class GroupChanges(msgspec.Struct, frozen=True):
    """Where the hosts of a run are now."""

    hosts: tuple[str, ...]
    addresses: tuple[str, ...]


class RunChanges(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a resume sends instead of run.json."""

    id: str
    limits: LimitChanges | None = None
    group: GroupChanges | None = None


def compose(inputs: PlanInputs, facts: HostFacts, python: Interpreter | None) -> RunJson:
    job, who, node = inputs.job, inputs.identity, inputs.node
    return RunJson(
        id=who.run_id,
        job=job.name,
        created=who.created,
        who=who.who,
        client=who.client,
        mark=node.mark if node else who.mark,
        source=inputs.source,
        trainer=job.trainer,
        argv=argv(inputs, python.path if python else None),
        env=_env(inputs, facts, python),
        python=_python(python),
        pass_env=job.pass_env,
        notify=None if node and node.rank else job.notify,
        config=job.config,
        data={data.name: _data(data, facts.root) for data in inputs.data},
        code=_tree(inputs.code),
        trainers=_tree(inputs.trainers),
        resources=job.resources,
        limits=LimitsJson(
            job.limits.max_hours,
            job.limits.budget_usd,
            inputs.budget_hours,
            job.limits.idle_minutes,
            job.limits.grace_seconds,
        ),
        restart=job.restart,
        outputs=[name for name in job.outputs if not name.startswith(s3.SCHEME)],
        s3=_s3(job) if job.uses_s3 else UNSET,
        detach=job.detach,
        image=ImageJson(job.image) if job.image else UNSET,
        group=GroupJson(node.rank, node.hosts, node.addresses, node.port) if node else UNSET,
        group_key=node.key if node else UNSET,
    )


def _s3(job: JobSpec) -> S3Json:
    return S3Json(**msgspec.structs.asdict(job.s3), mirror=s3.mirror(job.outputs))


def argv(inputs: PlanInputs, python: str | None) -> list[str]:
    """The command of the run, one process a GPU; `python`: the interpreter's path."""
    job = inputs.job
    if job.command:
        first, *rest = job.command
        is_missing = first == "python" and inputs.facts is not None and inputs.facts.has_only_python3
        return ["python3" if is_missing else first, *rest]
    if not python or not job.trainer:
        raise UsageError("a job has either a trainer or a command")
    train = ["-m", "trainers", "train", job.trainer]
    gpus = job.resources.gpus
    processes = min(gpus, len(inputs.facts.gpus or ())) if inputs.facts else gpus
    if inputs.node:  # the other arguments of torchrun are variables that the supervisor sets
        return [python, *_TORCHRUN, "--nproc-per-node", str(max(1, processes)), *train]
    alone = [*_TORCHRUN, "--standalone", "--nproc-per-node", str(processes)]
    return [python, *alone, *train] if processes > 1 else [python, *train]


def _tree(tree: CodeTree | None) -> TreeJson | None:
    if tree is None:
        return None
    return TreeJson(tree.tree, tree.files, tree.bytes, tree.commit, tree.dirty, tree.patch)


def _data(data: DataInput, root: str) -> DataJson:
    source = data.path if data.is_stored else None
    return DataJson(data.path_on_host(root), data.files, data.bytes, data.fingerprint, source)


def _python(python: Interpreter | None) -> PythonJson | None:
    """The interpreter, and what its environment was made of."""
    if python is None:
        return None
    if not isinstance(python, Environment):
        return PythonJson(python.path, python.version, torch=python.torch, cuda=python.cuda)
    return PythonJson(
        python.path,
        python.base.version,
        python.base.path,
        python.packages,
        python.requirements,
        python.setup.script if python.setup else "",
        python.setup_folder,
        python.torch,
        python.cuda,
    )


def _env(inputs: PlanInputs, facts: HostFacts, python: Interpreter | None) -> dict[str, str]:
    env = dict(inputs.variables)
    if isinstance(python, Environment):  # as if it were activated
        home = python.path.rpartition("/bin/")[0]
        env |= {"VIRTUAL_ENV": home, "PATH": f"{home}/bin:{facts.path}"}
    if inputs.trainers:
        env["PYTHONPATH"] = Layout(facts.root).tree(inputs.trainers.tree)
    return env
