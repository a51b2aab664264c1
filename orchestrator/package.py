"""The files that come with gpujob: job files, templates, and the trainers."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

_PACKAGE = Path(__file__).parent


def folder(name: str) -> Path:
    """`jobs` or `templates`: below the package in a wheel, in the repository in an editable install."""
    packaged = _PACKAGE / "_share" / name
    return packaged if packaged.is_dir() else _PACKAGE.parent / name


def trainers_folder() -> Path:
    """The package `trainers`, which is located but not imported."""
    spec = find_spec("trainers")
    assert spec is not None, "gpujob is installed without its trainers"
    assert spec.submodule_search_locations
    return Path(next(iter(spec.submodule_search_locations)))


def trainer_names() -> list[str]:
    """Every trainer that comes with gpujob, by its folder."""
    names = {path.parent.name for path in trainers_folder().glob("*/config.py")} - {"engine"}
    return sorted(name.replace("_", "-") for name in names)
