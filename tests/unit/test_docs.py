"""The pages of the documentation: valid links, and a short README."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from orchestrator.core.jobschema import json_schema
from tests.support import REPOSITORY

PAGES = [*sorted(REPOSITORY.glob("*.md")), *sorted((REPOSITORY / "docs").glob("*.md"))]
_LINK = re.compile(r"\]\((?!https?:)([^)#\s]*)(?:#([^)\s]+))?\)")


def anchors(page: Path) -> set[str]:
    """Return the anchors that GitHub creates for headings."""
    headings = re.findall(r"^#+ (.*)$", page.read_text("utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_of_a_page_leads_to_a_file_and_a_heading(page: Path) -> None:
    broken = []
    for path, anchor in _LINK.findall(page.read_text("utf-8")):
        target = page.parent / path if path else page
        if not target.exists() or (anchor and anchor not in anchors(target)):
            broken.append(f"{path}#{anchor}")
    assert broken == []


def test_the_readme_is_short_and_links_every_page_of_docs() -> None:
    text = (REPOSITORY / "README.md").read_text("utf-8")
    assert len(text.splitlines()) < 150
    assert [
        page.name for page in PAGES if page.parent.name == "docs" and f"docs/{page.name}" not in text
    ] == []


def test_the_page_of_the_job_file_names_every_key() -> None:
    text = (REPOSITORY / "docs" / "job-file.md").read_text("utf-8")
    definitions = json_schema()["$defs"]
    structs = {"env": "Env", "resources": "Resources", "limits": "Limits", "restart": "Restart"}
    nested = [
        f"{key}.{name}" for key, struct in structs.items() for name in definitions[struct]["properties"]
    ]
    nested += [f"resources.ec2.{name}" for name in definitions["Ec2"]["properties"]]
    plain = set(definitions["JobSpec"]["properties"]) - set(structs)
    assert [key for key in (*sorted(plain), *nested) if f"| `{key}` |" not in text] == ["resources.ec2"]


def test_every_claim_of_the_security_page_has_a_test_that_exists() -> None:
    text = (REPOSITORY / "SECURITY.md").read_text("utf-8")
    rows = [line for line in text.splitlines() if line.startswith("| ") and not line.startswith("| claim")]
    assert len(rows) > 25
    wrong = []
    for row in rows:
        tests = re.findall(r"`(tests/[^`]+)::(\w+)`", row)
        for file, name in tests:
            code = (REPOSITORY / file).read_text("utf-8")
            wrong += [] if re.search(rf"^def {name}\(", code, re.MULTILINE) else [f"{file}::{name}"]
        wrong += [] if tests else [row]
    assert wrong == []
