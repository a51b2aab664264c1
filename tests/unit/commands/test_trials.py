"""A trial that falls behind is stopped; what is read again after a restart is not counted twice."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from orchestrator.commands import study, trials
from orchestrator.commands.deploy import Request
from orchestrator.commands.study import Terms
from orchestrator.core.space import Range
from orchestrator.errors import Unreachable, UsageError
from tests.support import Client, ScriptedHost
from tests.unit.commands.scripted import SEEN, client

if TYPE_CHECKING:
    import optuna

__all__ = ["client"]

TERMS = Terms("job", "val.loss", "min", {"config.x": Range(0.0, 1.0)})


def events(*values: float | None) -> str:
    lines = [{"v": 1, "t": 1.0, "event": "metrics", "split": "val", "values": {"loss": v}} for v in values]
    other = {"v": 1, "t": 1.0, "event": "metrics", "split": "train", "values": {"loss": 9.0}}
    return "".join(json.dumps(line) + "\n" for line in [other, *lines])


def host(client: Client, text: str, **state: Any) -> ScriptedHost:
    ended = state.get("ended") is not None
    run = {**SEEN, "state": {**SEEN["state"], **state}, "supervised": not ended, "pids": [] if ended else [1]}
    stopped = {"was_running": True, "remaining": [], "run": run}
    read = {"text": text, "offset": len(text)}
    return ScriptedHost({"status": {"runs": [run]}, "read_events": read, "stop": stopped})


def finished(folder: Path, prune: bool = True) -> optuna.Study:
    """A study with six results between 0 and 1."""
    opened = study.open_study(folder, TERMS, 0, prune)
    for value in (0.1, 0.2, 0.3, 0.4, 0.5, 0.6):
        trial = opened.ask(study.distributions(TERMS.space))
        trial.report(value, 0)
        opened.tell(trial, value)
    return opened


def active(opened: optuna.Study, of: ScriptedHost) -> trials.Active:
    return trials.Active(opened.ask(study.distributions(TERMS.space)), of, "job-t6", SEEN["id"])


def test_a_trial_worse_than_the_median_is_stopped_and_pruned(client: Client) -> None:
    opened, of = finished(client.home / "s"), host(client, events(0.9))
    outcome = trials.update(client.context(), opened, active(opened, of), TERMS)
    assert outcome == "pruned after 1 value of val.loss, the last 0.9"
    assert [name for name, _ in of.requests].count("stop") == 1
    assert opened.trials[-1].state.name == "PRUNED"
    assert opened.best_value == 0.1


def test_without_pruning_it_goes_on(client: Client) -> None:
    opened, of = finished(client.home / "s", prune=False), host(client, events(0.9))
    assert trials.update(client.context(), opened, active(opened, of), TERMS) is None
    assert "stop" not in [name for name, _ in of.requests]


def test_the_best_of_its_finite_values_is_the_result_of_a_trial(client: Client) -> None:
    opened = finished(client.home / "s")
    of = host(client, events(0.3, None, 0.05, 0.2), ended=2.0, exit_code=0, reason="exit")
    assert trials.update(client.context(), opened, active(opened, of), TERMS) == "val.loss 0.05"
    assert opened.trials[-1].value == 0.05


def test_values_that_were_reported_before_a_restart_are_not_reported_twice(client: Client) -> None:
    opened, of = finished(client.home / "s", prune=False), host(client, events(0.3, 0.2))
    one = active(opened, of)
    trials.update(client.context(), opened, one, TERMS)
    again = trials.Active(
        one.trial, host(client, events(0.3, 0.2, 0.1)), "job-t6", SEEN["id"], values=[0.3, 0.2]
    )
    trials.update(client.context(), opened, again, TERMS)
    assert opened.trials[-1].intermediate_values == {0: 0.3, 1: 0.2, 2: 0.1}


def test_a_metric_that_only_the_log_has_is_compared_too(client: Client) -> None:
    opened, of = finished(client.home / "s"), host(client, "", ended=2.0, exit_code=0, reason="exit")
    text = events(0.7)
    of.answers["read_log_events"] = {"text": text, "offset": len(text)}
    of.answers["status"]["runs"][0]["from_log"] = [
        {"what": "metrics of val", "format": "plain", "line": "val_loss 0.7"}
    ]
    assert trials.update(client.context(), opened, active(opened, of), TERMS) == "val.loss 0.7"


def test_events_that_begin_after_the_log_was_read_are_read_from_their_start(client: Client) -> None:
    opened, of = finished(client.home / "s", prune=False), host(client, "")
    one, text = active(opened, of), events(0.7)
    of.answers["read_log_events"] = {"text": text, "offset": 1000}
    of.answers["status"]["runs"][0]["from_log"] = [{"what": "metrics of val", "format": "plain", "line": "x"}]
    trials.update(client.context(), opened, one, TERMS)
    of.answers["status"]["runs"][0]["from_log"] = []
    of.answers["read_events"] = {"text": events(0.7, 0.6), "offset": 90}
    trials.update(client.context(), opened, one, TERMS)
    assert one.values == [0.7, 0.6]
    assert [asked["offset"] for name, asked in of.requests if name == "read_events"] == [0]


def interrupted(client: Client, attempt: int = 1) -> ScriptedHost:
    return host(client, events(0.3), ended=2.0, exit_code=75, reason="preempted", attempt=attempt)


def test_an_interrupted_trial_is_continued_and_not_counted_as_failed(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    requests: list[Request] = []
    monkeypatch.setattr(trials, "deploy", lambda _, request: requests.append(request))
    opened, ctx = finished(client.home / "s"), client.context()
    assert trials.update(ctx, opened, active(opened, interrupted(client)), TERMS) is None
    assert [request.resume for request in requests] == [SEEN["id"]]
    assert opened.trials[-1].state.name == "RUNNING"
    assert "was interrupted (preempted) and goes on" in ctx.stderr.getvalue()  # type: ignore[attr-defined]


def test_a_trial_that_is_interrupted_again_and_again_ends_as_failed(client: Client) -> None:
    opened = finished(client.home / "s")
    outcome = trials.update(client.context(), opened, active(opened, interrupted(client, 6)), TERMS)
    assert outcome == f"preempted: gpujob status {SEEN['id']}"
    assert opened.trials[-1].state.name == "FAIL"


def test_an_interrupted_trial_waits_for_a_host_that_does_not_answer(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    def silent(*_: object) -> str:
        raise Unreachable("no answer", "", "")

    monkeypatch.setattr(trials, "deploy", silent)
    opened = finished(client.home / "s")
    with pytest.raises(Unreachable):
        trials.update(client.context(), opened, active(opened, interrupted(client)), TERMS)
    assert opened.trials[-1].state.name == "RUNNING"


def test_a_success_without_the_metric_has_failed(client: Client) -> None:
    opened, of = finished(client.home / "s"), host(client, "", ended=2.0, exit_code=0, reason="exit")
    outcome = trials.update(client.context(), opened, active(opened, of), TERMS)
    assert outcome == "it reported no value of val.loss"
    assert opened.trials[-1].state.name == "FAIL"


def test_the_loss_of_progress_is_the_metric_train_loss(client: Client) -> None:
    terms = Terms("job", "train.loss", "min", TERMS.space)
    opened = study.open_study(client.home / "s", terms, 0, prune=True)
    lines = [
        json.dumps({"v": 1, "t": 1.0, "event": "progress", "step": n, "loss": 1 / n}) + "\n" for n in (1, 2)
    ]
    of = host(client, "".join(lines), ended=2.0, exit_code=0, reason="exit")
    assert trials.update(client.context(), opened, active(opened, of), terms) == "train.loss 0.5"


def test_a_sweep_that_goes_on_draws_other_values_than_before(client: Client) -> None:
    first = study.open_study(client.home / "s", TERMS, 0, prune=True)
    drawn = [first.ask(study.distributions(TERMS.space)).params["config.x"] for _ in range(3)]
    second = study.open_study(client.home / "s", TERMS, 0, prune=True)
    drawn += [second.ask(study.distributions(TERMS.space)).params["config.x"] for _ in range(3)]
    assert len(set(drawn)) == 6


def test_a_list_is_written_as_one_and_a_text_as_a_text() -> None:
    written = study.sets(
        {"config.hidden": "[64, 32]", "config.kind": "true", "config.x": 0.5, "config.y": True}
    )
    assert written == ("config.hidden=[64, 32]", 'config.kind="true"', "config.x=0.5", "config.y=true")


def test_a_damaged_record_of_a_sweep_is_named(client: Client) -> None:
    folder = client.home / "s"
    finished(folder)
    journal = folder / "journal.log"
    journal.write_text("damaged\n" + journal.read_text())
    with pytest.raises(UsageError, match=r"s/journal\.log cannot be read"):
        study.open_study(folder, TERMS, 0, prune=True)


def test_other_terms_of_a_sweep_are_shown_as_they_are_written(client: Client) -> None:
    study.open_study(client.home / "s", TERMS, 0, prune=True)
    other = Terms("job", "val.loss", "min", {"config.x": Range(0.5, 1.0, log=True), "config.y": ("a", "b")})
    with pytest.raises(UsageError, match="with another space") as error:
        study.open_study(client.home / "s", other, 0, prune=True)
    shown = 'config.x 0.5..1.0:log, config.y ["a", "b"]'
    assert error.value.why == f"space was config.x 0.0..1.0, now it is {shown}"
