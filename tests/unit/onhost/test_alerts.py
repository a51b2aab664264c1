"""Which alerts a run calls for, and that each is delivered once, whatever happens to server and process."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from orchestrator.core.layout import Layout, RunPaths
from orchestrator.onhost import alert_watch, alerts, instance_limits, processes
from orchestrator.onhost.alert_channels import Outcome
from orchestrator.onhost.alert_watch import PAUSES, Watch
from orchestrator.onhost.alerts import Alert, Facts, Health
from orchestrator.onhost.records import RunSpec, State
from tests.rigs import odd_runs

RUN = "job-20261121T101112-1a2b"
EVENTS = ["end", "failure", "health", "preemption", "budget", "deadline"]
ALIVE = {"supervisor": processes.identity(os.getpid()), "boot": processes.boot(), "ended": None}


def spec(events: list[str] | None = None, **limits: float) -> RunSpec:
    notify = {"webhook_env": "HOOK", "events": EVENTS if events is None else events}
    return RunSpec.parse({"id": RUN, "job": "job", "notify": notify, "limits": limits})


def titles(spec: RunSpec, facts: Facts) -> list[str]:
    return [alert.title for alert in alerts.due(spec, facts)]


def ended(**state: Any) -> Facts:
    return Facts(State(ended=9.0, host="gpu1", attempt=1, **state), 9.0, last_lines=["KeyError: 'x'"])


@pytest.mark.parametrize(
    ("state", "event", "title"),
    [
        ({"reason": "exit", "exit_code": 0}, "end", "job succeeded"),
        ({"reason": "exit", "exit_code": 3}, "failure", "job failed: exit code 3"),
        ({"reason": "exit", "signal": 9}, "failure", "job failed: signal 9"),
        ({"reason": "not-started", "exit_code": 127}, "failure", "job failed: exit code 127"),
        ({"reason": "stopped", "by": "ana"}, "end", "job was stopped by ana"),
        ({"reason": "hours"}, "end", "job was stopped at its limit of hours"),
        ({"reason": "preempted", "exit_code": 75}, "preemption", "job was preempted"),
    ],
)
def test_each_end_has_one_alert_of_its_event(state: dict[str, Any], event: str, title: str) -> None:
    found = alerts.due(spec(), ended(**state))
    assert [(alert.event, alert.title, alert.is_end) for alert in found] == [(event, title, True)]
    assert titles(spec(["end"]), ended(**state)) == [title]
    assert titles(spec(["health"]), ended(**state)) == []


def test_an_alert_of_a_failure_has_the_last_line_and_the_next_command() -> None:
    [alert] = alerts.due(spec(["failure"]), ended(reason="exit", exit_code=1))
    assert alert.message.splitlines()[1:] == [
        "last line: KeyError: 'x'",
        f"next: gpujob monitor {RUN} --stream",
    ]


def test_findings_are_reported_except_those_for_information() -> None:
    found = [Health("lr", "info", "fine"), Health("nan", "error", "loss is\x1b[2J nan\n")]
    [alert] = alerts.due(spec(), Facts(State(started=1.0), 2.0, found))
    assert (alert.event, alert.title) == ("health", "job: error nan")
    assert "loss is[2J nan\n" in alert.message


@pytest.mark.parametrize(
    ("used", "limits", "expected"),
    [
        (7.9, {"budget_hours": 10.0, "max_hours": 10.0}, []),
        (8.0, {"budget_hours": 10.0, "max_hours": 9.0}, ["job: 80 % of the budget is used"]),
        (8.4, {"max_hours": 9.0}, []),
        (8.5, {"max_hours": 9.0}, ["job is stopped in 30 min"]),
    ],
)
def test_budget_and_hours_are_reported_in_time(
    used: float, limits: dict[str, float], expected: list[str]
) -> None:
    assert titles(spec(**limits), Facts(State(used_seconds=used * 3600), 0.0)) == expected


def test_the_deadline_of_an_instance_is_reported_with_the_command_that_moves_it() -> None:
    [alert] = alerts.due(spec(max_hours=50), Facts(State(), now=1000.0, deadline=2200))
    assert (alert.title, "gpujob hosts extend" in alert.message) == ("job is stopped in 20 min", True)


def test_an_interruption_is_reported_once_by_its_notice_or_its_end() -> None:
    notice = Facts(State(started=5.0), 6.0, notice={"action": "terminate", "time": "2026-11-21T10:00:00Z"})
    end = Facts(State(started=5.0, ended=8.0, reason="preempted"), 8.0)
    assert [one.key for one in alerts.due(spec(), notice)] == [one.key for one in alerts.due(spec(), end)]


class Server:
    """Answers from `outcomes`, then always with the last one."""

    def __init__(self, *outcomes: str | None) -> None:
        self.outcomes = list(outcomes or (None,))
        self.keys: list[str] = []

    def __call__(self, alert: Alert) -> Outcome:
        self.keys.append(alert.key)
        return Outcome(self.outcomes.pop(0) if len(self.outcomes) > 1 else self.outcomes[0])


@pytest.fixture
def paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RunPaths:
    monkeypatch.setattr(instance_limits, "find", lambda: None)
    odd_runs.complete(tmp_path / "runs" / RUN)
    return Layout(str(tmp_path)).run(RUN)


def change(paths: RunPaths, **state: Any) -> None:
    record = json.loads(Path(paths.state).read_text())
    Path(paths.state).write_text(json.dumps({**record, **state}))


def deliveries(paths: RunPaths) -> list[tuple[str, str, int, str | None]]:
    record = json.loads(Path(paths.alerts).read_text())["deliveries"]
    return [(one["event"], one["state"], one["attempts"], one["error"]) for one in record]


def look_until_done(watch: Watch, step: int = 1) -> int:
    """Looks every `step` seconds; returns after how many seconds nothing was left to do."""
    for seconds in range(0, 3600, step):
        if watch.look(100.0 + seconds):
            return seconds
    raise AssertionError("it never ended")


def test_a_server_that_fails_twice_gets_the_alert_at_the_third_try(paths: RunPaths) -> None:
    server = Server("HTTP 500", "HTTP 502", None)
    assert look_until_done(Watch(paths, spec(), {"webhook": server})) == PAUSES[0] + PAUSES[1]
    assert deliveries(paths) == [("end", "delivered", 3, None)]


def test_an_alert_is_sent_again_after_the_clock_was_set_back(paths: RunPaths) -> None:
    server = Server("HTTP 500", "HTTP 500")
    watch = Watch(paths, spec(), {"webhook": server})
    for now in (5000.0, 5000.1, 1000.0, 1000.1):
        watch.look(now)
    assert [one.attempts for one in watch._deliveries] == [2]


@pytest.mark.parametrize("content", ["", '{"event": "health", "t": 70, "rule": "old", "message": "m"}\n'])
def test_a_finding_is_reported_whatever_the_clock_says(paths: RunPaths, content: str) -> None:
    """What an earlier start of the run wrote is not, although its clock was ahead."""
    change(paths, **ALIVE, started=50.0, events_bytes=len(content))
    new = '{"event": "health", "t": 40, "rule": "new", "message": "m"}\n'
    Path(paths.events).write_text(content + new)
    server = Server()
    Watch(paths, spec(["health"]), {"webhook": server}).look(51.0)
    assert server.keys == ["health/50/new"]


def test_a_finding_is_reported_after_the_events_file_was_cut(paths: RunPaths) -> None:
    change(paths, **ALIVE, started=50.0, events_bytes=0)
    Path(paths.events).write_text("{}\n" * 1000)
    watch = Watch(paths, spec(["health"]), {"webhook": (server := Server())})
    watch.look(51.0)
    Path(paths.events).write_text('{"event": "health", "t": 60, "rule": "new", "message": "m"}\n')
    watch.look(52.0)
    assert server.keys == ["health/50/new"]


def test_a_server_that_is_gone_is_given_up_after_a_quarter_of_an_hour(paths: RunPaths) -> None:
    server = Server("Connection refused")
    seconds = look_until_done(Watch(paths, spec(), {"webhook": server}), step=20)
    assert 500 < seconds <= alert_watch.LIMIT
    assert deliveries(paths) == [("end", "failed", len(server.keys), "Connection refused")]
    assert len(server.keys) < 10


def test_a_later_process_sends_what_is_left_and_nothing_twice(paths: RunPaths) -> None:
    change(paths, **ALIVE, started=50.0, used_seconds=8 * 3600)
    Path(paths.events).write_text('{"event": "health", "t": 60, "rule": "nan", "message": "m"}\n')
    down, up = Server("HTTP 503"), Server()
    wanted = spec(budget_hours=10.0)
    assert not Watch(paths, wanted, {"webhook": down}).look(100.0)
    for now in (101.0, 102.0):  # two more processes, one after the other
        Watch(paths, wanted, {"webhook": up}).look(now)
    assert (down.keys, up.keys) == (["health/50/nan", "budget/10.000"], ["health/50/nan", "budget/10.000"])
    assert [state for _, state, _, _ in deliveries(paths)] == ["delivered", "delivered"]


def test_each_channel_gets_the_alert_whatever_happens_to_the_other(paths: RunPaths) -> None:
    good, bad = Server(), Server("exit code 1")
    look_until_done(Watch(paths, spec(), {"webhook": good, "command": bad}), step=20)
    assert len(good.keys) == 1
    assert [state for _, state, _, _ in deliveries(paths)] == ["delivered", "failed"]


def test_a_server_that_refuses_an_alert_is_asked_three_times(paths: RunPaths) -> None:
    asked: list[Alert] = []
    look_until_done(Watch(paths, spec(), {"webhook": lambda a: asked.append(a) or Outcome("HTTP 404", True)}))
    assert len(asked) == alert_watch.REFUSALS


def test_a_crash_that_is_followed_by_another_attempt_is_reported(paths: RunPaths) -> None:
    server = Server()
    watch = Watch(paths, spec(), {"webhook": server})
    change(paths, **ALIVE, attempt=1)
    assert not watch.look(100.0)
    change(paths, attempt=2)
    assert not watch.look(101.0)
    assert not watch.look(102.0)
    assert server.keys == ["failure/1"]


def test_a_supervisor_that_was_killed_is_reported_as_a_failure(paths: RunPaths) -> None:
    server = Server()
    change(paths, ended=None, boot=processes.boot(), supervisor={"pid": 1, "ticks": 1})
    assert look_until_done(Watch(paths, spec(), {"webhook": server})) >= 3
    assert deliveries(paths) == [("failure", "delivered", 1, None)]


def test_an_attempt_that_a_user_starts_has_a_process_of_its_own(paths: RunPaths) -> None:
    watch = Watch(paths, spec(), {"webhook": Server("HTTP 500")})
    assert not watch.look(100.0)
    change(paths, **ALIVE)
    assert watch.look(101.0)


def test_a_run_that_is_purged_ends_the_process(paths: RunPaths, tmp_path: Path) -> None:
    watch = Watch(paths, spec(), {"webhook": Server("HTTP 500")})
    watch.look(100.0)
    Path(paths.folder).rename(tmp_path / "gone")
    assert watch.look(101.0)
    assert not Path(paths.folder).exists()


def test_a_shutdown_leaves_seconds_for_what_was_not_sent(
    paths: RunPaths, monkeypatch: pytest.MonkeyPatch
) -> None:
    watch = Watch(paths, spec(), {"webhook": Server("HTTP 500")})
    watch.look(100.0)
    monkeypatch.setattr(alert_watch.time, "time", lambda: 100.0)
    watch.expect_shutdown()
    assert look_until_done(watch) <= alert_watch.SHUTDOWN_SECONDS
    assert deliveries(paths)[0][1] == "pending"  # and a resume sends it


def test_a_full_disk_neither_stops_nor_repeats_alerts(
    paths: RunPaths, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: str, value: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(alert_watch.files, "write_json", full)
    server = Server("HTTP 500", None)
    look_until_done(Watch(paths, spec(), {"webhook": server}))
    assert len(server.keys) == 2


def test_a_run_of_many_findings_sends_a_bounded_number_and_its_end(paths: RunPaths) -> None:
    lines = [json.dumps({"event": "health", "rule": f"r{n}", "message": "m"}) for n in range(500)]
    Path(paths.events).write_text("\n".join([*lines, "[[[", '{"event": "health"', "\x00"]) + "\n")
    server = Server()
    look_until_done(Watch(paths, spec(), {"webhook": server}))
    assert (len(server.keys), server.keys[-1]) == (41, "end/1")


@pytest.mark.parametrize("content", ["", "[", "[]", '{"deliveries": [1, {"key": 2}, {"t": 1e999}]}', "\xff"])
def test_a_damaged_record_of_alerts_is_replaced(paths: RunPaths, content: str) -> None:
    Path(paths.alerts).write_text(content, "latin-1")
    look_until_done(Watch(paths, spec(), {"webhook": Server()}))
    assert deliveries(paths) == [("end", "delivered", 1, None)]


def test_a_variable_that_was_not_set_is_recorded_as_the_reason(paths: RunPaths) -> None:
    senders = alert_watch.channels(spec(), {}, paths.work)
    look_until_done(Watch(paths, spec(), senders))
    assert deliveries(paths)[0][3] == "HOOK was not set where the run was started"
