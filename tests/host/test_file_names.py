"""File names are bytes: they arrive unchanged whatever the locale of the client or of the host is."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.host.chaos import Trials
from tests.host.machines import log_in_to
from tests.rigs import needs
from tests.rigs.fakehost import FakeHost
from tests.support import Client

NAMES = ["héllo wörld.txt".encode(), "日本.txt".encode(), b"caf\xe9.txt", b"new\nline.txt"]
BODY = """\
import os
assert sorted(name for name in os.listdir(b'.') if name.endswith(b'.txt')) == sorted({names!r})
os.mkdir('out')
for name in os.listdir(os.environb[b'GPUJOB_DATA_SET']):
    open(b'out/' + name, 'w').close()
"""


def latin1(folder: Path) -> dict[str, str]:
    """Build a locale with the encoding ISO-8859-1; return the variables that select it."""
    needs.require("localedef")
    words = ["localedef", "-i", "en_US", "-f", "ISO-8859-1", str(folder / "en_US.ISO-8859-1")]
    made = subprocess.run(words, capture_output=True, text=True, check=False)
    assert (folder / "en_US.ISO-8859-1").is_dir(), (
        f"{made.stderr}{needs.INSTALL}"
    )  # it warns with exit code 1
    return {"LOCPATH": str(folder), "LC_ALL": "en_US.ISO-8859-1"}


def write(folder: Path) -> None:
    folder.mkdir(exist_ok=True)
    for name in NAMES:
        Path(os.fsdecode(bytes(folder) + b"/" + name)).write_text("x")


@pytest.mark.parametrize("where", ["client ascii", "client latin-1", "host latin-1"])
def test_file_names_arrive_unchanged_in_any_locale(
    client: Client, machine: FakeHost, where: str, trials: Trials
) -> None:
    if where == "client latin-1" and not trials(0, 1):
        pytest.skip("with GPUJOB_TEST_FULL=1")
    log_in_to(client, machine)
    locales = client.home / "locales"
    locales.mkdir()
    if where == "client ascii":
        client.env |= {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}
    elif where == "client latin-1":
        client.env |= latin1(locales)
    else:
        settings = " ".join(f"{name}={value}" for name, value in latin1(locales).items())
        machine.plant("python3", f'#!/bin/sh\n{settings} exec {sys.executable} "$@"\n')
    client.job(BODY.format(names=NAMES), data={"set": "set"}, outputs=["out"])
    write(client.project)
    write(client.project / "set")
    client.write(".gitignore", "set/\n")
    for words in (("deploy", "job", "--follow"), ("fetch", "--to", "home")):
        process = client.spawn(*words, "--on", "gpu")
        out, err = process.communicate()
        assert process.returncode == 0, (out + err).decode(errors="replace")
    fetched = client.project / "home" / "outputs" / "out"
    assert sorted(os.fsencode(path.name) for path in fetched.iterdir()) == sorted(NAMES)
