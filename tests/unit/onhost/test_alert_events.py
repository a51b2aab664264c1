"""Each kind of alert against a web server on loopback that fails, hangs or is gone: delivered once."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from orchestrator.core.layout import Layout, RunPaths
from orchestrator.onhost import instance_limits, processes
from orchestrator.onhost.alert_channels import Outcome, Webhook
from orchestrator.onhost.alert_watch import Watch
from orchestrator.onhost.alerts import Alert
from orchestrator.onhost.records import RunSpec
from tests.rigs import odd_runs, webhook

RUN = "job-20261121T101112-1a2b"
ALIVE = {"supervisor": processes.identity(os.getpid()), "boot": processes.boot(), "ended": None}
ENDED = {"ended": 60.0, "attempt": 1}
STATES: dict[str, dict[str, Any]] = {
    "end": {**ENDED, "reason": "exit", "exit_code": 0},
    "failure": {**ENDED, "reason": "exit", "exit_code": 1},
    "preemption": {**ENDED, "reason": "preempted", "exit_code": 75},
    "health": {**ALIVE, "started": 50.0},
    "budget": {**ALIVE, "used_seconds": 8.2 * 3600},
    "deadline": {**ALIVE, "used_seconds": 9.6 * 3600},
}
LIMITS = {"budget": {"budget_hours": 10.0}, "deadline": {"max_hours": 10.0}}
Send = Callable[[Alert], Outcome]


@pytest.fixture
def paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RunPaths:
    monkeypatch.setattr(instance_limits, "find", lambda: None)
    odd_runs.complete(tmp_path / "runs" / RUN)
    return Layout(str(tmp_path)).run(RUN)


@pytest.fixture
def hook() -> Iterator[webhook.Webhook]:
    with webhook.listening() as hook:
        yield hook


def files_of(paths: RunPaths) -> dict[str, bytes]:
    """The files of a run besides those of its alerts."""
    found = (path for path in Path(paths.folder).rglob("*") if path.is_file())
    return {str(path): path.read_bytes() for path in found if not path.name.startswith("alerts.")}


def delivered(paths: RunPaths, event: str, send: Send) -> dict[str, Any]:
    """Look every 100 seconds, by the clock that is passed, until the one alert is not pending any more."""
    record = json.loads(Path(paths.state).read_text())
    Path(paths.state).write_text(json.dumps({**record, **STATES[event]}))
    if event == "health":
        Path(paths.events).write_text('{"event": "health", "t": 60, "rule": "nan", "message": "m"}\n')
    notify = {"webhook_env": "HOOK", "events": [event]}
    limits = LIMITS.get(event, {})
    wanted = RunSpec.parse({"id": RUN, "job": "job", "notify": notify, "limits": limits})
    watch, before = Watch(paths, wanted, {"webhook": send}), files_of(paths)
    for seconds in range(0, 2000, 100):
        watch.look(100.0 + seconds)
        deliveries: list[dict[str, Any]] = json.loads(Path(paths.alerts).read_text())["deliveries"]
        if deliveries and all(one["state"] != "pending" for one in deliveries):
            break
    assert files_of(paths) == before, "the alert changed the run"
    [delivery] = deliveries
    assert delivery["event"] == event
    watch.look(3000.0)
    Watch(paths, wanted, {"webhook": send}).look(3001.0)
    assert len(json.loads(Path(paths.alerts).read_text())["deliveries"]) == 1
    return delivery


@pytest.mark.parametrize("event", STATES)
def test_an_alert_is_delivered_once_by_a_server_that_fails_twice(
    paths: RunPaths, hook: webhook.Webhook, event: str
) -> None:
    hook.statuses = [500, 503]
    delivery = delivered(paths, event, Webhook(hook.url, "json", RUN).send)
    assert (delivery["state"], delivery["attempts"], len(hook.posts)) == ("delivered", 3, 3)
    keys = {post.headers["Idempotency-Key"] for post in hook.posts}
    assert len(keys) == 1
    assert json.loads(hook.posts[-1].body)["event"] == event


@pytest.mark.parametrize("event", STATES)
def test_an_alert_is_delivered_once_by_a_server_that_hung(
    paths: RunPaths, hook: webhook.Webhook, event: str
) -> None:
    hook.hangs = True

    def send(alert: Alert) -> Outcome:
        outcome = Webhook(hook.url, "json", RUN, seconds=10.0 if hook.released.is_set() else 0.1).send(alert)
        hook.hangs = False
        hook.released.set()
        return outcome

    delivery = delivered(paths, event, send)
    assert (delivery["state"], delivery["attempts"], delivery["error"]) == ("delivered", 2, None)


@pytest.mark.parametrize("event", STATES)
def test_an_alert_to_a_server_that_is_gone_is_given_up(paths: RunPaths, event: str) -> None:
    with webhook.refusing() as url:
        delivery = delivered(paths, event, Webhook(url, "json", RUN).send)
    assert (delivery["state"], delivery["error"]) == ("failed", "Connection refused")
    assert 3 < delivery["attempts"] < 10


@pytest.mark.parametrize("event", STATES)
def test_an_alert_waits_as_long_as_the_server_asks_for(
    paths: RunPaths, hook: webhook.Webhook, event: str
) -> None:
    hook.statuses, hook.retry_after = [429, 503], "150"
    outcomes = []

    def send(alert: Alert) -> Outcome:
        outcomes.append(Webhook(hook.url, "json", RUN).send(alert))
        return outcomes[-1]

    delivery = delivered(paths, event, send)
    assert (delivery["state"], delivery["attempts"], len(hook.posts)) == ("delivered", 3, 3)
    assert [outcome.wait for outcome in outcomes] == [150, 150, 0]


@pytest.mark.parametrize("event", STATES)
def test_an_alert_that_is_redirected_is_given_up_and_not_delivered_elsewhere(
    paths: RunPaths, hook: webhook.Webhook, event: str
) -> None:
    hook.statuses = [302, 307, 308]
    delivery = delivered(paths, event, Webhook(hook.url, "json", RUN).send)
    assert (delivery["state"], delivery["error"]) == ("failed", "HTTP 308 Permanent Redirect")
    assert [post.path for post in hook.posts] == ["/services/hush-hush"] * 3
    assert "hush" not in Path(paths.alerts).read_text()
