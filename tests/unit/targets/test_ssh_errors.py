"""What `ssh` prints when it fails reaches the user, whichever command needed the connection."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from orchestrator.core.runfacts import RunFacts
from orchestrator.store import CachedRun, Store
from tests.support import Client, new_client

RUN = "job-20261121T101112-1a2b"
CONFIG = "host gpubox\nuser ana\nhostname 127.0.0.1\nport 9\nproxycommand nc %h %p\n"
WORDS = "Error: remote port forwarding failed for listen port 6006"
FAKE = """\
#!/bin/sh
case " $* " in
*" -G "*) printf '%s' {config};;
*) echo {words} >&2; exit 255;;
esac
"""


@pytest.fixture
def client() -> Iterator[Client]:
    """A client whose `ssh` reads its configuration and then fails with an error of its own."""
    with new_client() as client:
        ssh = client.home / "bin" / "ssh"
        ssh.parent.mkdir()
        ssh.write_text(FAKE.format(config=f"'{CONFIG}'", words=f"'{WORDS}'"))
        ssh.chmod(0o755)
        client.env["PATH"] = f"{ssh.parent}:{client.env['PATH']}"
        yield client


@pytest.mark.parametrize(
    "words",
    [
        ("deploy", "job"),
        ("status",),
        ("doctor",),
        ("fetch", RUN),
        ("logs", RUN),
        ("monitor", RUN, "--stream"),
        ("stop", RUN),
        ("ssh", RUN, "--", "true"),
        ("cp", f"{RUN}:log", "log"),
    ],
    ids=lambda words: words[0],
)
def test_the_words_of_ssh_are_shown_whatever_command_fails(client: Client, words: tuple[str, ...]) -> None:
    client.write("set/a.txt", "data")
    client.job("print(1)", data={"set": "set"})
    result = client.run(*words[:1], "--on", "GpuBox", *words[1:], sleep=lambda seconds: None)
    assert result.code == 5, result.err + result.out
    assert WORDS in result.err + result.out
    assert "next: ssh GpuBox true" in result.err + result.out


def test_the_words_of_ssh_are_in_the_answer_about_a_known_host(client: Client) -> None:
    Store(client.state_dir).save_target("GpuBox", 1.0)
    Store(client.state_dir).save_run(CachedRun("GpuBox", 1.0, RunFacts(id=RUN)))
    answer = client.run("status", "--on", "GpuBox", "--json", sleep=lambda seconds: None)
    assert WORDS in json.loads(answer.out)["hosts"][0]["unreachable"]
