"""`logs`: parts of a log that are chosen on the host."""

from __future__ import annotations

from tests.host.chaos import ON, Line
from tests.host.scripts import SLOW, deployed, wait_for_output
from tests.support import Client

ATTEMPTS = """
import os, sys
attempt = os.environ['GPUJOB_ATTEMPT']
for step in range(300): print('attempt', attempt, 'step', step)
sys.exit(attempt == '1')
"""


def test_logs_prints_the_chosen_lines_of_one_attempt(client: Client) -> None:
    client.job(ATTEMPTS, restart={"max": 1})
    run_id = deployed(client)
    client.until("succeeded")
    first = client.run("logs", "job", "--attempt", "1")
    assert first.out == "".join(f"attempt 1 step {step}\n" for step in range(300))
    assert f"run {run_id} succeeded" in first.err
    assert (
        client.run("logs", "--attempt", "2", "--tail", "2").out == "attempt 2 step 298\nattempt 2 step 299\n"
    )
    chosen = client.run("logs", "--grep", "2 step 1[0-9]$", "--since", "1h", "--json").json
    assert chosen["lines"] == [f"attempt 2 step {step}" for step in range(10, 20)]
    assert (folder := client.folder(run_id) / "log").read_text() == client.run("logs").out, folder
    missing = client.run("logs", "--attempt", "3")
    assert (missing.code, "has no attempt 3" in missing.err) == (1, True)
    assert f"next: gpujob logs {run_id} --attempt 1" in missing.err


def test_logs_of_an_active_run_end_at_once_with_no_follow(client: Client) -> None:
    client.job(SLOW)
    wait_for_output(client, deployed(client))
    assert client.run("logs", "--no-follow").out == "begun\n"


def test_a_pattern_that_is_none_is_refused_before_a_host_is_asked(client: Client) -> None:
    result = client.run("logs", "--grep", "a(", "--on", "nowhere.invalid")
    assert (result.code, "not a regular expression" in result.err) == (2, True)


def test_chosen_lines_survive_a_connection_that_is_cut(line: Line) -> None:
    body = "for n in range(20_000): print('loss' if n % 3 else 'noise', n, '.' * 60)"
    line.client.job(body)
    assert line.run("deploy", "job").code == 0
    line.client.until("succeeded")
    whole = b"".join(b"loss %d %b\n" % (n, b"." * 60) for n in range(20_000) if n % 3)
    process = line.client.spawn("logs", "--grep", "^loss", *ON)
    for count in (5_000, 200_000, 400_000):
        line.proxy.cut_after("down", count)
    out, err = process.communicate()
    assert line.proxy.connections > 2
    assert (process.returncode, out == whole) == (0, True), err
