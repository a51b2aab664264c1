"""Watches one run from a process of its own, and sends its alerts.

The process has no part in the run: it reads the run's files, and neither its end nor a server that hangs
changes anything there. What was sent is recorded in alerts.json, and is not sent again by a later process.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time
from typing import TYPE_CHECKING, Callable, Mapping

from orchestrator.core import jsontext
from orchestrator.core.layout import Layout, RunPaths
from orchestrator.onhost import (
    alerts,
    companions,
    event_file,
    files,
    instance_limits,
)
from orchestrator.onhost.alerts import Alert
from orchestrator.onhost.companions import Pause
from orchestrator.onhost.records import RunSpec, State

if TYPE_CHECKING:
    from orchestrator.onhost.alert_channels import Outcome

Sender = Callable[[Alert], "Outcome"]

POLL = 1.0  # seconds between two looks at the run
PAUSES = (1.0, 3.0, 10.0, 30.0, 60.0, 120.0, 300.0)  # seconds after each failed attempt; then the last again
LIMIT = 900.0  # seconds after which an alert that could not be delivered is given up
REFUSALS = 3  # attempts at a server that refuses an alert
SHUTDOWN_SECONDS = 20.0  # seconds for what is left once the machine shuts down
_MOST = 40  # alerts of one run, besides those of its end
_EVENTS = 1 << 20  # bytes at the end of earlier events that are read
# Variables of the helper that the process keeps: what finds programs, the proxy, and the instance's limits.
_KEPT = (
    *("HOME", "LANG", "LOGNAME", "PATH", "SHELL", "TZ", "USER", "XDG_RUNTIME_DIR"),
    *("http_proxy", "https_proxy", "no_proxy", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "SSL_CERT_FILE"),
    *("DBUS_SESSION_BUS_ADDRESS", "DISPLAY", "WAYLAND_DISPLAY", "GPUJOB_INSTANCE_FILES"),
)


class Delivery:
    """An alert on its way over one channel; `state` is pending, delivered or failed. `t`: when it was due."""

    def __init__(self, alert: Alert, channel: str, t: float) -> None:
        self.alert = alert
        self.channel = channel
        self.t = t
        self.state = "pending"
        self.attempts = 0
        self.error: str | None = None

    @staticmethod
    def parse(value: jsontext.Object) -> Delivery | None:
        """Returns a delivery as it was recorded; None where a part of it is damaged."""
        texts = [value.text(name) for name in ("key", "event", "title", "message", "channel", "state")]
        t, attempts = value.number("t"), value.integer("attempts")
        if None in texts or t is None or attempts is None:
            return None
        key, event, title, message, channel, state = map(str, texts)
        delivery = Delivery(Alert(key, event, title, message, value.flag("is_end")), channel, t)
        delivery.state, delivery.attempts = state, attempts
        return delivery


def _record(one: Delivery) -> Mapping[str, object]:
    return {**one.alert._asdict(), **{name: value for name, value in vars(one).items() if name != "alert"}}


def start(layout: Layout, spec: RunSpec, secrets: Mapping[str, str]) -> None:
    """Starts the process for a run that asks for alerts. A failure is not the run's: it is recorded.

    The secrets are passed over a pipe. A second process waits until the first has ended.
    """
    if spec.notify is None:
        return
    if problem := companions.start("alert", layout, spec.id, secrets, _kept_environment()):
        sys.stderr.write("alerts of %s cannot be sent: %s\n" % (spec.id, problem))


def main(layout: Layout, run_id: str) -> None:
    """Runs the process: reads the secrets from stdin, leaves its parent, and returns when all is sent."""
    secrets = companions.begin()
    paths = layout.run(run_id)
    spec = RunSpec.load(paths.run_json)
    if spec is None or spec.notify is None:
        return
    companions.wait_for_turn(layout, run_id)
    with companions.only_one(paths.alerts_lock):
        watch = Watch(paths, spec, channels(spec, secrets, paths.work))
        signal.signal(signal.SIGTERM, lambda *_: watch.expect_shutdown())
        while not watch.look(time.time()):
            time.sleep(POLL)
    os._exit(0)  # without waiting for a thread that a server holds


def channels(spec: RunSpec, secrets: Mapping[str, str], folder: str) -> dict[str, Sender]:
    """Returns what sends the alerts of a run: `webhook`, `command`, or both."""
    # 60 ms of urllib and ssl, which the other operations of a helper do not need
    from orchestrator.onhost.alert_channels import Command, Outcome, Webhook  # noqa: PLC0415

    senders: dict[str, Sender] = {}
    notify = spec.notify
    if notify and notify.webhook_env:
        url = secrets.get(notify.webhook_env) or ""
        missing = Outcome("%s was not set where the run was started" % notify.webhook_env, is_final=True)
        senders["webhook"] = Webhook(url, notify.format, spec.id).send if url else lambda _: missing
    if notify and notify.command:
        passed = {name: secrets[name] for name in spec.pass_env if name in secrets}
        env = {**_kept_environment(), **spec.env, **passed}
        senders["command"] = Command(notify.command, env, spec.id, folder).send
    return senders


class Watch:
    """The alerts of one run and their deliveries. `look` is called again and again, with the time."""

    def __init__(self, paths: RunPaths, spec: RunSpec, senders: Mapping[str, Sender]) -> None:
        self._paths = paths
        self._spec = spec
        self._senders = senders
        self._deliveries = _load(paths.alerts)
        self._pauses: dict[tuple[str, str], Pause] = {}
        self._run = companions.Watched(paths)
        self._offset = max(0, files.size(paths.events) - _EVENTS)
        self._has_started = False
        self._health: dict[str, alerts.Health] = {}
        self._failed: list[int] = []
        self._attempt = 0
        self._give_up_at: float | None = None

    def expect_shutdown(self) -> None:
        """Leaves only `SHUTDOWN_SECONDS` seconds for what was not sent: the machine shuts down."""
        self._give_up_at = time.time() + SHUTDOWN_SECONDS
        self._pauses.clear()

    def look(self, now: float) -> bool:
        """Reads the run, sends what is due; returns whether nothing is left to be done."""
        state = self._run.look()
        if state is None:
            return self._run.is_over
        self._observe(state, now)
        pending = [one for one in self._deliveries if one.state == "pending" and one.channel in self._senders]
        for one in pending:
            self._send(one, now)
        is_late = self._give_up_at is not None and now >= self._give_up_at
        return is_late or (self._run.has_ended and all(one.state != "pending" for one in pending))

    def _observe(self, state: State, now: float) -> None:
        """Queues the alerts that are due."""
        if self._attempt and state.attempt > self._attempt:
            self._failed += range(self._attempt, state.attempt)
        self._attempt = state.attempt
        self._read_events(state)
        limits = instance_limits.find()
        has_ended = self._run.has_ended
        facts = alerts.Facts(
            state,
            now,
            list(self._health.values()),
            limits.notice if limits else None,
            limits.deadline if limits else None,
            not has_ended,
            _metrics(self._paths.events) if has_ended else (),
            files.last_lines(self._paths.log, 1) if has_ended or self._failed else (),
            self._failed,
        )
        for alert in alerts.due(self._spec, facts):
            self._queue(alert, now)

    def _queue(self, alert: Alert, now: float) -> None:
        known = {(one.alert.key, one.channel) for one in self._deliveries}
        for channel in self._senders:
            is_full = len(self._deliveries) >= _MOST * len(self._senders) and not alert.is_end
            if (alert.key, channel) not in known and not is_full:
                self._deliveries.append(Delivery(alert, channel, now))
                self._save()

    def _send(self, one: Delivery, now: float) -> None:
        """Tries a delivery unless it is to wait, and records how that ended."""
        at = (one.alert.key, one.channel)
        if at in self._pauses and self._pauses[at].goes_on(now):
            return
        outcome = self._senders[one.channel](one.alert)
        one.attempts += 1
        one.error = outcome.error
        is_final = outcome.is_final and one.attempts >= REFUSALS
        pause = max(PAUSES[min(one.attempts, len(PAUSES)) - 1], outcome.wait)
        self._pauses[at] = Pause(now, pause)
        if outcome.error is None:
            one.state = "delivered"
        elif is_final or now + pause > one.t + LIMIT:
            one.state = "failed"
        self._save()

    def _save(self) -> None:
        """Writes alerts.json; where that fails, as on a full disk, this process still knows what it sent."""
        with contextlib.suppress(OSError):
            files.write_json(
                self._paths.alerts, {"v": 1, "deliveries": [_record(o) for o in self._deliveries]}
            )

    def _read_events(self, state: State) -> None:
        """Keeps the first health event of each rule that was written since the supervisor started.

        What stands in the file before is old, whatever its time is: the clock may be set back. A file that
        was cut since is read from its begin.
        """
        if not self._has_started:
            self._offset, self._has_started = max(self._offset, state.events_bytes or 0), True
        with contextlib.suppress(OSError), files.open_regular(self._paths.events) as handle:
            self._offset = files.resumed(handle, self._offset)
            handle.seek(self._offset)
            content = handle.read(_EVENTS)
            complete = content.rfind(b"\n") + 1 or (len(content) if len(content) == _EVENTS else 0)
            self._offset += complete
            for line in content[:complete].split(b"\n"):
                if b'"health"' in line:
                    self._add_health(line, state)

    def _add_health(self, line: bytes, state: State) -> None:
        with contextlib.suppress(jsontext.BadJson):
            event = jsontext.read_object(line)
            rule, t = event.text("rule") or "", event.number("t")
            is_old = state.events_bytes is None and t is not None and t < state.started
            if event.text("event") == "health" and not is_old and len(self._health) < _MOST:
                message = event.text("message") or event.text("seen") or ""
                self._health.setdefault(
                    rule, alerts.Health(rule, event.text("severity") or "warning", message)
                )


def _kept_environment() -> dict[str, str]:
    return {name: os.environ[name] for name in _KEPT if name in os.environ}


def _load(path: str) -> list[Delivery]:
    """Returns the deliveries that an earlier process recorded; those that cannot be read are left out."""
    recorded = (files.load(path) or jsontext.Object()).children("deliveries")
    return [one for one in map(Delivery.parse, recorded) if one is not None]


def _metrics(path: str) -> list[str]:
    """Returns the latest metrics of each split, as `val: accuracy 0.91, loss 0.3`."""
    lines = []
    for line in event_file.latest(path).lines:
        with contextlib.suppress(jsontext.BadJson):
            event = jsontext.read_object(line)
            if event.text("event") == "metrics" and "values" in event:
                values = event.child("values").values.items()
                numbers = [(name, v) for name, v in values if isinstance(v, (int, float))]
                shown = ", ".join("%s %.4g" % (alerts.plain(name), v) for name, v in numbers[:8])
                lines.append("%s: %s" % (alerts.plain(event.text("split") or "None"), shown))
    return lines
