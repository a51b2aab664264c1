"""Nothing that a job, a host, a checkpoint or a cloud wrote controls the terminal that it is printed on."""

from __future__ import annotations

import types
import typing
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest

from orchestrator.cli import failures
from orchestrator.context import Context
from orchestrator.core.events import CheckReport, DataReport, Event, Finding
from orchestrator.core.history import History
from orchestrator.core.hostfacts import Machine
from orchestrator.core.results import Evaluation, Export, Prediction
from orchestrator.core.runfacts import RunFacts
from orchestrator.core.runstate import RunState
from orchestrator.errors import GpujobError
from orchestrator.view import dashboard, instances, log, plans, results, status
from orchestrator.view.host_answers import InstanceCost, Resource
from orchestrator.view.instances import InstanceRow
from orchestrator.view.status import HostReport, RunReport
from tests.rigs import terminal
from tests.support import new_client

BIDI = "\u202e\u2066\u200f"
STRINGS = "\x1b]52;c;cm0=\x07\x1b]0;t\x1b\\\x9d0;t\x9c\x90q\x9c"
EVIL = f"{STRINGS}\x1b[6;66H\x1b[3J\x1bc\x9b7;7H\0\x08\x07{BIDI}word\rx"
FORBIDDEN = ("\x1b]", "\x1b[6;66H", "\x1b[3J", "\x1bc", *"\x9b\x9d\x9c\x90\0\x08\x07", *BIDI)


def variants(hint: Any) -> list[Any]:
    """Values of a type, every text in them hostile: one, or one of each member of a union."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        return [value for kind in arguments if kind is not type(None) for value in variants(kind)]
    if origin is typing.Annotated:
        return variants(arguments[0])
    if origin is typing.Literal:
        return [arguments[0]]
    if origin in (list, tuple, Sequence):
        return [(list if origin is list else tuple)(variants(arguments[0]))]
    if origin is not None and issubclass(origin, typing.Mapping):
        return [{EVIL: variants(arguments[1])[0]}]
    if hint in (int, float, bool):
        return [hint(3)]
    if isinstance(hint, type) and issubclass(hint, msgspec.Struct):
        return [_struct(hint)]
    return [Path(EVIL.replace("\0", "")) if hint is Path else EVIL]


def _struct(kind: Any) -> Any:
    hints = typing.get_type_hints(kind, include_extras=True)
    return kind(**{name: variants(hints[name])[0] for name in kind.__struct_fields__})


def evil(kind: Any) -> Any:
    return variants(kind)[0]


def run_reports() -> list[RunReport]:
    facts = msgspec.structs.replace(evil(RunFacts), events=tuple(variants(Event)))
    return [RunReport(facts, state, EVIL, 1.0) for state in variants(RunState)]


def show_status(ctx: Context) -> None:
    reports = tuple(run_reports())
    for detail in (True, False):
        host = HostReport(EVIL, (), evil(Machine), 1.0, EVIL, evil(InstanceRow), reports)
        status.print_status(ctx, [host, host], detail)


def show_monitor(ctx: Context) -> None:
    for dumb in ({"TERM": "dumb"}, {}):
        screen_ctx = msgspec.structs.replace(ctx, env={**ctx.env, **dumb})
        with dashboard.open_screen(screen_ctx) as screen:
            for report in run_reports():
                screen.show(report, History(report.facts.events), evil(Machine))


def show_results(ctx: Context) -> None:
    prediction = evil(Prediction)
    for changes in ({}, {"error": None}, {"error": None, "glosses": None}):
        ctx.out(results.prediction(msgspec.structs.replace(prediction, **changes)))
    ctx.out(results.evaluation(ctx, evil(Evaluation)))
    ctx.out(results.exported(evil(Export), ctx.short))
    ctx.out(results.prepared({EVIL: EVIL, "message": EVIL}))


def show_report(ctx: Context) -> None:
    tables = evil(DataReport)
    findings = tuple(Finding(EVIL, severity, EVIL, EVIL, EVIL) for severity in ("error", "warning", EVIL))
    report = msgspec.structs.replace(evil(CheckReport), findings=findings, data=tables)
    plans.print_report(ctx, report, cached=True)
    with plans.Progress(ctx) as progress:
        for value in (EVIL, 5):
            event = {"event": "progress", "message": value, "phase": EVIL, "step": EVIL, "of": EVIL}
            progress.line(msgspec.json.encode(event).decode())


def show_instances(ctx: Context) -> None:
    instances.print_instances(ctx, [evil(InstanceRow)])
    instances.print_up(ctx, evil(InstanceRow))
    instances.print_costs(ctx, [evil(InstanceCost)], [evil(Resource)], {})


def show_failures(ctx: Context) -> None:
    for error in (GpujobError(EVIL, EVIL, EVIL), ValueError(EVIL), OSError(5, EVIL, EVIL)):
        failures.report(ctx, error, [EVIL])
    ctx.talk(EVIL)
    ctx.yes = True
    ctx.confirm(EVIL)


def show_log(ctx: Context) -> None:
    writer = log.Writer(ctx.stdout)
    for byte in EVIL.encode():
        writer.write(bytes([byte]))
    writer.close()


SCREENS: list[Callable[[Context], None]] = [
    *(show_status, show_monitor, show_results, show_report, show_instances, show_failures, show_log),
]


def seen_on_a_terminal(show: Callable[[Context], None]) -> str:
    """What a terminal receives, in both streams."""
    with terminal.recorded() as (theirs, received), new_client() as client:
        env = {**client.env, "TERM": "xterm-256color"}
        with open(theirs, "w", encoding="utf-8", errors="replace", closefd=False) as stream:
            show(client.context(stdout=stream, stderr=stream, stdin=stream, env=env))
    return b"".join(received).decode()


@pytest.mark.parametrize("show", SCREENS, ids=lambda show: show.__name__)
def test_no_text_of_another_controls_the_terminal(show: Callable[[Context], None]) -> None:
    received = seen_on_a_terminal(show)
    assert "word" in received
    for sequence in FORBIDDEN:
        assert sequence not in received
