"""The pages of the documentation: valid links, and a short README."""

from __future__ import annotations

import html
import re
from pathlib import Path

import pytest

from docs.job_schema import json_schema
from orchestrator.cli.help import Group
from tests.rigs import pages
from tests.rigs.commandtree import ROOT
from tests.support import REPOSITORY

PAGES = pages.pages()
CODE = "\n".join(
    path.read_text("utf-8")
    for folder in ("orchestrator", "trainers", "gpujob", "tests")
    for path in sorted((REPOSITORY / folder).rglob("*.py"))
)
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


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_module_and_class_that_a_page_names_exists(page: Path) -> None:
    text = page.read_text("utf-8")
    modules = re.findall(r"`((?:orchestrator|trainers|tests|benchmarks|templates)/[\w/.-]+)`", text)
    made = {*pages.files(page), *re.findall(r"Create `([^`]+)`", text)}
    assert [name for name in modules if name not in made and not (REPOSITORY / name).exists()] == []
    classes = re.findall(r"`([A-Z][a-z]+(?:[A-Z][a-z]+)+)`", text)
    assert [name for name in classes if name not in CODE and f"class {name}" not in text] == []


def test_the_readme_is_short_and_the_index_links_every_page() -> None:
    readme = (REPOSITORY / "README.md").read_text("utf-8")
    assert len(readme.splitlines()) < 150
    assert "docs/index.md" in readme
    index = (REPOSITORY / "docs" / "index.md").read_text("utf-8")
    names = {page.stem for page in (REPOSITORY / "docs").glob("*.md")} - {"index"}
    assert names - set(index.splitlines()) == set()


def test_the_page_of_the_job_file_names_every_key() -> None:
    text = (REPOSITORY / "docs" / "job-file.md").read_text("utf-8")
    definitions = json_schema()["$defs"]
    structs = {
        "env": "Env",
        "resources": "Resources",
        "limits": "Limits",
        "restart": "Restart",
        "s3": "S3",
        "sweep": "Sweep",
    }
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


BLOCKS = [block for page in pages.pages() for block in pages.blocks(page)]
COMMANDS = [block for block in BLOCKS if block.language == "sh"]


def test_blocks_that_hold_commands_are_fenced_as_such() -> None:
    starts = ("gpujob ", "make ", "pip", "uv ", ".venv/")
    wrong = [b.place for b in BLOCKS if b.language == "" and b.text.startswith(starts)]
    assert wrong == []


@pytest.mark.parametrize("block", COMMANDS, ids=lambda block: block.place)
def test_every_command_of_a_page_is_one_that_gpujob_accepts(block: pages.Block) -> None:
    for command in block.commands:
        for words in pages.gpujob_words(command):
            if words in (["--version"], ["--install-completion"]):
                continue
            group, name = ROOT, "gpujob"
            while isinstance(group, Group):
                name, *words = words
                group = group.commands[name]
            group.make_context(name, words, resilient_parsing=False)


def test_commands_that_are_executed_on_another_page_are_there() -> None:
    executed = {command for block in COMMANDS if block.reason is None for command in block.commands}
    repeated = [block for block in COMMANDS if (block.reason or "").startswith("as in ")]
    assert len(repeated) >= 3
    assert [c for block in repeated for c in block.commands if c not in executed] == []


def test_every_reason_not_to_execute_a_block_is_a_sentence() -> None:
    assert [b.place for b in COMMANDS if b.reason is not None and len(b.reason.split()) < 3] == []


def test_every_message_of_the_troubleshooting_page_is_one_of_gpujob() -> None:
    text = (REPOSITORY / "docs" / "troubleshooting.md").read_text("utf-8")
    messages = re.findall(r"^\| `([^`]+)` \|", text, re.MULTILINE)
    assert len(messages) > 30
    code = "\n".join(path.read_text("utf-8") for path in sorted((REPOSITORY / "orchestrator").rglob("*.py")))
    parts = {message: [part.strip() for part in message.split("…") if part.strip()] for message in messages}
    assert [message for message, words in parts.items() if not all(word in code for word in words)] == []


def test_every_screen_is_there_in_each_size_and_colour_scheme() -> None:
    folder = REPOSITORY / "docs" / "pictures"
    screens = {path.name.rsplit("-", 2)[0] for path in folder.glob("*x*.svg")}
    assert len(screens) == 9
    for screen in screens:
        sizes = {path.stem.removeprefix(f"{screen}-") for path in folder.glob(f"{screen}-[0-9]*.svg")}
        assert sizes == {f"{size}-{s}" for size in ("60x24", "80x24", "160x48") for s in ("dark", "light")}
    assert all((folder / f"report-{scheme}.png").stat().st_size > 20_000 for scheme in ("dark", "light"))


def test_no_curve_in_a_picture_moves_what_is_beside_it() -> None:
    """A browser may draw blocks with another font, whose characters are wider."""
    for path in (REPOSITORY / "docs" / "pictures").glob("*x*.svg"):
        for text in re.findall(r"textLength[^>]*>([^<]*)</text>", path.read_text("utf-8")):
            drawn = re.findall(r"[\u2500-\u259f]", html.unescape(text))
            assert len(drawn) in (0, len(html.unescape(text))), (path.name, text)
