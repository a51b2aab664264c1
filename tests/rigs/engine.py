"""A container engine for tests: the program in GPUJOB_TEST_ENGINE, else one that stands in for docker."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

IMAGE = os.environ.get("GPUJOB_TEST_IMAGE", "local/image:1")
PROGRAM = os.environ.get("GPUJOB_TEST_ENGINE")


class Engine:
    """`folder`: for the front of a PATH; it holds `docker`."""

    def __init__(
        self, folder: Path, *, images: tuple[str, ...] = (IMAGE,), real: bool = bool(PROGRAM)
    ) -> None:
        self.folder = folder
        folder.mkdir(parents=True)
        if real and PROGRAM:
            (folder / "docker").symlink_to(PROGRAM)
            return
        source = Path(__file__).with_name("docker.py").read_text()
        (folder / "docker").write_text(source.replace("/usr/bin/env python3", f"{sys.executable} -SE", 1))
        (folder / "docker").chmod(0o755)
        self.write("images", "\n".join(images) + "\n" if images else "")

    def write(self, name: str, text: str) -> None:
        (self.folder / name).write_text(text)

    def calls(self, command: str) -> list[list[str]]:
        """Return the words of the calls with this command, without it."""
        path = self.folder / "calls"
        calls = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
        return [words[1:] for words in calls if words[0] == command]
