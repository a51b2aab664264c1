"""Decides which alerts of a run are due, and what they say."""

from __future__ import annotations

from typing import Iterator, NamedTuple, Sequence

from orchestrator.onhost.instance_limits import Notice
from orchestrator.onhost.records import RunSpec, State

BUDGET_SHARE = 0.8  # of the budget, at which an alert is due
DEADLINE_SECONDS = 1800.0  # before a time limit, at which an alert is due
_LONGEST = 300  # characters of a text that the run wrote


class Alert(NamedTuple):
    """`key` names what happened, so that it is sent once. `is_end`: the run has ended.

    `event` is one of end, failure, health, preemption, budget and deadline.
    """

    key: str
    event: str
    title: str
    message: str
    is_end: bool = False


class Health(NamedTuple):
    """A finding of the run about itself; `severity` is info, warning or error."""

    rule: str
    severity: str
    message: str


class Facts(NamedTuple):
    """What a run shows at one moment.

    `notice`: EC2's notice of an interruption. `deadline`: when the instance shuts down (since 1970).
    `is_supervised`: the supervisor is alive. `metrics`: the latest, as a text for each split. `failed`: the
    attempts that failed and were followed by another one.
    """

    state: State
    now: float
    health: Sequence[Health] = ()
    notice: Notice | None = None
    deadline: int | None = None
    is_supervised: bool = True
    metrics: Sequence[str] = ()
    last_lines: Sequence[str] = ()
    failed: Sequence[int] = ()


def due(spec: RunSpec, facts: Facts) -> list[Alert]:
    """Returns the alerts that the facts call for and that the job asks for, whether they were sent or not."""
    events = spec.notify.events if spec.notify else []
    every = [*_during(spec, facts), *_at_end(spec, facts)]
    return [alert for alert in every if alert.event in events or (alert.is_end and "end" in events)]


def trial(host: str) -> Alert:
    """Returns the alert by which a user tries the channels."""
    text = "This is a test. Alerts of runs on %s arrive here." % host
    return Alert("test", "test", "gpujob test alert", text)


def duration(seconds: float) -> str:
    """Returns `42 s`, `17 min` or `5 h 03 min`."""
    total = int(max(0.0, seconds))
    if total < 60:
        return "%d s" % total
    return "%d min" % (total // 60) if total < 3600 else "%d h %02d min" % (total // 3600, total % 3600 // 60)


def plain(text: str) -> str:
    """Returns a text on one line, without control characters, of bounded length."""
    return "".join(letter for letter in " ".join(text.split()) if letter.isprintable())[:_LONGEST]


def _during(spec: RunSpec, facts: Facts) -> Iterator[Alert]:
    name, session = _name(spec), int(facts.state.started)
    for finding in facts.health:
        if finding.severity != "info":
            title = "%s: %s %s" % (name, plain(finding.severity), plain(finding.rule))
            text = _text(spec, facts, "monitor %s" % spec.id, plain(finding.message))
            yield Alert("health/%d/%s" % (session, finding.rule[:80]), "health", title, text)
    for attempt in facts.failed:
        title = "%s: attempt %d failed, the next one runs" % (name, attempt)
        text = _text(spec, facts, "monitor %s --stream" % spec.id, *_last_line(facts))
        yield Alert("failure/%d" % attempt, "failure", title, text)
    if facts.notice is not None:
        when = "EC2 interrupts this spot instance at %s" % plain(facts.notice["time"])
        text = _text(spec, facts, "deploy --resume %s" % spec.id, when)
        yield Alert("preemption/%d" % session, "preemption", "%s is preempted" % name, text)
    if facts.state.ended is None:
        yield from _limits(spec, facts)


def _limits(spec: RunSpec, facts: Facts) -> Iterator[Alert]:
    """The budget and the time limits of a run that goes on."""
    name, used = _name(spec), facts.state.used_seconds
    budget = spec.budget_hours
    if budget is not None and budget > 0 and used >= BUDGET_SHARE * budget * 3600:
        title = "%s: %.0f %% of the budget is used" % (name, 100 * used / (budget * 3600))
        text = _text(spec, facts, "monitor %s" % spec.id, "the budget pays for %s" % duration(budget * 3600))
        yield Alert("budget/%.3f" % budget, "budget", title, text)
    limits = []
    if spec.max_hours is not None:
        limits.append((spec.max_hours * 3600 - used, "the run's limit of hours", "%.3f" % spec.max_hours))
    if facts.deadline is not None:
        what = "the deadline of its instance"
        limits.append((facts.deadline - facts.now, what, "instance/%d" % facts.deadline))
    if limits and min(limits)[0] <= DEADLINE_SECONDS:
        left, what, key = min(limits)
        title = "%s is stopped in %s" % (name, duration(left))
        step = "hosts extend" if key.startswith("instance") else "monitor %s" % spec.id
        yield Alert("deadline/%s" % key, "deadline", title, _text(spec, facts, step, "by %s" % what))


def _at_end(spec: RunSpec, facts: Facts) -> Iterator[Alert]:
    state, name = facts.state, _name(spec)
    session = int(state.started)
    if state.ended is None and facts.is_supervised:
        return
    key, event, step = "end/%d" % session, "failure", "monitor %s --stream" % spec.id
    more: Sequence[str] = _last_line(facts)
    if state.ended is None:
        title = "%s: its supervisor has ended, the end of the run is not recorded" % name
        step = "status %s" % spec.id
    elif state.reason == "preempted":
        key, event, title = "preemption/%d" % session, "preemption", "%s was preempted" % name
        more, step = facts.metrics, "deploy --resume %s" % spec.id
    elif state.reason in ("stopped", "hours", "idle"):
        event, title = "end", "%s was stopped %s" % (name, _by(state))
        more, step = facts.metrics, "fetch %s" % spec.id
    elif state.exit_code == 0:
        event, title, more, step = "end", "%s succeeded" % name, facts.metrics, "fetch %s" % spec.id
    else:
        how = "exit code %s" % state.exit_code if state.signal is None else "signal %s" % state.signal
        title = "%s failed: %s" % (name, how)
    yield Alert(key, event, title, _text(spec, facts, step, *more), is_end=True)


def _by(state: State) -> str:
    reasons = {"hours": "at its limit of hours", "idle": "because it was idle"}
    return reasons.get(state.reason or "", "by %s" % plain(state.by or "somebody"))


def _name(spec: RunSpec) -> str:
    return plain(spec.job or spec.id)


def _last_line(facts: Facts) -> list[str]:
    return ["last line: %s" % plain(line) for line in list(facts.last_lines)[-1:]]


def _text(spec: RunSpec, facts: Facts, step: str, *lines: str) -> str:
    """Returns the lines of a message; `step`: the command to type next."""
    host, used = plain(facts.state.host), duration(facts.state.used_seconds)
    first = "run %s on %s, after %s" % (spec.id, host, used)
    return "\n".join([first, *lines, "next: gpujob %s" % step])
