import msgspec
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.core import events as ev
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


def test_numbers_that_cannot_be_computed_with_are_no_event() -> None:
    lines = ['{"event": "progress", "t": 1e999}', '{"event": "progress", "step": %s}' % ("9" * 5000)]
    assert ev.parse(lines) == ()


def test_events_that_were_parsed_already_are_read_too() -> None:
    events = ev.parse(FIXTURE.splitlines())
    assert ev.parse(msgspec.to_builtins(events)) == events


@given(st.lists(st.text()))
def test_no_line_whatever_raises(lines: list[str]) -> None:
    assert len(ev.parse(lines)) <= len(lines)
