"""The commands and files in the pages of the documentation.

The tests execute the blocks that are fenced as `sh`, except those below a comment that says why not:
`<!-- not executed: REASON -->`, or `<!-- not executed: as in PAGE -->` where PAGE has the same commands.
"""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from pathlib import Path

from tests.support import REPOSITORY

_FENCE = re.compile(
    r"^(?:<!-- not executed: (?P<reason>[^\n]*) -->\n)?```(?P<language>[^\n]*)\n(?P<text>.*?)^```",
    re.MULTILINE | re.DOTALL,
)
_FILE = re.compile(r"^`(?P<name>[\w/.-]+)`:\n\n?```\w+\n(?P<text>.*?)^```", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Block:
    """`reason`: why it is not executed. `line`: where it begins, for messages."""

    page: str
    line: int
    language: str
    text: str
    reason: str | None

    @property
    def place(self) -> str:
        return f"{self.page}:{self.line}"

    @property
    def commands(self) -> list[str]:
        """The command lines without comments and continuations."""
        lines = self.text.replace("\\\n", " ").splitlines()
        bare = [re.sub(r"\s+# .*", "", line).strip() for line in lines]
        return [" ".join(line.split()) for line in bare if line and not line.startswith("#")]


def pages() -> list[Path]:
    return [*sorted(REPOSITORY.glob("*.md")), *sorted((REPOSITORY / "docs").glob("*.md"))]


def blocks(page: Path) -> list[Block]:
    text = page.read_text("utf-8")
    name = str(page.relative_to(REPOSITORY))
    return [
        Block(name, text[: m.start()].count("\n") + 1, m["language"], m["text"], m["reason"])
        for m in _FENCE.finditer(text)
    ]


def files(page: Path) -> dict[str, str]:
    """The files that a page shows: a line with the name, then a block with the content."""
    return {m["name"]: m["text"] for m in _FILE.finditer(page.read_text("utf-8"))}


def gpujob_words(command: str) -> list[list[str]]:
    """The arguments of each `gpujob` in a command line."""
    parts = re.split(r"\s*(?:&&|\|\||[|;>])\s*", command)
    return [shlex.split(part)[1:] for part in parts if part.startswith("gpujob ")]
