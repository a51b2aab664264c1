"""Finds the trainers: a trainer is a folder of `trainers/` with `config.py` and `trainer.py`.

A trainer's folder holds:

- `config`: TITLE, DATA, Config, and optionally the other names of Description. Standard library only.
- `trainer`: a subclass of engine.trainer.Trainer whose `name` is the folder's name.
- `file_checks` (optional): `scan(folders, config)` and CHECKS, the tier `files` of `check`. Standard library
  only.
- `sample` (optional): SIZE and `write(folder, size, seed, events)`, which writes sample data.
- `prepare` (optional): `run(sources, to, seed, events)`, which converts SOURCES to data folders.

An optional module may lie outside the trainer's folder: SHARED in `config` gives its full name.
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
    """No trainer has this name, or the trainer lacks the optional module."""


@dataclass(frozen=True)
class Description:
    """What a trainer's `config` module declares."""

    name: str
    title: str
    """TITLE: one line."""

    data: Mapping[str, str]
    """DATA: name of each data folder to a description of its content."""

    config: type[LoopConfig]
    """Config: the options."""

    optional: tuple[str, ...] = ()
    """OPTIONAL: names of DATA that may be left out."""

    either: bool = False
    """EITHER: whether one of the required data folders is enough."""

    sources: Mapping[str, str] = field(default_factory=dict)
    """SOURCES: name of each input of `prepare` to its description."""

    packages: tuple[str, ...] = ()
    """PACKAGES: packages to install on the host besides torch, numpy and safetensors."""

    paths: tuple[str, ...] = ()
    """PATHS: options whose value is a folder; the client sends it as the data folder of the same name."""

    shared: Mapping[str, str] = field(default_factory=dict)
    """SHARED: name of an optional module (such as `prepare`) to the full name of the module used for it."""

    check_options: Callable[[Any], list[Finding]] = lambda config: []
    """`check_options(config)`: findings about options that are valid alone but not together."""


def names() -> list[str]:
    """The sorted names of all trainers: folder names with `-` for `_`."""
    folders = (path.parent.name for path in HERE.glob("*/config.py"))
    return sorted(name.replace("_", "-") for name in folders if name != "engine")


def _folder(name: str) -> str:
    if name not in names():
        raise Unknown(f"there is no trainer `{name}`; there are {', '.join(names())}")
    return f"trainers.{name.replace('-', '_')}"


def describe(name: str) -> Description:
    """The declarations of a trainer's `config` module. Needs only the standard library. Raises Unknown."""
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
    """Import an optional module (`word`, such as `prepare`) of a trainer, its own or one named in SHARED.

    Returns None if there is none.
    """
    module = describe(name).shared.get(word, f"{_folder(name)}.{word}")
    return import_module(module) if find_spec(module) else None


def require_part(name: str, word: str) -> ModuleType:
    """Import an optional module of a trainer, as `part` does. Raises Unknown if there is none."""
    module = part(name, word)
    if module is None:
        raise Unknown(f"the trainer `{name}` has no {word}.py")
    return module


def file_checks(name: str) -> list[Check]:
    """The trainer's checks of the tier `files`. Needs only the standard library."""
    module = part(name, "file_checks")
    return list(module.CHECKS) if module else []


def trainer(name: str) -> "type[Trainer]":
    """The Trainer subclass with this name. Imports torch. Raises Unknown."""
    from trainers.engine.trainer import Trainer  # noqa: PLC0415 - imports torch

    module = import_module(f"{_folder(name)}.trainer")
    kinds = [value for value in vars(module).values() if isinstance(value, type)]
    for kind in kinds:
        if issubclass(kind, Trainer) and kind.__dict__.get("name") == name:
            return kind
    path = module.__name__.replace(".", "/")
    raise Unknown(f"{path}.py has no subclass of Trainer with name = {name!r}")


def checks(name: str, kind: "type[Trainer] | None" = None) -> list[Check]:
    """All checks of a trainer, those of the tier `files` first. Imports torch.

    A data check of the tier `full` is left out if a check of the tier `files` has the same code.
    """
    from trainers.engine import model_checks  # noqa: PLC0415 - imports torch

    first = file_checks(name)
    codes = {check.code for check in first}
    full = (kind or trainer(name)).checks(model_checks.CHECKS)
    return [*first, *(check for check in full if check.on_model or check.code not in codes)]


def listing() -> Iterator[dict[str, object]]:
    """Yield one dict per trainer, as `python -m trainers list` prints it."""
    for name in names():
        described = describe(name)
        entry = {"name": name, "title": described.title, "data": described.data}
        yield {**entry, "sources": described.sources, "options": described.config().as_dict()}
