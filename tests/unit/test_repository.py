"""The files of the repository that other programs read: workflows, forms, hooks, the changelog."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support import REPOSITORY

GITHUB = REPOSITORY / ".github"
SCHEMAS = {
    "github-workflows": sorted((GITHUB / "workflows").iterdir()),
    "github-issue-forms": [GITHUB / "ISSUE_TEMPLATE" / "bug.yml", GITHUB / "ISSUE_TEMPLATE" / "feature.yml"],
    "github-issue-config": [GITHUB / "ISSUE_TEMPLATE" / "config.yml"],
    "dependabot": [GITHUB / "dependabot.yml"],
}


def load(path: Path) -> Any:
    return yaml.load(path.read_text("utf-8"), yaml.BaseLoader)


CI = load(GITHUB / "workflows" / "ci.yml")


@pytest.mark.parametrize("schema", SCHEMAS)
def test_files_of_github_fit_their_schema(schema: str, capsys: pytest.CaptureFixture[str]) -> None:
    import check_jsonschema  # noqa: PLC0415 - slow, and of use here alone

    words = ["--builtin-schema", f"vendor.{schema}", *map(str, SCHEMAS[schema])]
    assert check_jsonschema.main(words, standalone_mode=False) == 0, capsys.readouterr()


def test_every_job_of_a_workflow_has_a_time_limit_and_few_rights() -> None:
    assert CI["permissions"] == {"contents": "read"}
    assert [name for name, job in CI["jobs"].items() if "timeout-minutes" not in job] == []


def test_the_unit_tests_run_on_every_python_from_the_oldest_on() -> None:
    matrix = CI["jobs"]["unit"]["strategy"]["matrix"]
    project = (REPOSITORY / "pyproject.toml").read_text("utf-8")  # tomllib is newer than the oldest Python
    assert matrix["python"] == ["3.10", "3.11", "3.12", "3.13", "3.14"]
    assert f'requires-python = ">={matrix["python"][0]}"' in project
    assert set(re.findall(r":: Python :: (3\.\d+)\"", project)) <= set(matrix["python"])
    assert any(one["os"].startswith("macos") for one in matrix["include"])


def test_the_workflow_runs_what_make_check_and_make_test_run() -> None:
    makefile = (REPOSITORY / "Makefile").read_text("utf-8")
    target = makefile.partition("\ncheck:")[2].partition("\n\n")[0]
    steps = [step["run"].replace(" --output-format github", "") for step in CI["jobs"]["check"]["steps"][2:]]
    assert steps[2:] == re.findall(r"\$\(BIN\)/(.*)", target)
    assert "make test " in CI["jobs"]["all"]["steps"][-1]["run"]


def test_every_hook_of_a_commit_is_a_command_of_the_environment() -> None:
    repos = load(REPOSITORY / ".pre-commit-config.yaml")["repos"]
    local = [hook for repo in repos if repo["repo"] == "local" for hook in repo["hooks"]]
    assert {hook["entry"].split()[0] for hook in local} == {
        ".venv/bin/ruff",
        ".venv/bin/mypy",
        ".venv/bin/lint-imports",
    }
    assert all(re.match(r"v\d", repo["rev"]) for repo in repos if repo["repo"] != "local")


def test_files_are_as_the_hooks_of_a_commit_leave_them() -> None:
    tracked = subprocess.run(["git", "ls-files", "-z"], cwd=REPOSITORY, capture_output=True, check=False)
    wrong = []
    for name in filter(None, tracked.stdout.decode().split("\0")):
        path = REPOSITORY / name
        if name.startswith("tests/fixtures/") or path.is_symlink() or not path.is_file():
            continue
        content = path.read_bytes()
        if b"\0" not in content and (
            re.search(rb"[ \t]+\r?$", content, re.MULTILINE) or content[-1:] not in (b"", b"\n")
        ):
            wrong.append(name)
    assert wrong == []


def test_the_changelog_has_versions_with_sections_of_keep_a_changelog() -> None:
    text = (REPOSITORY / "CHANGELOG.md").read_text("utf-8")
    versions = re.findall(r"^## (.*)$", text, re.MULTILINE)
    assert versions
    assert all(
        re.fullmatch(r"\d+\.\d+\.\d+ \((unreleased|\d{4}-\d{2}-\d{2})\)", version) for version in versions
    )
    kinds = ["Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"]
    for part in text.split("\n## ")[1:]:
        found = re.findall(r"^### (.*)$", part, re.MULTILINE)
        assert found == [kind for kind in kinds if kind in found]
