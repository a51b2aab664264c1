import pytest

from orchestrator.commands.runs import choose
from orchestrator.core.runfacts import RunFacts, RunRecord, SupervisorState
from orchestrator.errors import NotFound, UsageError

NOW = 1_760_000_000.0


def run(run_id: str, job: str, going: bool = False) -> RunFacts:
    ended = None if going else NOW
    state = SupervisorState(ended=ended, reason="exit", exit_code=0)
    record = RunRecord(job=job, created=NOW)
    return RunFacts(id=run_id, record=record, supervised=going, state=state)


A1, A2 = run("a-20261121T101112-1111", "a"), run("a-20261121T101113-2222", "a")
B = run("ab-20261121T101114-3333", "ab")
GOING = run("c-20261121T101115-4444", "c", going=True)


def test_a_jobs_name_means_its_latest_run_and_not_a_prefix_of_others() -> None:
    assert choose([A1, A2, B], "a", NOW) is A2


def test_a_unique_prefix_or_the_full_id_names_a_run() -> None:
    assert choose([A1, A2, B], "a-20261121T101112", NOW) is A1
    assert choose([A1, A2, B], A2.id, NOW) is A2


def test_a_prefix_that_fits_several_names_them() -> None:
    with pytest.raises(UsageError, match="matches 2 runs") as error:
        choose([A1, A2], "a-2026", NOW)
    assert "2222" in error.value.why


def test_an_unknown_run_exits_3_and_lists_the_known_runs() -> None:
    with pytest.raises(NotFound) as error:
        choose([A1], "zebra", NOW)
    assert error.value.exit_code == 3
    assert A1.id in error.value.why


def test_an_empty_word_names_no_run_even_where_there_is_only_one() -> None:
    with pytest.raises(NotFound, match="no run ''"):
        choose([A1], "", NOW)


def test_without_an_argument_the_live_run_or_else_the_latest_is_used() -> None:
    assert choose([GOING, A1, B], None, NOW) is GOING
    assert choose([A1, B], None, NOW) is B


def test_with_several_live_runs_one_must_be_named() -> None:
    with pytest.raises(UsageError, match="2 runs are going"):
        choose([GOING, run("d-20261121T101116-5555", "d", going=True)], None, NOW)


def test_without_any_run_the_message_shows_how_to_start_one() -> None:
    with pytest.raises(NotFound) as error:
        choose([], None, NOW)
    assert error.value.next_step.startswith("gpujob deploy")
