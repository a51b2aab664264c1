"""Builds the modules of docs/add-a-target.md from the page's code blocks."""

from __future__ import annotations

import re
import sys
import textwrap
from types import ModuleType

import pytest

from orchestrator import registry
from tests.support import REPOSITORY

PAGE = REPOSITORY / "docs" / "add-a-target.md"
_BLOCK = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)
_BEFORE = "    from orchestrator.targets.ssh.host import SshTarget"


def module_source() -> str:
    """Return the source of orchestrator/targets/folder.py as the page defines it."""
    target, host, *methods, _ = _BLOCK.findall(PAGE.read_text("utf-8"))
    return "\n".join([target, "", host, *(_indented(block) for block in methods)])


def _indented(block: str) -> str:
    return textwrap.indent(textwrap.dedent(block), "    ")


def registry_source() -> str:
    """Return the source of orchestrator/registry.py with the page's lines added."""
    text = (REPOSITORY / "orchestrator" / "registry.py").read_text("utf-8")
    lines = _BLOCK.findall(PAGE.read_text("utf-8"))[-1]
    assert text.count(_BEFORE) == 1
    return text.replace(_BEFORE, _indented(lines) + _BEFORE)


def install(monkeypatch: pytest.MonkeyPatch) -> None:
    """Install the page's modules for this test, so that the registry resolves `folder:`."""
    for name, text in (
        ("orchestrator.targets.folder", module_source()),
        ("orchestrator.registry_with_folder", registry_source()),
    ):
        module = ModuleType(name)
        monkeypatch.setitem(sys.modules, name, module)
        exec(compile(text, f"{PAGE.name}:{name}", "exec"), module.__dict__)
    monkeypatch.setattr(registry, "target", sys.modules["orchestrator.registry_with_folder"].target)
