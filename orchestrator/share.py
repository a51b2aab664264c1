"""The files that come with gpujob: our job files, and the templates."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

_PACKAGE = Path(__file__).parent


def folder(name: str) -> Path:
    """`jobs` or `templates`: in a wheel below the package, in an editable install in the repository."""
    packaged = _PACKAGE / "_share" / name
    return packaged if packaged.is_dir() else _PACKAGE.parent / name


def trainers_package() -> Path:
    """Where the trainers lie; found, never imported."""
    spec = find_spec("trainers")
    assert spec is not None, "gpujob is installed without its trainers"
    assert spec.submodule_search_locations
    return Path(next(iter(spec.submodule_search_locations)))


def trainer_names() -> list[str]:
    """Every trainer of ours, by the folders that hold one."""
    found = {path.parent.name for path in trainers_package().glob("*/config.py")} - {"engine"}
    return sorted(name.replace("_", "-") for name in found)
