"""Everything that a plan is made of."""

from __future__ import annotations

import posixpath
from dataclasses import dataclass
from typing import TYPE_CHECKING

from orchestrator.core.layout import Layout

if TYPE_CHECKING:  # `status` reads identities alone
    from orchestrator.core.hostfacts import HostFacts
    from orchestrator.core.spec import JobSpec

DEFAULT_ROOT = "~/.gpujob"


@dataclass(frozen=True)
class Identity:
    """Who deploys and when: all that makes two plans of the same inputs differ."""

    run_id: str
    created: float
    who: str
    mark: str
    client: str


@dataclass(frozen=True)
class CodeTree:
    """A code tree that the run needs on the host. `role`: job or trainers."""

    role: str
    tree: str
    files: int
    bytes: int
    commit: str | None = None
    dirty: bool = False
    patch: str = ""


@dataclass(frozen=True)
class DataInput:
    """A data folder, or one file. `upload`: sent from the client; else the run reads it at `path`."""

    name: str
    path: str
    files: int
    bytes: int
    fingerprint: str
    upload: bool = False
    is_file: bool = False

    def path_on_host(self, root: str) -> str:
        """Where the run finds it; `root` is the host's."""
        if not self.upload:
            return self.path
        folder = posixpath.join(Layout(root).data, self.name, self.fingerprint)
        return posixpath.join(folder, posixpath.basename(self.path)) if self.is_file else folder


@dataclass(frozen=True)
class PlanInputs:
    """`facts`: None where the host does not exist yet. `requirements`: the text of a file for pip.
    `packages`: what the trainer imports besides what every trainer does. `survives_logout`: see Target."""

    job: JobSpec
    source: str
    target: str
    identity: Identity
    facts: HostFacts | None
    code: CodeTree | None
    trainers: CodeTree | None
    data: tuple[DataInput, ...]
    share_gpu: bool = False
    requirements: str | None = None
    packages: tuple[str, ...] = ()
    survives_logout: bool = False

    @property
    def root(self) -> str:
        """The folder of gpujob on the host."""
        return self.facts.root if self.facts else DEFAULT_ROOT

    @property
    def trees(self) -> list[CodeTree]:
        return [tree for tree in (self.code, self.trainers) if tree]
