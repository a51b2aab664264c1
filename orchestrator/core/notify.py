"""`notify:` of a job file or of the settings: where alerts of a run go, and which."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any, Literal, get_args

import msgspec

from orchestrator.errors import UsageError

Event = Literal["end", "failure", "health", "preemption", "budget", "deadline"]
Format = Literal["auto", "slack", "discord", "ntfy", "json"]
EVENTS: tuple[Event, ...] = get_args(Event)
VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")
_EXAMPLE = "notify: {webhook_env: SLACK_WEBHOOK_URL}, and: export SLACK_WEBHOOK_URL=…"


class Notify(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where alerts go. The URL of a webhook is a secret, so an environment variable holds it."""

    webhook_env: str | None = None
    format: Format = "auto"
    command: list[str] = msgspec.field(default_factory=list)
    events: list[Event] = msgspec.field(default_factory=lambda: list(EVENTS))

    @property
    def is_on(self) -> bool:
        return bool(self.events and (self.webhook_env or self.command))

    def describe(self) -> str:
        """`end, failure → the webhook in $NAME (slack) and the command notify-send`."""
        kind = "" if self.format == "auto" else f" ({self.format})"
        ways = [f"the webhook in ${self.webhook_env}{kind}"] if self.webhook_env else []
        ways += [f"the command {self.command[0]}"] if self.command else []
        return f"{', '.join(self.events)} → {' and '.join(ways)}"


def faults(notify: Notify) -> Iterator[tuple[tuple[str, ...], str, str]]:
    """Key, what is wrong with it (without its value, which may be a secret), and what to write instead."""
    name = notify.webhook_env
    if name is not None and not VARIABLE.match(name):
        why = "it must be the name of an environment variable that holds the URL"
        yield ("notify", "webhook_env"), why, _EXAMPLE
    if notify.command and not notify.command[0]:
        yield ("notify", "command"), "the command is empty", ""
    if notify.events and name is None and not notify.command:
        yield ("notify",), "it has neither webhook_env nor command", _EXAMPLE


def hint(key: str) -> str:
    """How a key of `notify` is written, where its value cannot be used."""
    words = {"events": ("one or more of", EVENTS), "format": ("one of", get_args(Format))}
    if key not in words:
        return _EXAMPLE
    start, values = words[key]
    return f"{start}: {', '.join(values)}"


def parse(text: str, source: str) -> Notify | None:
    """The setting `notify`, written as in a job file; None where it is empty. UsageError names its source."""
    from orchestrator.core import yamltext  # noqa: PLC0415 - for a setting only

    value: Any = yamltext.scalar(text)
    if value is None or value == "":
        return None
    if not isinstance(value, dict):
        raise UsageError(f"{source}: notify is a mapping of keys", "", _EXAMPLE)
    try:
        notify = msgspec.convert(value, Notify)
    except msgspec.ValidationError as error:
        raise UsageError(f"{source}: notify: {str(error).replace('`', '')}", "", _EXAMPLE) from None
    for at, why, example in faults(notify):
        raise UsageError(f"{source}: {'.'.join(at)}: {why}", "", example)
    return notify


def to_text(value: Any) -> str:
    """A mapping of a settings file as the text that `parse` reads."""
    return json.dumps(value, ensure_ascii=False)
