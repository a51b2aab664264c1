"""uv.lock and pyproject.toml → the text of a requirements file. Pure; a test compares it with `uv export`."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

import msgspec

from orchestrator.core import decode
from orchestrator.core.jsontext import Object
from orchestrator.errors import UsageError

LOCKED = "# the packages of uv.lock"
_PYPI = "https://pypi.org/simple"
_EXPORT = "uv export --frozen --no-emit-project > requirements.txt, and env.requirements: requirements.txt"


class _Edge(msgspec.Struct, frozen=True):
    name: str
    version: str = ""
    extra: tuple[str, ...] = ()
    marker: str = ""


class _File(msgspec.Struct, frozen=True):
    hash: str = ""


class _Package(msgspec.Struct, frozen=True, rename="kebab"):
    """`source`: the one key of it that is set says of which kind it is."""

    name: str
    version: str = ""
    source: dict[str, str] = {}
    dependencies: tuple[_Edge, ...] = ()
    optional_dependencies: dict[str, tuple[_Edge, ...]] = {}
    sdist: _File = _File()
    wheels: tuple[_File, ...] = ()

    @property
    def key(self) -> tuple[str, str]:
        return self.name, self.version


class _Lock(msgspec.Struct, frozen=True):
    version: int
    package: tuple[_Package, ...] = ()


_Paths = set[frozenset[str]]
"""Conditions under which a package is needed: any of these sets of markers, all of its markers."""


def is_locked(requirements: str) -> bool:
    """Whether a text for pip was made from a lock: it is installed apart from the host's packages."""
    return requirements.startswith(LOCKED)


def requirements(lock: Object, source: str) -> str:
    """Every package that the project needs, with version, condition and hashes. UsageError, with `source`."""
    parsed = decode.exact(lock.values, _Lock)
    if parsed is None or parsed.version != 1:
        raise UsageError(f"{source}: gpujob reads version 1 of uv.lock", "this is another", _EXPORT)
    root = [one for one in parsed.package if {"virtual", "editable"} & set(one.source) and _is_here(one)]
    if len(root) != 1:
        raise UsageError(f"{source}: the lock has {len(root)} projects", "gpujob reads one", _EXPORT)
    needed = _needed(parsed.package, root[0], source)
    lines, indexes = [], set[str]()
    for package, paths in needed:
        index = str(package.source.get("registry", ""))
        if index and index.rstrip("/") != _PYPI:
            indexes.add(index)
        lines.append(f"{_pin(package, source)}{_condition(paths)}")
    hashes = [_hashes(package) for package, _ in needed]
    if all(hashes):  # pip wants those of all packages or of none
        lines = [f"{line}{text}" for line, text in zip(lines, hashes, strict=True)]
    return "\n".join([LOCKED, *(f"--extra-index-url {one}" for one in sorted(indexes)), *lines, ""])


def _is_here(package: _Package) -> bool:
    return package.source.get("virtual", package.source.get("editable")) == "."


def _needed(packages: Sequence[_Package], root: _Package, source: str) -> list[tuple[_Package, _Paths]]:
    """By name; a package with extras is one for each of them."""
    by_key = {package.key: package for package in packages}
    only = {package.name: package for package in packages}
    smallest_paths: dict[tuple[tuple[str, str], str], _Paths] = {}
    pending: list[tuple[_Package, str, _Paths]] = [(root, "", {frozenset()})]
    while pending:
        package, extra, paths = pending.pop()
        known = smallest_paths.get((package.key, extra), set())
        smallest = _smallest(known | paths)
        if smallest == known:
            continue
        smallest_paths[package.key, extra] = smallest
        for edge in package.optional_dependencies.get(extra, ()) if extra else package.dependencies:
            to = by_key.get((edge.name, edge.version)) if edge.version else only.get(edge.name)
            if to is None:
                raise UsageError(
                    f"{source}: the lock does not have {edge.name} {edge.version}", "", "uv lock"
                )
            further = {path | {edge.marker} if edge.marker else path for path in smallest}
            pending += [(to, one, further) for one in ("", *edge.extra)]
    names = sorted(key for key, extra in smallest_paths if not extra and key != root.key)
    return [(by_key[key], smallest_paths[key, ""]) for key in names]


def _smallest(paths: _Paths) -> _Paths:
    """Without the sets that contain another: `a` holds wherever `a and b` does."""
    return {path for path in paths if not any(other < path for other in paths)}


def _condition(paths: _Paths) -> str:
    if frozenset() in paths:
        return ""
    together = sorted(" and ".join(f"({one})" for one in sorted(path)) for path in paths)
    return f" ; {' or '.join(together)}"


def _pin(package: _Package, source: str) -> str:
    kind = next((one for one in ("registry", "url", "git") if one in package.source), "")
    origin = str(package.source.get(kind, ""))
    if kind == "registry" and "://" in origin:
        return f"{package.name}=={package.version}"
    if kind == "url":
        return f"{package.name} @ {origin}"
    if kind == "git":
        address, _, commit = origin.partition("#")
        return f"{package.name} @ git+{address.partition('?')[0]}@{commit}"
    raise UsageError(f"{source}: {package.name} is a folder of this machine", "the host has no such folder")


def _hashes(package: _Package) -> str:
    hashes = sorted({one.hash for one in (package.sdist, *package.wheels) if one.hash})
    return "".join(f" --hash={one}" for one in hashes)


def project_requirements(project: Object, source: str) -> str:
    """The dependencies of a pyproject.toml. UsageError where it keeps them in another form than PEP 621's."""
    faults: list[str] = []
    table = Object(project.child("project").values, faults)
    dependencies = table.texts("dependencies")
    if faults or "project" not in project or "dependencies" in table.texts("dynamic"):
        why, fix = "its dependencies are not listed in [project]", "name a requirements file instead"
        raise UsageError(f"{source} cannot be used as env.requirements", why, fix)
    return "\n".join([*_lines(dependencies, source), ""])


def _lines(dependencies: Sequence[str], source: str) -> Iterator[str]:
    for one in dependencies:
        if re.search(r"@\s*(?:file:|[./])", one):
            raise UsageError(f"{source}: {one} is a file of this machine", "the host has no such file")
        yield " ".join(one.split())
