"""A job with variables, a .env file, setup and requirements, deployed again and again to one host."""

from __future__ import annotations

import json
from pathlib import Path

from tests.support import Client

SHOW = """
import json, os, tiny
print(json.dumps([tiny.VERSION, open('built').read(), os.environ['A'], os.environ['B']]))
"""


def write_job(client: Client, requirements: str) -> None:
    env = {"vars": {"A": "1e-3 $x"}, "file": ".env", "requirements": requirements}
    keys = {"name": "job", "command": ["python", "train.py"], "resources": {"gpus": 0}, "env": env}
    client.write("job.yaml", json.dumps({**keys, "setup": ["echo building", "cat part.txt > built"]}))


def require_made_once_and_changed_by_content(client: Client, on: str, requirements: str, other: str) -> None:
    """`requirements` and `other`: files that name the package `tiny`, and what the host installs it from."""

    def deploy() -> tuple[object, bool]:
        done = client.run("deploy", "job", "--on", on, "--follow")
        assert done.code == 0, done.err + done.out
        return json.loads(done.out.splitlines()[-1]), "building" in done.err

    client.write("train.py", SHOW)
    client.write("part.txt", "one")
    client.write(".env", "A=file\nexport B='of the file'\n")
    write_job(client, requirements)
    assert deploy() == (["1.0", "one", "1e-3 $x", "of the file"], True)
    client.write("train.py", SHOW + "# changed\n")
    assert deploy() == (["1.0", "one", "1e-3 $x", "of the file"], False)
    client.write("part.txt", "two")
    write_job(client, other)
    assert deploy() == (["1.0", "two", "1e-3 $x", "of the file"], True)


def pip_settings(home: Path, wheels: Path) -> None:
    """Make pip of a user take packages from a folder alone."""
    path = home / ".config" / "pip" / "pip.conf"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"[global]\nno-index = true\nfind-links = {wheels}\n")
