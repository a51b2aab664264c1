"""The trainers: every folder here that holds a `trainer.py`. There is no list to edit.

A trainer's folder holds:

- `config`: TITLE, DATA, Config; where needed the names of Description below. Standard library only.
- `trainer`: its class, a subclass of engine.trainer.Trainer.
- `file_checks` (optional): `scan(folders, config)` and CHECKS, the tier `files` of `check`. Standard library
  only.
- `sample` (optional): SIZE and `write(folder, size, seed, events)`, which writes sample data.
- `prepare` (optional): `run(sources, to, seed, events)`, which makes data of SOURCES.

Trainers may share the optional modules: SHARED in `config` names them.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from trainers.engine.check import Check
from trainers.engine.config import LoopConfig
from trainers.engine.health import Finding

if TYPE_CHECKING:
    from trainers.engine.trainer import Trainer

HERE = Path(__file__).parent


class Unknown(Exception):
    """No trainer has this name, or it has no such part."""


@dataclass(frozen=True)
class Description:
    """What a trainer's `config` module declares."""

    name: str
    title: str
    """TITLE: one line."""

    data: Mapping[str, str]
    """DATA: the name of each data folder to what it holds."""

    config: type[LoopConfig]
    """Config: the options."""

    optional: tuple[str, ...] = ()
    """OPTIONAL: names of DATA that may be left out."""

    either: bool = False
    """EITHER: of the data folders that are not optional, one is enough."""

    sources: Mapping[str, str] = field(default_factory=dict)
    """SOURCES: what `prepare` makes data of, name to what it is."""

    packages: tuple[str, ...] = ()
    """PACKAGES: what the trainer imports besides torch, numpy and safetensors; installed on a host."""

    paths: tuple[str, ...] = ()
    """PATHS: options that name a folder; a client sends each as the data folder of that name."""

    shared: Mapping[str, str] = field(default_factory=dict)
    """SHARED: the name of an optional module to the full name of the one that stands for it."""

    check_options: Callable[[Any], list[Finding]] = lambda config: []
    """`check_options(config)`: what is wrong with options that are sound one by one."""


def names() -> list[str]:
    """The names of the trainers; a folder's `_` is a `-` in its name."""
    folders = (path.parent.name for path in HERE.glob("*/config.py"))
    return sorted(name.replace("_", "-") for name in folders if name != "engine")


def _folder(name: str) -> str:
    if name not in names():
        raise Unknown(f"there is no trainer `{name}`; there are {', '.join(names())}")
    return f"trainers.{name.replace('-', '_')}"


def describe(name: str) -> Description:
    """What a trainer's `config` module declares. Needs the standard library alone."""
    module = import_module(f"{_folder(name)}.config")
    return Description(
        name,
        module.TITLE,
        module.DATA,
        module.Config,
        tuple(getattr(module, "OPTIONAL", ())),
        getattr(module, "EITHER", False),
        getattr(module, "SOURCES", {}),
        tuple(getattr(module, "PACKAGES", ())),
        tuple(getattr(module, "PATHS", ())),
        getattr(module, "SHARED", {}),
        getattr(module, "check_options", lambda config: []),
    )


def part(name: str, word: str) -> ModuleType | None:
    """An optional module of a trainer, its own or one that it shares; None where it has none."""
    module = describe(name).shared.get(word, f"{_folder(name)}.{word}")
    return import_module(module) if find_spec(module) else None


def require_part(name: str, word: str) -> ModuleType:
    """The same, or Unknown."""
    module = part(name, word)
    if module is None:
        raise Unknown(f"the trainer `{name}` has no {word}.py")
    return module


def file_checks(name: str) -> list[Check]:
    """The checks of the tier `files`. Needs the standard library alone."""
    module = part(name, "file_checks")
    return list(module.CHECKS) if module else []


def trainer(name: str) -> "type[Trainer]":
    """A trainer's class. Imports torch."""
    from trainers.engine.trainer import Trainer  # noqa: PLC0415 - imports torch

    module = import_module(f"{_folder(name)}.trainer")
    kinds = [value for value in vars(module).values() if isinstance(value, type)]
    return next(kind for kind in kinds if issubclass(kind, Trainer) and kind.__dict__.get("name") == name)


def checks(name: str, kind: "type[Trainer] | None" = None) -> list[Check]:
    """All checks of a trainer, those of the tier `files` first. Imports torch.

    A check of the data in the tier `full` is left out where one of the tier `files` has its code.
    """
    from trainers.engine import model_checks  # noqa: PLC0415 - imports torch

    first = file_checks(name)
    codes = {check.code for check in first}
    full = (kind or trainer(name)).checks(model_checks.CHECKS)
    return [*first, *(check for check in full if check.on_model or check.code not in codes)]


def listing() -> Iterator[dict[str, object]]:
    """One entry a trainer, as `python -m trainers list` prints it."""
    for name in names():
        described = describe(name)
        entry = {"name": name, "title": described.title, "data": described.data}
        yield {**entry, "sources": described.sources, "options": described.config().as_dict()}
