from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.core import runfacts
from orchestrator.core import runstate as rs
from orchestrator.core.runfacts import RunFacts

NOW = 1_760_000_000.0


def run_facts(**facts: Any) -> RunFacts:
    base: dict[str, Any] = {
        "id": "job-20261121T101112-1a2b",
        "run": {"created": NOW - 500},
        "state": None,
        "supervised": False,
        "pids": [],
        "events": [],
        "log": {"tail": ["boom"]},
        "checkpoints": {"steps": [], "last": None, "best": None},
    }
    return run({**base, **facts})


def run(answer: dict[str, Any]) -> RunFacts:
    facts = runfacts.parse_run({"id": "job-20261121T101112-1a2b", **answer})
    assert facts
    return facts


def ended(**state: Any) -> dict[str, Any]:
    return {"ended": NOW, "exit_code": None, "signal": None, "reason": "exit", "heartbeat": NOW, **state}


@pytest.mark.parametrize(
    ("facts", "word"),
    [
        (run_facts(run={"created": NOW - 5}), "preparing"),
        (run_facts(), "lost"),
        (run_facts(queue={"place": 1, "of": 2, "since": NOW}), "queued"),
        (run_facts(queue={"place": 1}, state=ended(reason="preempted")), "queued"),
        (run_facts(supervised=True, state={"ended": None, "started": NOW}), "running"),
        (run_facts(pids=[7], state={"ended": None, "heartbeat": NOW}), "orphaned"),
        (run_facts(state={"ended": None, "heartbeat": NOW - 9}), "lost"),
        (run_facts(state=ended(exit_code=0)), "succeeded"),
        (run_facts(state=ended(exit_code=3)), "failed"),
        (run_facts(state=ended(signal=9)), "failed"),
        (run_facts(state=ended(reason="not-started", exit_code=127)), "failed"),
        (run_facts(state=ended(reason="stopped", by="a@b", exit_code=75)), "stopped"),
        (run_facts(state=ended(reason="hours", exit_code=75)), "stopped"),
        (run_facts(state=ended(reason="idle", signal=9)), "stopped"),
        (run_facts(state=ended(reason="preempted", exit_code=75)), "preempted"),
    ],
)
def test_facts_give_exactly_one_state(facts: RunFacts, word: str) -> None:
    assert rs.word(rs.fold(facts, NOW)) == word


def test_a_limit_is_named_as_who_stopped_the_run() -> None:
    state = rs.fold(run_facts(state=ended(reason="idle")), NOW)
    assert isinstance(state, rs.Stopped)
    assert state.by == "the idle limit"


def test_a_failure_has_the_last_lines_and_the_meaning_of_its_code() -> None:
    state = rs.fold(run_facts(state=ended(exit_code=66)), NOW)
    assert isinstance(state, rs.Failed)
    assert (state.reason, state.last_lines) == ("diverged", ("boom",))


@pytest.mark.parametrize(
    ("end", "reason"),
    [
        ({"signal": 9}, "killed by signal 9 (SIGKILL, as by the kernel when memory is full)"),
        ({"signal": 11}, "killed by signal 11 (SIGSEGV)"),
        ({"signal": 99}, "killed by signal 99 (unknown)"),
        ({"exit_code": 139}, "exit code 139: a command of it was killed by signal 11 (SIGSEGV)"),
        ({"exit_code": 255}, "exit code 255"),
        ({"exit_code": 3}, "exit code 3"),
    ],
)
def test_a_signal_has_its_name_and_its_usual_cause(end: dict[str, int], reason: str) -> None:
    state = rs.fold(run_facts(state=ended(**end)), NOW)
    assert isinstance(state, rs.Failed)
    assert state.reason == reason


def test_a_lost_run_names_the_checkpoint_it_can_resume_from() -> None:
    state = rs.fold(run_facts(state={"ended": None, "heartbeat": 5.0}, checkpoints={"last": 40}), NOW)
    assert state == rs.Lost(5.0, 40)


def test_the_remaining_time_uses_the_pace_of_this_attempt_alone() -> None:
    lines = [
        '{"event": "start", "t": 1000, "resumed_from": 50}',
        '{"event": "progress", "phase": "train", "t": 1100, "step": 60, "of": 100}',
    ]
    state = rs.fold(
        run_facts(supervised=True, state={"ended": None, "started": 1000.0}, events=lines), 1100.0
    )
    assert isinstance(state, rs.Running)
    assert state.eta == pytest.approx(400.0)


def test_progress_of_an_evaluation_is_not_shown_as_the_trainings() -> None:
    lines = [
        '{"event": "progress", "phase": "train", "t": 5, "step": 60, "of": 100}',
        '{"event": "progress", "phase": "evaluate", "t": 6, "step": 1, "of": 9}',
    ]
    state = rs.fold(run_facts(supervised=True, state={"ended": None}, events=lines), 7.0)
    assert isinstance(state, rs.Running)
    assert (state.step, state.of) == (60, 100)


@given(
    st.fixed_dictionaries(
        {},
        optional={
            "state": st.none()
            | st.fixed_dictionaries(
                {"ended": st.none() | st.floats(0, 2e9)},
                optional={
                    "reason": st.none()
                    | st.sampled_from(["exit", "stopped", "hours", "idle", "preempted", "x"]),
                    "exit_code": st.none() | st.integers(0, 255),
                    "signal": st.none() | st.integers(1, 64),
                },
            ),
            "supervised": st.booleans(),
            "pids": st.lists(st.integers(1, 9)),
            "events": st.lists(st.text()),
            "run": st.none() | st.just({}),
        },
    )
)
def test_any_facts_give_a_state_and_a_recorded_end_is_never_shown_as_live(
    facts: dict[str, Any],
) -> None:
    state = rs.fold(run(facts), NOW)
    recorded = (facts.get("state") or {}).get("ended") is not None
    assert not (recorded and isinstance(state, rs.GOING))
    assert rs.word(state) in rs.WORDS
