"""Repeated, resumed and concurrent commands: nothing is lost, duplicated or mixed."""

from __future__ import annotations

import json
import os
import signal
import time
from dataclasses import replace
from typing import Any

import pytest

from orchestrator.commands import execute
from tests.host.scripts import SLOW, TRAPS_TERM, deployed, wait_for_output
from tests.rigs.odd_runs import complete
from tests.rigs.patience import PATIENCE
from tests.support import Client

PRINTS = "import os\nprint(os.environ.get('TOKEN', 'none'), open('note.txt').read())\nraise SystemExit(1)"


def log(client: Client, run_id: str) -> list[str]:
    return (client.folder(run_id) / "log").read_text().splitlines()


def test_a_resume_after_clean_sends_the_code_and_the_secrets_again(client: Client) -> None:
    client.write("note.txt", "old")
    client.env["TOKEN"] = "hunter2"
    client.job(PRINTS, pass_env=["TOKEN"])
    run_id = deployed(client)
    client.until("failed")
    client.run("stop", run_id, "--clean")
    client.write("note.txt", "new")
    assert client.run("deploy", "job", "--resume", run_id).code == 0
    client.until(lambda status: status["state"] == "failed" and status["attempt"] == 2)
    assert log(client, run_id) == ["hunter2 old"] * 2


def test_a_resume_with_new_limits_records_them_and_counts_from_the_start(client: Client) -> None:
    client.job("import time; time.sleep(60)", limits={"max_hours": 0.0001, "grace_seconds": 1})
    assert client.run("deploy", "job").code == 0
    run_id = client.until("stopped")["id"]
    refused = client.run("deploy", "--resume", run_id)
    assert (refused.code, "are used up" in refused.err) == (1, True), refused.err
    resumed = client.run("deploy", "--resume", run_id, "--max-hours", "2")
    assert resumed.code == 0, resumed.err
    client.until("running")
    recorded = json.loads((client.folder(run_id) / "run.json").read_text())["limits"]
    assert (recorded["max_hours"], recorded["grace_seconds"]) == (2.0, 1)
    assert client.run("stop", run_id, "--now").code == 0


def test_a_resume_without_the_code_is_refused_and_leaves_the_run_unchanged(client: Client) -> None:
    client.write("note.txt", "old")
    client.job(PRINTS)
    run_id = deployed(client)
    client.until("failed")
    client.run("stop", run_id, "--clean")
    tree = json.loads((client.folder(run_id) / "run.json").read_text())["code"]["tree"]
    (client.root / "code" / tree).rename(client.root / "code" / "elsewhere")
    refused = client.run("deploy", "job", "--resume", run_id)
    assert (refused.code, "no longer on the host" in refused.err) == (1, True)
    assert client.state()["state"] == "failed"


def test_a_resume_is_refused_while_another_run_of_the_job_is_live(client: Client) -> None:
    client.job("raise SystemExit(1)")
    ended = deployed(client)
    client.until("failed")
    client.job(SLOW)
    going = deployed(client)
    refused = client.run("deploy", "job", "--resume", ended)
    assert (refused.code, f"already running as {going}" in refused.err) == (1, True)


def test_a_live_run_is_shown_however_many_ran_after_it(client: Client) -> None:
    client.job(SLOW, name="long")
    client.run("deploy", "long")
    for n in range(12):
        record = complete(client.root / "runs" / f"short-20991121T1011{n:02d}-1a2b") / "run.json"
        later = {"job": "short", "created": time.time() + 60 + n}
        record.write_text(json.dumps({**json.loads(record.read_text()), **later}))
    shown = client.run("status", "--json").json["runs"]
    assert [run["state"] for run in shown if run["job"] == "long"] == ["running"]
    assert len(shown) == 11
    assert client.run("status", "long", "--json").json["runs"][0]["last_lines"] == ["begun"]


def killed_after_the_start(client: Client) -> str:
    """Kill a deploy's client after the run has started and before it is confirmed; return the run id."""
    code = (
        "import os, signal\nfrom orchestrator.store import Store\n"
        "Store.close_intent = lambda *_: os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    process = client.spawn("deploy", "job", code=code)
    process.communicate(timeout=PATIENCE)
    assert process.returncode == -signal.SIGKILL
    return str(client.state()["id"])


def test_repeating_a_cut_deploy_whose_run_has_ended_starts_no_second_run(client: Client) -> None:
    client.job("print('once')")
    run_id = killed_after_the_start(client)
    client.until("succeeded")
    again = client.run("deploy", "job")
    assert again.out.strip() == run_id
    assert "it has ended already" in again.err
    assert len(client.run("status", "--json").json["runs"]) == 1
    assert client.run("deploy", "job").out.strip() != run_id


def test_repeating_a_cut_deploy_with_other_settings_is_refused(client: Client) -> None:
    client.job(SLOW)
    run_id = killed_after_the_start(client)
    other = client.run("deploy", "job", "--set", "config.lr=9")
    assert (other.code, f"already running as {run_id}" in other.err) == (1, True)


def test_a_deploy_overtaken_by_another_client_is_refused_like_a_new_plan(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    client.job(SLOW)
    first, real = [], execute.Executor.prepare

    def overtaken(*words: Any) -> None:
        monkeypatch.setattr(execute.Executor, "prepare", real)
        first.append(client.run("deploy", "job", state_dir=client.home / "other").out.strip())
        real(*words)

    monkeypatch.setattr(execute.Executor, "prepare", overtaken)
    refused = client.run("deploy", "job")
    assert refused.code == 1
    assert f"job is already running as {first[0]}" in refused.err
    assert f"gpujob monitor {first[0]}, or deploy with --name for a second run" in refused.err
    assert [path.name for path in (client.root / "runs").iterdir()] == first
    assert list(client.state_dir.glob("intents/*.json")) == []


def test_of_clients_that_deploy_a_job_at_once_one_starts_it(client: Client) -> None:
    client.job(SLOW)
    laptops = [
        replace(client, env={**client.env, "XDG_STATE_HOME": str(client.home / f"{n}")}) for n in range(3)
    ]
    processes = [laptop.spawn("deploy", "job") for laptop in laptops]
    outputs = [process.communicate(timeout=PATIENCE)[1].decode() for process in processes]
    assert sorted(process.returncode for process in processes) == [0, 1, 1], outputs
    assert sum("job is already running as" in words for words in outputs) == 2
    assert len(list((client.root / "runs").iterdir())) == 1


def test_two_runs_are_never_mixed_in_one_folder(client: Client) -> None:
    client.job("print(1)")
    client.run("deploy", "job", "--follow")
    assert client.run("fetch", "--to", "out").code == 0
    client.run("deploy", "job", "--follow")
    before = (client.project / "out" / "run.json").read_text()
    mixed = client.run("fetch", "--to", "out")
    assert (mixed.code, "holds another run" in mixed.err) == (2, True)
    assert (client.project / "out" / "run.json").read_text() == before


def test_checkpoints_of_a_user_script_are_fetched_without_a_manifest(client: Client) -> None:
    made = "os.makedirs(os.environ['GPUJOB_CHECKPOINTS'] + '/7')"
    weights = "open(os.environ['GPUJOB_CHECKPOINTS'] + '/7/m.pt', 'w').write('w')"
    client.job(TRAPS_TERM.replace(made, f"{made}; {weights}"))
    run_id = deployed(client)
    wait_for_output(client, run_id)
    client.run("stop")
    fetched = client.run("fetch", "--which", "last")
    assert fetched.code == 0, fetched.err
    assert (client.project / "fetched" / run_id / "checkpoints/7/m.pt").read_text() == "w"


def test_concurrent_fetches_succeed_or_report_that_another_is_running(client: Client) -> None:
    client.job(
        "import os\nos.mkdir('r')\nfor n in range(50): open(f'r/{n}', 'w').write('x' * 50000 + str(n))",
        outputs=["r"],
    )
    client.run("deploy", "job", "--follow")
    processes = [client.spawn("fetch") for _ in range(3)]
    outputs = [process.communicate(timeout=PATIENCE)[1].decode() for process in processes]
    for process, words in zip(processes, outputs, strict=True):
        assert process.returncode == 0 or "another fetch" in words, words
    assert [process.returncode for process in processes].count(0) >= 1


def test_a_run_that_fails_at_once_is_reported_without_a_session(client: Client) -> None:
    client.job("raise SystemExit('no data here')")
    deployed = client.run("deploy", "job")
    client.until("failed")
    assert "session None" not in deployed.err


def test_a_folder_that_changes_while_it_is_read_names_the_file(client: Client) -> None:
    """`gpujob deploy job > deploy.log` in the code folder causes this."""
    client.job("pass")
    client.write("deploy.log", "")
    code = (
        "from orchestrator import source\nreal = source.snapshot\n"
        "def late(*words):\n    open('deploy.log', 'a').write('more')\n    real(*words)\n"
        "source.snapshot = late\n"
    )
    process = client.spawn("deploy", "job", code=code)
    _, outputs = process.communicate(timeout=PATIENCE)
    assert process.returncode == 2
    assert b"deploy.log: a process is writing there" in outputs
    assert os.getpid()
