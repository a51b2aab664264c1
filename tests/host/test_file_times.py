"""Data on a host whose file system keeps times less precisely than the client's."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.host.machines import log_in_to, new_machine
from tests.rigs.fakehost import FakeHost
from tests.support import Client

ON = ("--on", "gpu")
BODY = "import os\nprint(open(os.environ['GPUJOB_DATA_SET'] + '/a.txt').read())"


@pytest.fixture
def coarse(client: Client) -> Iterator[FakeHost]:
    """A host with ~/.gpujob on an ext4 with inodes of 128 bytes, which have no room for less than seconds."""
    image = client.home / "disk"
    with image.open("wb") as file:
        file.truncate(16 << 20)
    subprocess.run(["mkfs.ext4", "-q", "-I", "128", image], check=True, capture_output=True)
    machine = new_machine(client)
    root = machine.home / ".gpujob"
    root.mkdir()
    subprocess.run(["mount", "-o", "loop", image, root], check=True)
    try:
        with machine:
            yield machine
    finally:
        subprocess.run(["umount", "-l", root], check=True)


def written(path: Path, text: str, nanoseconds: int) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)
    os.utime(path, ns=(nanoseconds, nanoseconds))


@pytest.mark.sshd
@pytest.mark.root
def test_data_arrives_on_a_file_system_with_times_in_seconds(client: Client, coarse: FakeHost) -> None:
    log_in_to(client, coarse)
    client.write(".gitignore", "set/\n")
    client.job(BODY, data={"set": "set"})
    second = 1_700_000_000_000_000_000
    for text, at in (("one", second + 123_456_789), ("two", second + 987_654_321)):
        written(client.project / "set" / "a.txt", text, at)
        deployed = client.run("deploy", "job", *ON, "--follow")
        assert deployed.code == 0, deployed.err
        assert deployed.out.splitlines()[-1] == text, "the size and the second of the time are the same"
    again = client.run("deploy", "job", *ON, "--follow")
    assert (again.code, "the host has it" in again.err) == (0, True), again.err
