"""Learning rates, metrics and health rules."""

import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn
from torch.optim import lr_scheduler as lrs

from trainers.engine import health, metrics, optim
from trainers.engine.config import ClassifierConfig
from trainers.engine.meter import Meter
from trainers.tasks import classifier, scores


@pytest.mark.parametrize("schedule", ["cosine", "constant", "step"])
@pytest.mark.parametrize("warmup", [0.0, 0.5, 2.0, 50.0])
def test_the_schedule_is_that_of_torch_in_closed_form(schedule, warmup):
    config = ClassifierConfig(epochs=6, schedule=schedule, warmup_epochs=warmup, step_epochs=2)
    owner, other = (optim.optimizer(nn.Linear(2, 2), config) for _ in range(2))
    ours, theirs = optim.Schedule(owner, config, 7), torch_schedule(other, config, 7)
    for step in range(42):
        rate = ours.set(step)
        expected = [g["lr"] for g in other.param_groups]
        assert [g["lr"] for g in owner.param_groups] == pytest.approx(expected, rel=1e-6)
        assert rate == pytest.approx(expected[0], rel=1e-6)
        other.step()
        theirs.step()


def torch_schedule(owner: torch.optim.Optimizer, config: ClassifierConfig, steps_per_epoch: int):
    """Return the same schedule built from torch's schedulers."""
    warm = optim.warmup_steps(config, steps_per_epoch)
    steps, peak = config.epochs * steps_per_epoch - warm, config.learning_rate
    main = {
        "cosine": lambda: lrs.CosineAnnealingLR(owner, steps, peak * config.final_rate),
        "step": lambda: lrs.StepLR(owner, config.step_epochs * steps_per_epoch, config.step_factor),
        "constant": lambda: lrs.ConstantLR(owner, 1.0, 1),
    }[config.schedule]()
    if not warm:
        return main
    rise = lrs.LinearLR(owner, start_factor=optim.WARMUP_START, total_iters=warm)
    return lrs.SequentialLR(owner, [rise, main], milestones=[warm])


def test_biases_and_gains_do_not_decay():
    owner = optim.optimizer(nn.Sequential(nn.Linear(2, 3), nn.LayerNorm(3)), ClassifierConfig())
    decay = {p.ndim: g["weight_decay"] for g in owner.param_groups for p in g["params"]}
    assert decay == {2: 1e-4, 1: 0.0}


def test_metrics_of_a_small_confusion_matrix():
    truth, answer = np.array([0, 0, 0, 1]), np.array([0, 0, 1, 1])
    confusion = metrics.confusion_counts(truth, answer, 3)
    assert confusion.tolist() == [[2, 1, 0], [0, 1, 0], [0, 0, 0]]
    values = metrics.summarise(confusion)
    assert values["accuracy"] == 0.75
    assert values["balanced_accuracy"] == pytest.approx((2 / 3 + 1) / 2)
    assert values["macro_f1"] == pytest.approx((0.8 + 2 / 3) / 2)
    assert values["majority"] == 0.75
    assert metrics.per_class(confusion, "abc")["a"]["precision"] == 1.0


def test_an_interval_over_actors_is_wider_than_one_over_samples():
    correct = [1.0] * 50 + [0.0] * 50
    by_actor = metrics.bootstrap_interval(correct, ["a"] * 50 + ["b"] * 50, 0)
    by_sample = metrics.bootstrap_interval(correct, [str(i) for i in range(100)], 0)
    assert by_actor == (0.0, 1.0)
    assert 0.35 < by_sample[0] < 0.45 < 0.55 < by_sample[1] < 0.65
    assert by_sample == metrics.bootstrap_interval(correct, [str(i) for i in range(100)], 0)


def test_an_interval_over_one_group_draws_its_samples_and_has_a_width():
    correct = [1.0] * 50 + [0.0] * 50
    one = metrics.bootstrap_interval(correct, ["a"] * 100, 0)
    assert 0.35 < one[0] < 0.45 < 0.55 < one[1] < 0.65
    weighed = metrics.bootstrap_interval(correct, ["a"] * 100, 0, weights=[2.0] * 100)
    assert weighed == pytest.approx((one[0] / 2, one[1] / 2))


@pytest.mark.parametrize(
    ("groups", "resampled"), [("aabb", "groups"), ("aaaa", "samples"), ("abcd", "samples")]
)
def test_the_interval_is_reported_with_its_sampling_unit(groups, resampled):
    records = [SimpleNamespace(group=group) for group in groups]
    summary = classifier.summary([1, 1, 1, 1], "ab")
    assert f", {resampled} resampled), balanced" in summary.conclude([1.0, 0.0, 1.0, 0.0], records, 0)
    shares = np.array([[0.9, 0.1]] * 4)
    events = scores.scores(np.array([0, 0, 1, 1]), shares, "ab", "wxyz", list(groups), 0)
    assert events["resampled"] == resampled


@pytest.mark.parametrize(("loss", "norm"), [(math.nan, 1.0), (math.inf, 1.0), (1.0, math.nan)])
def test_the_gate_names_the_batch(loss, norm):
    (finding,) = health.finite(loss, norm, ["a", "b"])
    assert finding.severity == "error"
    assert "a, b" in finding.message


def test_a_validation_is_finite_when_its_loss_and_its_score_are():
    assert health.finite_validation({"loss": 0.3, "accuracy": 0.5}) == []
    (finding,) = health.finite_validation({"loss": 0.3, "wer": math.nan})
    assert (finding.code, finding.severity, finding.message) == ("finite", "error", "on val: wer nan")


def test_finite_numbers_pass():
    assert health.finite(1.0, 1.0, []) == []
    assert health.first_loss(math.log(6), math.log(6)) == []
    assert health.gradient_jump(99.0, [1.0] * 20) == []
    assert health.above_chance(0.5, 6, 9) == []


def test_unusual_numbers_are_reported():
    assert health.first_loss(0.5, math.log(6))[0].code == "loss.first"
    assert health.gradient_jump(101.0, [1.0] * 20)[0].code == "grad.norm"
    assert health.above_chance(1 / 6, 6, 9)[0].code == "plateau.baseline"
    rare = {"train": [SimpleNamespace(label=label) for label in ["a"] * 99 + ["b"]]}
    assert [f.severity for f in health.balance(rare, ["a", "b"])] == ["warning"]


@pytest.mark.parametrize(("seconds", "shown"), [(0.05, "80 samples/s"), (16.0, "0.25 samples/s")])
def test_a_step_of_many_seconds_has_a_rate_too(seconds, shown, capsys):
    times = iter([0.0, seconds, seconds, seconds])
    events: list[dict] = []
    meter = Meter(
        lambda event, **fields: events.append(fields),
        ClassifierConfig(),
        9,
        clock=lambda: next(times, seconds),
    )
    meter.step(9, 1, 4, 1.0, 0.1, 0.5)
    assert shown in capsys.readouterr().out
    assert events[0]["rate"] == pytest.approx(4 / seconds)


def test_the_calibration_error_is_computed_before_rounding():
    truth = np.zeros(3, dtype=int)
    probabilities = np.array([[0.800049, 0.199951]] * 3)
    assert metrics.calibration(truth, probabilities)["ece"] == pytest.approx(0.199951, abs=1e-9)


@pytest.mark.parametrize(
    ("name", "kind", "fact"),
    [
        ("adamw", torch.optim.AdamW, ("amsgrad", False)),
        ("adam", torch.optim.Adam, ("amsgrad", True)),
        ("sgd", torch.optim.SGD, ("nesterov", True)),
    ],
)
def test_the_optimizer_is_that_of_the_option(name, kind, fact):
    made = optim.optimizer(nn.Linear(2, 2), ClassifierConfig(optimizer=name, weight_decay=0.5))
    assert type(made) is kind
    assert made.defaults[fact[0]] is fact[1]
    assert [group["weight_decay"] for group in made.param_groups] == [0.5, 0.0]
