"""Everything that a plan is made of."""

from __future__ import annotations

import posixpath
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING

import msgspec

from orchestrator.core import s3
from orchestrator.core.hostfacts import HostFacts, PythonFacts
from orchestrator.core.layout import Layout

if TYPE_CHECKING:  # `status` reads identities alone
    from orchestrator.core.spec import JobSpec

DEFAULT_ROOT = "~/.gpujob"


class Identity(msgspec.Struct, frozen=True):
    """Who deploys and when: all that makes two plans of the same inputs differ."""

    run_id: str
    created: float
    who: str
    mark: str
    client: str


def run_id(name: str, now: float, token: str) -> str:
    """`<job>-<UTC yyyymmddThhmmss>-<4 hex>`."""
    return f"{name}-{time.strftime('%Y%m%dT%H%M%S', time.gmtime(now))}-{token[:4]}"


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


class Node(msgspec.Struct, frozen=True):
    """One host of a run: its rank, and where the supervisor of rank 0 may be reached.

    `key`: what the supervisors prove to each other that they know. `mark`: finds the processes of this host.
    """

    rank: int
    hosts: tuple[str, ...]
    addresses: tuple[str, ...]
    port: int
    key: str
    mark: str


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
