"""Typed again, resumed, beside one another: what must not be lost, doubled or mixed."""

from __future__ import annotations

import json
import os
import signal
import time
from dataclasses import replace
from typing import Any

import pytest

from orchestrator.commands import execute
from tests.host.scripts import SLOW, TRAPS_TERM, begun, deployed
from tests.support import Box

PRINTS = "import os\nprint(os.environ.get('TOKEN', 'none'), open('note.txt').read())\nraise SystemExit(1)"


def log(box: Box, run_id: str) -> list[str]:
    return (box.folder(run_id) / "log").read_text().splitlines()


def test_a_resume_after_clean_has_its_code_and_its_secrets_again(box: Box) -> None:
    box.write("note.txt", "old")
    box.env["TOKEN"] = "hunter2"
    box.job(PRINTS, pass_env=["TOKEN"])
    run_id = deployed(box)
    box.until("failed")
    box.run("stop", run_id, "--clean")
    box.write("note.txt", "new")
    assert box.run("deploy", "job", "--resume", run_id).code == 0
    box.until(lambda seen: seen["state"] == "failed" and seen["attempt"] == 2)
    assert log(box, run_id) == ["hunter2 old"] * 2


def test_a_resume_whose_code_is_gone_is_refused_and_leaves_the_run_as_it_was(box: Box) -> None:
    box.write("note.txt", "old")
    box.job(PRINTS)
    run_id = deployed(box)
    box.until("failed")
    box.run("stop", run_id, "--clean")
    tree = json.loads((box.folder(run_id) / "run.json").read_text())["code"]["tree"]
    (box.root / "code" / tree).rename(box.root / "code" / "elsewhere")
    refused = box.run("deploy", "job", "--resume", run_id)
    assert (refused.code, "no longer on the host" in refused.err) == (1, True)
    assert box.state()["state"] == "failed"


def test_a_resume_beside_a_going_run_of_the_job_is_refused(box: Box) -> None:
    box.job("raise SystemExit(1)")
    ended = deployed(box)
    box.until("failed")
    box.job(SLOW)
    going = deployed(box)
    refused = box.run("deploy", "job", "--resume", ended)
    assert (refused.code, f"already running as {going}" in refused.err) == (1, True)


def test_a_run_that_is_going_is_shown_however_many_ran_after_it(box: Box) -> None:
    box.job(SLOW, name="long")
    box.run("deploy", "long")
    box.job("pass", name="short")
    for _ in range(12):
        assert box.run("deploy", "short", "--follow").code == 0
    shown = box.run("status", "--json").json["runs"]
    assert [run["state"] for run in shown if run["job"] == "long"] == ["running"]
    assert len(shown) == 11
    assert box.run("status", "long", "--json").json["runs"][0]["last_lines"] == ["begun"]


def killed_after_the_start(box: Box) -> str:
    """A deploy whose client dies when the run is up and nobody has said so; gives the run."""
    code = (
        "import os, signal\nfrom orchestrator.store import Store\n"
        "Store.close_intent = lambda *_: os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    client = box.spawn("deploy", "job", code=code)
    client.communicate(timeout=60)
    assert client.returncode == -signal.SIGKILL
    return str(box.state()["id"])


def test_a_cut_deploy_whose_run_has_ended_meanwhile_is_not_made_twice(box: Box) -> None:
    box.job("print('once')")
    run_id = killed_after_the_start(box)
    box.until("succeeded")
    again = box.run("deploy", "job")
    assert again.out.strip() == run_id
    assert "it has ended already" in again.err
    assert len(box.run("status", "--json").json["runs"]) == 1
    assert box.run("deploy", "job").out.strip() != run_id


def test_a_cut_deploy_typed_again_with_other_settings_does_not_pass_for_it(box: Box) -> None:
    box.job(SLOW)
    run_id = killed_after_the_start(box)
    other = box.run("deploy", "job", "--set", "config.lr=9")
    assert (other.code, f"already running as {run_id}" in other.err) == (1, True)


def test_a_deploy_that_another_laptop_overtook_is_refused_as_if_it_were_planned_now(
    box: Box, monkeypatch: pytest.MonkeyPatch
) -> None:
    box.job(SLOW)
    first, real = [], execute.Executor.run

    def overtaken(*words: Any) -> None:
        monkeypatch.setattr(execute.Executor, "run", real)
        first.append(box.run("deploy", "job", state_dir=box.home / "other").out.strip())
        real(*words)

    monkeypatch.setattr(execute.Executor, "run", overtaken)
    refused = box.run("deploy", "job")
    assert refused.code == 1
    assert f"job is already running as {first[0]}" in refused.err
    assert f"gpujob monitor {first[0]}, or deploy with --name to run it beside" in refused.err
    assert [path.name for path in (box.root / "runs").iterdir()] == first
    assert list(box.state_dir.glob("intents/*.json")) == []


def test_of_laptops_that_deploy_a_job_at_once_one_starts_it(box: Box) -> None:
    box.job(SLOW)
    laptops = [replace(box, env={**box.env, "XDG_STATE_HOME": str(box.home / f"{n}")}) for n in range(3)]
    clients = [laptop.spawn("deploy", "job") for laptop in laptops]
    said = [client.communicate(timeout=60)[1].decode() for client in clients]
    assert sorted(client.returncode for client in clients) == [0, 1, 1], said
    assert sum("job is already running as" in words for words in said) == 2
    assert len(list((box.root / "runs").iterdir())) == 1


def test_two_runs_are_never_mixed_in_one_folder(box: Box) -> None:
    box.job("print(1)")
    box.run("deploy", "job", "--follow")
    assert box.run("fetch", "--to", "out").code == 0
    box.run("deploy", "job", "--follow")
    before = (box.project / "out" / "run.json").read_text()
    mixed = box.run("fetch", "--to", "out")
    assert (mixed.code, "holds another run" in mixed.err) == (2, True)
    assert (box.project / "out" / "run.json").read_text() == before


def test_checkpoints_of_a_script_of_the_users_come_home_without_a_manifest(box: Box) -> None:
    made = "os.makedirs(os.environ['GPUJOB_CHECKPOINTS'] + '/7')"
    weights = "open(os.environ['GPUJOB_CHECKPOINTS'] + '/7/m.pt', 'w').write('w')"
    box.job(TRAPS_TERM.replace(made, f"{made}; {weights}"))
    run_id = deployed(box)
    begun(box, run_id)
    box.run("stop")
    fetched = box.run("fetch", "--which", "last")
    assert fetched.code == 0, fetched.err
    assert (box.project / "fetched" / run_id / "checkpoints/7/m.pt").read_text() == "w"


def test_several_fetches_at_once_end_well_or_say_that_another_is_under_way(box: Box) -> None:
    box.job(
        "import os\nos.mkdir('r')\nfor n in range(50): open(f'r/{n}', 'w').write('x' * 50000 + str(n))",
        outputs=["r"],
    )
    box.run("deploy", "job", "--follow")
    clients = [box.spawn("fetch") for _ in range(3)]
    said = [client.communicate(timeout=60)[1].decode() for client in clients]
    for client, words in zip(clients, said, strict=True):
        assert client.returncode == 0 or "another fetch" in words, words
    assert [client.returncode for client in clients].count(0) >= 1


def test_a_start_that_is_dead_at_once_is_said_to_be(box: Box) -> None:
    box.job("raise SystemExit('no data here')")
    client = box.run("deploy", "job")
    end = time.monotonic() + 5
    while box.state()["state"] != "failed" and time.monotonic() < end:
        time.sleep(0.05)
    assert "session None" not in client.err


def test_a_folder_that_changes_while_it_is_read_names_the_file(box: Box) -> None:
    """`gpujob deploy job > deploy.log` in the folder of the code does it."""
    box.job("pass")
    box.write("deploy.log", "")
    code = (
        "from orchestrator import source\nreal = source.lay_out\n"
        "def late(*words):\n    open('deploy.log', 'a').write('more')\n    real(*words)\n"
        "source.lay_out = late\n"
    )
    client = box.spawn("deploy", "job", code=code)
    _, said = client.communicate(timeout=60)
    assert client.returncode == 2
    assert b"deploy.log: something writes there now" in said
    assert os.getpid()
