"""The trainers there are: every folder here that holds a `task.py`. No list to edit."""

from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from types import ModuleType

HERE = Path(__file__).parent


class Unknown(Exception):
    """No trainer has this name."""


def names() -> list[str]:
    """The names of the trainers; a folder's `_` is a `-` in its name."""
    return sorted(
        path.parent.name.replace("_", "-") for path in HERE.glob("*/task.py") if path.parent.name != "engine"
    )


def _module(name: str, part: str) -> ModuleType:
    if name not in names():
        raise Unknown(f"there is no trainer `{name}`; there are {', '.join(names())}")
    return import_module(f"trainers.{name.replace('-', '_')}.{part}")


def describe(name: str) -> ModuleType:
    """The trainer's `config` module: TITLE, DATA, Config. Needs the standard library alone."""
    return _module(name, "config")


def rules(name: str) -> ModuleType:
    """The trainer's `rules` module: what `check` asks of names, labels and splits. Likewise."""
    return _module(name, "rules")


def task(name: str) -> ModuleType:
    """The trainer's `task` module. Imports numpy and torch."""
    return _module(name, "task")


def probes(name: str) -> ModuleType:
    """The trainer's `probes` module: what `check` asks of data, task and model. Likewise."""
    return _module(name, "probes")


def sample(name: str) -> ModuleType:
    """The trainer's `sample` module, which writes sample data. Imports numpy."""
    return _module(name, "sample")


def prepare(name: str) -> ModuleType:
    """The trainer's `prepare` module, which makes data of its SOURCES; only where it has some."""
    return _module(name, "prepare")


def listing() -> Iterator[dict[str, object]]:
    """One entry a trainer, as `python -m trainers list` prints it."""
    for name in names():
        module = describe(name)
        sources = getattr(module, "SOURCES", {})
        told = {"title": module.TITLE, "data": module.DATA, "sources": sources}
        yield {"name": name, **told, "options": module.Config().as_dict()}
