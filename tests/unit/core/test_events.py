from hypothesis import given
from hypothesis import strategies as st

from orchestrator.core import events as ev
from tests.support import REPOSITORY

FIXTURE = (REPOSITORY / "tests" / "fixtures" / "events.jsonl").read_text("utf-8")


def test_every_event_of_the_shared_fixture_is_understood() -> None:
    account = ev.parse(FIXTURE.splitlines())
    assert account.skipped == 0
    kinds = {type(event) for event in account.events}
    assert kinds == {ev.Start, ev.Progress, ev.Metrics, ev.Checkpoint, ev.Health, ev.Warned, ev.End}


def test_unknown_fields_are_ignored_and_lines_that_are_no_event_are_counted() -> None:
    account = ev.parse(
        ['{"event": "progress", "step": 3, "colour": "red"}', '{"event": "dance"}', "nonsense", ""]
    )
    assert [event.step for event in account.events if isinstance(event, ev.Progress)] == [3]
    assert account.skipped == 2


def test_numbers_that_are_none_may_stand_in_a_line() -> None:
    account = ev.parse(['{"event": "progress", "step": 1, "loss": NaN}'])
    assert account.skipped == 0


@given(st.lists(st.text()))
def test_no_line_whatever_raises(lines: list[str]) -> None:
    account = ev.parse(lines)
    assert len(account.events) + account.skipped == sum(bool(line.strip()) for line in lines)
