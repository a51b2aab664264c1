"""The events of a run for its curves: each once, or a bounded sample of very many."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.core import events
from orchestrator.core.history import MOST_SERIES, MOST_VALUES, History
from orchestrator.core.layout import Layout
from orchestrator.onhost import event_file

RUN = "job-20261121T101112-1a2b"
LIMIT = 1 << 16


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    (tmp_path / "runs" / RUN).mkdir(parents=True)
    return Layout(str(tmp_path))


def write(layout: Layout, content: bytes) -> Path:
    path = Path(layout.run(RUN).events)
    path.write_bytes(content)
    return path


def progress(step: int) -> bytes:
    return b'{"event": "progress", "step": %d, "of": 1000000, "loss": %f}\n' % (step, 1e6 - step)


def metrics(epoch: int) -> bytes:
    return b'{"event": "metrics", "split": "val", "values": {"f1": %d}}\n' % epoch


def test_each_complete_line_is_read_once(layout: Layout) -> None:
    write(layout, b"one\ntwo\nthr")
    assert event_file.read(layout, RUN, 0, 100) == {"text": "one\ntwo\n", "offset": 8}
    write(layout, b"one\ntwo\nthree\n")
    assert event_file.read(layout, RUN, 8, 100) == {"text": "three\n", "offset": 14}
    assert event_file.read(layout, RUN, 14, 100) == {"text": "", "offset": 14}


def test_events_that_were_begun_anew_are_read_from_their_begin(layout: Layout) -> None:
    write(layout, b"three\n")
    assert event_file.read(layout, RUN, 14, 100) == {"text": "three\n", "offset": 6}


def test_of_very_many_events_a_sample_of_all_parts_is_read(layout: Layout) -> None:
    lines = [progress(step) + (metrics(step // 1000) if step % 1000 == 0 else b"") for step in range(50_000)]
    content = b"".join(lines)
    write(layout, content)
    answer = event_file.read(layout, RUN, 0, LIMIT)
    assert answer["offset"] == len(content)
    assert len(answer["text"]) <= LIMIT
    read = events.parse(answer["text"].splitlines())
    steps = [event.step or 0 for event in read if isinstance(event, events.Progress)]
    assert steps == sorted(set(steps))
    assert (steps[0], steps[-1]) == (0, 49_999)
    assert max(b - a for a, b in itertools.pairwise(steps)) < 1000
    values = [event.values["f1"] for event in read if isinstance(event, events.Metrics)]
    assert values == list(range(50))


def test_of_very_many_metrics_every_second_or_fourth_is_read(layout: Layout) -> None:
    write(layout, b"".join(metrics(epoch) for epoch in range(20_000)))
    answer = event_file.read(layout, RUN, 0, LIMIT)
    assert len(answer["text"]) <= LIMIT
    read = events.parse(answer["text"].splitlines())
    values = [event.values["f1"] or 0 for event in read if isinstance(event, events.Metrics)]
    assert {b - a for a, b in itertools.pairwise(values)} in ({32}, {64})


PARTS = [progress(1), metrics(2), b"\n", b"x" * 5000, b'"metrics"\n']


@settings(max_examples=200)
@given(st.lists(st.sampled_from(PARTS), max_size=40))
def test_any_file_is_read_to_its_end_in_a_few_reads(
    tmp_path_factory: pytest.TempPathFactory, parts: list[bytes]
) -> None:
    root = tmp_path_factory.mktemp("r")
    (root / "runs" / RUN).mkdir(parents=True)
    layout, content = Layout(str(root)), b"".join(parts)
    write(layout, content)
    offset = 0
    for _ in range(3):
        answer = event_file.read(layout, RUN, offset, 8192)
        assert offset <= answer["offset"] <= len(content)
        offset = answer["offset"]
    assert len(content) - offset <= 8192
    assert b"\n" not in content[offset:] or len(content) > 8192


def test_a_history_keeps_a_bounded_number_of_values_of_any_run() -> None:
    history = History()
    for start in range(0, 200_000, 1000):
        history.add(events.Progress(step=step, loss=float(step)) for step in range(start, start + 1000))
    ((name, series),) = history.curves()
    assert name == "train loss"
    assert MOST_VALUES // 2 <= len(series.values) < MOST_VALUES
    assert (series.low, series.high, series.last) == (0.0, 199_999.0, 199_999.0)
    assert series.values == sorted(series.values)
    history.add([events.Metrics(split="val", values={str(n): 1.0 for n in range(1000)})])
    assert len(history.curves()) == MOST_SERIES


def test_what_is_not_finite_stays_in_the_curve_however_long_it_is() -> None:
    history = History(events.parse(json.dumps({"event": "progress", "loss": loss}) for loss in (1, 2)))
    history.add([events.Progress(loss=float("nan"))])
    history.add(events.Progress(loss=1.0) for _ in range(3 * MOST_VALUES))
    ((_, series),) = history.curves()
    assert series.odd == 1
    assert sum(value != value for value in series.values) == 1


def test_of_many_events_the_latest_of_each_kind_is_found(layout: Layout) -> None:
    lines = [progress(step) for step in range(5000)]
    lines[100] = b'{"event": "warning", "message": "early"}\n'
    lines[200] = b"no event\n"
    lines.append(b'{"event": "progress", "st')
    found = event_file.latest(str(write(layout, b"".join(lines))))
    assert found.skipped == 1
    assert [json.loads(line).get("step") for line in found.lines] == [None, 4999]
