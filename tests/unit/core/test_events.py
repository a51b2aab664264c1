import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.core import events as ev
from orchestrator.core import runfacts, runstate
from tests.support import REPOSITORY

FIXTURE = (REPOSITORY / "tests" / "fixtures" / "events.jsonl").read_text("utf-8")


def test_every_event_of_the_shared_fixture_is_understood() -> None:
    events = ev.parse(FIXTURE.splitlines())
    assert len(events) == len(FIXTURE.splitlines())
    kinds = {type(event) for event in events}
    assert kinds == {ev.Start, ev.Progress, ev.Metrics, ev.Checkpoint, ev.Health, ev.Warned, ev.End}


def test_unknown_fields_are_ignored_and_invalid_lines_are_skipped() -> None:
    events = ev.parse(
        ['{"event": "progress", "step": 3, "colour": "red"}', '{"event": "dance"}', "nonsense", ""]
    )
    assert [event.step for event in events if isinstance(event, ev.Progress)] == [3]
    assert len(events) == 1


def test_an_event_may_contain_nan_and_infinity() -> None:
    assert len(ev.parse(['{"event": "progress", "step": 1, "loss": NaN}'])) == 1


def test_a_health_event_of_version_1_and_2_is_read() -> None:
    old = '{"v": 1, "event": "health", "rule": "r", "severity": "error", "seen": "NaN"}'
    new = old.replace("seen", "message").replace('"v": 1', '"v": 2')
    assert [event.message for event in ev.parse([old, new]) if isinstance(event, ev.Health)] == ["NaN", "NaN"]


def test_a_report_of_version_2_has_its_number_of_samples() -> None:
    data = {"found": 9, "used": 7, "refused": [], "tables": []}
    report = ev.parse_report({"v": 2, "event": "report", "findings": [], "data": data})
    assert report
    assert report.data == ev.DataReport(samples=9, used=7)


@pytest.mark.parametrize("number", ["1e999", "Infinity", "NaN", "9" * 400, "9" * 5000, "[]", '"x"'])
def test_a_number_that_cannot_be_computed_with_costs_its_field_alone(number: str) -> None:
    lines = [
        f'{{"event": "progress", "step": 3, "of": {number}}}',
        f'{{"event": "progress", "step": 3, "t": {number}}}',
    ]
    assert ev.parse(lines) == (ev.Progress(step=3), ev.Progress(step=3))
    assert runstate.eta(ev.parse(lines), 10.0, 1.0) is None


def test_a_metric_that_is_no_number_costs_that_metric_alone() -> None:
    (event,) = ev.parse(['{"event": "metrics", "split": "val", "values": {"f1": 0.5, "name": "x"}}'])
    assert event == ev.Metrics(split="val", values={"f1": 0.5})


def test_a_number_may_be_written_as_text() -> None:
    assert ev.parse(['{"event": "progress", "step": "3"}']) == (ev.Progress(step=3),)


def test_a_text_with_line_ends_stays_on_one_line() -> None:
    """It would look like lines of our own in `status`."""
    lines = ['{"event": "metrics", "split": "a\\nb", "values": {"c\\r\\u2028d": 1}}']
    assert ev.parse(lines) == (ev.Metrics(split="a b", values={"c d": 1.0}),)
    facts = runfacts.parse_run({"id": "job-20261121T101112-1a2b", "run": {"who": "a\nb"}})
    assert facts
    assert facts.record
    assert facts.record.who == "a b"


def test_nested_lines_are_skipped_and_the_next_is_read() -> None:
    deep = "[" * 2000
    lines = [deep, f'{{"event": "progress", "x": {deep}}}', '{"event": "end", "status": "done"}']
    assert ev.parse(lines) == (ev.End(status="done"),)


def test_events_that_were_parsed_already_are_read_too() -> None:
    events = ev.parse(FIXTURE.splitlines())
    assert ev.parse(msgspec.to_builtins(events)) == events


@given(st.lists(st.text()))
def test_no_line_whatever_raises(lines: list[str]) -> None:
    assert len(ev.parse(lines)) <= len(lines)
