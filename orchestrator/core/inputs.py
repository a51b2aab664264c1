"""Everything that a plan is made of, and the run.json that it writes."""

from __future__ import annotations

import posixpath
from collections.abc import Mapping
from typing import TYPE_CHECKING

from orchestrator.core import s3
from orchestrator.core.layout import Layout

if TYPE_CHECKING:  # `status` reads identities alone
    from orchestrator.core.groups import Node
    from orchestrator.core.hostfacts import HostFacts, PythonFacts
    from orchestrator.core.spec import JobSpec


from typing import Any

import msgspec

from orchestrator.core.hostfacts import HostFacts, PythonFacts
from orchestrator.errors import UsageError

DEFAULT_ROOT = "~/.gpujob"


class Identity(msgspec.Struct, frozen=True):
    """Who deploys and when: all that makes two plans of the same inputs differ."""

    run_id: str
    created: float
    who: str
    mark: str
    client: str


class CodeTree(msgspec.Struct, frozen=True):
    """A code tree that the run needs on the host. `role`: job or trainers."""

    role: str
    tree: str
    files: int
    bytes: int
    commit: str | None = None
    dirty: bool = False
    patch: str = ""


class DataInput(msgspec.Struct, frozen=True):
    """A data folder, or one file. `upload`: sent from the client; `listing`: the host downloads it from S3;
    else the run reads it at `path`."""

    name: str
    path: str
    files: int
    bytes: int
    fingerprint: str
    upload: bool = False
    is_file: bool = False
    listing: s3.Listing | None = None

    @property
    def is_stored(self) -> bool:
        """Whether gpujob keeps a copy below its folder on the host."""
        return self.upload or self.listing is not None

    def path_on_host(self, root: str) -> str:
        """Where the run finds it; `root` is the host's."""
        if not self.is_stored:
            return self.path
        folder = posixpath.join(Layout(root).data, self.name, self.fingerprint)
        return posixpath.join(folder, posixpath.basename(self.path)) if self.is_file else folder


class Setup(msgspec.Struct, frozen=True):
    """A script that is run once in an environment, with copies of `files` of the code `tree`.

    `digest`: what the script, the content of the files and the `variables` come to.
    """

    script: str
    tree: str
    files: tuple[str, ...]
    digest: str
    variables: dict[str, str]


class Environment(msgspec.Struct, frozen=True):
    """A venv below `env/<key>` on the host, built once over the interpreter `base`, with what that lacks.

    `requirements` is the text of a file for pip, `keep` a version that it may not replace. `isolated`: the
    packages of `base` are not visible in it.
    """

    key: str
    path: str
    base: PythonFacts
    packages: tuple[str, ...]
    requirements: str = ""
    keep: str = ""
    isolated: bool = False
    setup: Setup | None = None

    @property
    def setup_folder(self) -> str:
        """The folder in which setup was run, whose files each run gets."""
        return self.path.removesuffix("/bin/python") + "/work" if self.setup else ""

    @property
    def torch(self) -> str | None:
        return None if self.isolated else self.base.torch

    @property
    def cuda(self) -> str | None:
        return None if self.isolated else self.base.cuda


Interpreter = PythonFacts | Environment


class PlanInputs(msgspec.Struct, frozen=True):
    """`facts`: None where the host does not exist yet. `requirements`: the text of a file for pip.
    `packages`: what the trainer imports besides what every trainer does. `survives_logout`: see Target.
    `warnings`: what the user should know before anything is sent. `imports`: known packages that the code of
    a command imports. `variables`: of env.vars and env.file. `setup`: see Setup. `budget_hours`: what
    limits.budget_usd pays for, None where that is unknown. `node`: of a run over several hosts, this one.
    `queue`: the run may wait for its GPUs."""

    job: JobSpec
    source: str
    target: str
    identity: Identity
    facts: HostFacts | None
    code: CodeTree | None
    trainers: CodeTree | None
    data: tuple[DataInput, ...]
    share_gpu: bool = False
    queue: bool = False
    requirements: str | None = None
    packages: tuple[str, ...] = ()
    survives_logout: bool = False
    warnings: tuple[str, ...] = ()
    imports: tuple[str, ...] = ()
    variables: Mapping[str, str] = msgspec.field(default_factory=dict)
    budget_hours: float | None = None
    setup: Setup | None = None
    node: Node | None = None

    @property
    def root(self) -> str:
        """The folder of gpujob on the host."""
        return self.facts.root if self.facts else DEFAULT_ROOT

    @property
    def trees(self) -> list[CodeTree]:
        return [tree for tree in (self.code, self.trainers) if tree]


_TORCHRUN = ["-m", "torch.distributed.run"]


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
        "notify": None if inputs.node and inputs.node.rank else msgspec.to_builtins(job.notify),
        "config": job.config,
        "data": {data.name: _data(data, facts.root) for data in inputs.data},
        "code": _tree(inputs.code),
        "trainers": _tree(inputs.trainers),
        "resources": msgspec.to_builtins(job.resources),
        "limits": {
            "max_hours": job.limits.max_hours,
            "budget_usd": job.limits.budget_usd,
            "budget_hours": inputs.budget_hours,
            "idle_minutes": job.limits.idle_minutes,
            "grace_seconds": job.limits.grace_seconds,
        },
        "restart": {"max": job.restart.max},
        "outputs": [name for name in job.outputs if not s3.is_place(name)],
        **_s3(job),
        "detach": job.detach,
        **({"image": {"name": job.image}} if job.image else {}),
        **(inputs.node.record() if inputs.node else {}),
    }


def _s3(job: JobSpec) -> dict[str, Any]:
    """How S3 is reached, for a run whose data or outputs are there."""
    if not any(map(s3.is_place, [*job.data.values(), *job.outputs])):
        return {}
    return {"s3": {**msgspec.to_builtins(job.s3), "mirror": s3.mirror(job.outputs)}}


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


def _tree(tree: CodeTree | None) -> dict[str, Any] | None:
    return (
        {key: value for key, value in msgspec.structs.asdict(tree).items() if key != "role"} if tree else None
    )


def _data(data: DataInput, root: str) -> dict[str, Any]:
    return {
        "path": data.path_on_host(root),
        "files": data.files,
        "bytes": data.bytes,
        "fingerprint": data.fingerprint,
        "source": data.path if data.is_stored else None,
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
        if python.setup:
            record |= {"setup": python.setup.script, "setup_folder": python.setup_folder}
    else:
        record["version"] = python.version
    record |= {"torch": python.torch, "cuda": python.cuda}
    return {name: value for name, value in record.items() if value}


def _env(inputs: PlanInputs, facts: HostFacts, python: Interpreter | None) -> dict[str, str]:
    env = dict(inputs.variables)
    if isinstance(python, Environment):  # as if it were activated
        home = python.path.rpartition("/bin/")[0]
        env |= {"VIRTUAL_ENV": home, "PATH": f"{home}/bin:{facts.path}"}
    if inputs.trainers:
        env["PYTHONPATH"] = Layout(facts.root).tree(inputs.trainers.tree)
    return env
