"""Alerts of real runs over a real web server on loopback."""

from __future__ import annotations

import json
from pathlib import Path

from orchestrator.onhost import processes
from tests.host.scripts import deployed
from tests.rigs import webhook
from tests.rigs.patience import wait_until
from tests.support import Client


def watchers(run_id: str) -> list[int]:
    """The processes that send alerts of a run."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        words = processes.describe(int(folder.name))["command"]
        if run_id in words and " alert " in words:
            found.append(int(folder.name))
    return found


def test_a_run_alerts_once_and_the_url_is_nowhere_on_the_host(client: Client) -> None:
    client.job(
        "import os, sys\nprint(os.environ.get('HOOK'))\nsys.exit(os.environ['GPUJOB_ATTEMPT'] == '1')",
        notify={"webhook_env": "HOOK"},
    )
    with webhook.listening() as hook:
        client.env["HOOK"] = hook.url
        hook.statuses = [500]
        run_id = deployed(client)
        client.until(lambda run: [one["state"] for one in run["alerts"]] == ["delivered"])
        assert client.run("deploy", "--resume", run_id).code == 0
        client.until(lambda run: [one["state"] for one in run["alerts"]] == ["delivered", "delivered"])
        wait_until(lambda: not watchers(run_id), "the alerts' process ended")
    titles = [json.loads(post.body)["title"] for post in hook.posts]
    assert titles == ["job failed: exit code 1"] * 2 + ["job succeeded"]  # the first answer was 500
    assert (client.folder(run_id) / "log").read_text() == "None\nNone\n"
    stored = [path for path in client.home.rglob("*") if path.is_file() and b"hush" in path.read_bytes()]
    assert stored == []
    assert "alerts: 2 delivered" in client.run("status", run_id).out


def test_a_server_that_hangs_delays_neither_the_run_nor_its_stop(client: Client) -> None:
    client.job(
        "import time\nfor _ in range(6000): print('.', flush=True); time.sleep(.1)",
        notify={"webhook_env": "HOOK"},
    )
    with webhook.listening() as hook:
        client.env["HOOK"] = hook.url
        hook.hangs = True
        run_id = deployed(client)
        with (client.folder(run_id) / "events.jsonl").open("a") as events:
            events.write('{"v": 2, "event": "health", "rule": "loss", "message": "not finite"}\n')
        wait_until(lambda: hook.posts, "an alert arrived")
        stopped = client.run("stop", run_id, "--json")
        assert (stopped.code, stopped.json["run"]["state"], stopped.json["run"]["pids"]) == (0, "stopped", [])
        assert watchers(run_id)  # which still waits for the server
        assert client.run("stop", run_id, "--purge", "--yes").code == 0
        hook.released.set()
        wait_until(lambda: not watchers(run_id), "the alerts' process ended")
        assert not client.folder(run_id).exists()
