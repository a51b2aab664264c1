"""uv.lock → requirements. The expected packages are those of `uv export --frozen` of uv 0.13."""

from __future__ import annotations

from typing import Any

import pytest

from orchestrator.core import uvlock
from orchestrator.core.jsontext import Object
from orchestrator.errors import UsageError

PYPI = {"registry": "https://pypi.org/simple"}
CUDA = {"registry": "https://download.pytorch.org/whl/cu126"}
OLD, NEW = "python_full_version < '3.11'", "python_full_version >= '3.11'"


def lock(
    *packages: dict[str, Any], dependencies: list[dict[str, Any]], source: str = "virtual"
) -> dict[str, Any]:
    root = {"name": "mine", "version": "0", "source": {source: "."}, "dependencies": dependencies}
    return {"version": 1, "package": [root, *packages]}


def package(name: str, version: str, *needs: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"name": name, "version": version, "source": PYPI, "dependencies": list(needs), **more}


def lines(content: dict[str, Any]) -> list[str]:
    first, *rest = uvlock.requirements(Object(content), "uv.lock").splitlines()
    assert uvlock.is_locked(first)
    return rest


def test_a_package_is_needed_where_any_path_to_it_is() -> None:
    content = lock(
        package("a", "1", {"name": "c"}),
        package("b", "2", {"name": "c", "marker": "os_name == 'nt'"}, {"name": "a"}),
        package("c", "3"),
        dependencies=[{"name": "a", "marker": OLD}, {"name": "b", "marker": NEW}],
    )
    assert lines(content) == [
        f"a==1 ; ({OLD}) or ({NEW})",
        f"b==2 ; ({NEW})",
        f"c==3 ; ({OLD}) or ({NEW})",
    ]


def test_versions_for_other_pythons_keep_their_conditions() -> None:
    content = lock(
        package("numpy", "2.2"),
        package("numpy", "2.4"),
        dependencies=[
            {"name": "numpy", "version": "2.2", "marker": OLD},
            {"name": "numpy", "version": "2.4", "marker": NEW},
        ],
    )
    assert lines(content) == [f"numpy==2.2 ; ({OLD})", f"numpy==2.4 ; ({NEW})"]


def test_extras_circles_and_other_indexes_of_a_lock_are_followed() -> None:
    optional = {"socks": [{"name": "pysocks"}], "unused": [{"name": "absent"}]}
    content = lock(
        {**package("requests", "1", {"name": "idna"}), "optional-dependencies": optional},
        package("pysocks", "2", {"name": "requests"}),
        package("idna", "3"),
        package("torch", "2.7+cu126", source=CUDA),
        dependencies=[{"name": "requests", "extra": ["socks"]}, {"name": "torch"}],
    )
    expected = ["idna==3", "pysocks==2", "requests==1", "torch==2.7+cu126"]
    assert lines(content) == [f"--extra-index-url {CUDA['registry']}", *expected]


def test_hashes_of_a_lock_are_kept_if_all_packages_have_them() -> None:
    first = package("a", "1", sdist={"hash": "sha256:1"}, wheels=[{"hash": "sha256:2"}])
    assert lines(lock(first, dependencies=[{"name": "a"}])) == ["a==1 --hash=sha256:1 --hash=sha256:2"]
    git = {**package("b", "2"), "source": {"git": "https://example.org/b?rev=main#0123"}}
    both = lines(lock(first, git, dependencies=[{"name": "a"}, {"name": "b"}]))
    assert both == ["a==1", "b @ git+https://example.org/b@0123"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"version": 2}, "version 1"),
        ({"version": 1, "package": []}, "0 projects"),
        ({"version": 1, "package": "x"}, "version 1"),
        (lock(dependencies=[{"name": "absent"}]), "does not have absent"),
        (
            lock({**package("a", "1"), "source": {"directory": "../a"}}, dependencies=[{"name": "a"}]),
            "a folder",
        ),
    ],
)
def test_a_lock_that_cannot_be_used_is_refused(content: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError) as error:
        uvlock.requirements(Object(content), "job.yaml:3: uv.lock")
    assert error.value.what.startswith("job.yaml:3: uv.lock: ")
    assert message in error.value.what


def test_a_pyproject_gives_its_dependencies_or_says_why_not() -> None:
    project = {"project": {"dependencies": ["numpy >= 2", "torch; sys_platform == 'linux'"]}}
    assert (
        uvlock.project_requirements(Object(project), "p").split("\n")[:2]
        == project["project"]["dependencies"]
    )
    for other in ({}, {"tool": {"poetry": {}}}, {"project": {"dynamic": ["dependencies"]}}):
        with pytest.raises(UsageError):
            uvlock.project_requirements(Object(other), "p")
    with pytest.raises(UsageError):
        uvlock.project_requirements(Object({"project": {"dependencies": ["x @ file:///x"]}}), "p")
