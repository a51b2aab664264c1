"""Faults of the options and the code, seeded one by one: `check` reports each with its code."""

import dataclasses
import itertools
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from faults import change, check, codes, usable_files
from torch import nn

from trainers.data import normalise
from trainers.engine import optim
from trainers.engine.config import option
from trainers.engine.loop import TrainingLoop
from trainers.facenet_lstm import config as options
from trainers.facenet_lstm import model
from trainers.facenet_lstm.trainer import FacenetTrainer, Sample


def trainer_with(change: Callable[[Sample], Sample]) -> type[FacenetTrainer]:
    """Return a trainer that applies `change` to each sample before the model."""

    class Faulty(FacenetTrainer):
        def sample(self, split, epoch, index):
            return change(super().sample(split, epoch, index))

    return Faulty


def test_labels_shuffled_against_their_features_are_caught(sample, cache, request_of):
    kind = trainer_with(lambda s: dataclasses.replace(s, label=s.index % 6))
    report, _ = check(request_of(sample, work=cache), kind, slow=())
    assert codes(report) == {"label.match"}


def test_features_shuffled_against_their_labels_are_caught(sample, cache, request_of):
    kind = trainer_with(lambda s: dataclasses.replace(s, features=s.features[::-1].copy()))
    report, _ = check(request_of(sample, work=cache), kind, slow=())
    assert "label.match" in codes(report)


def test_features_that_are_not_normalised_are_caught(sample, cache, request_of, monkeypatch):
    def forget(self, sample):
        return dataclasses.replace(sample, normalised="forgotten")

    monkeypatch.setattr(normalise.Normaliser, "apply", forget)
    report, _ = check(request_of(sample, work=cache), slow=())
    assert "norm.once" in codes(report)


def test_a_second_normalisation_raises_and_is_caught(sample, cache, request_of):
    class Twice(FacenetTrainer):
        def collate(self, samples):
            return super().collate([self.normaliser.apply(sample) for sample in samples])

    report, _ = check(request_of(sample, work=cache), Twice, slow=())
    (finding,) = [f for f in report["findings"] if f["code"] == "norm.once"]
    assert "NormalisedTwice" in finding["message"]


def test_a_second_normalisation_by_hand_is_caught_by_its_scale(sample, cache, request_of):
    class Twice(FacenetTrainer):
        def collate(self, samples):
            mean, std = self.normaliser.mean, self.normaliser.std
            again = [dataclasses.replace(s, features=(s.features - mean) / std) for s in samples]
            return super().collate(again)

    report, _ = check(request_of(sample, work=cache), Twice, slow=())
    assert "norm.once" in codes(report)


def test_a_std_without_a_floor_is_caught(copy, request_of, monkeypatch):
    def nearly_constant(arrays: dict) -> dict:
        values = arrays["video_features"].copy()
        values[:, 3] = 1e-7 * np.arange(len(values))
        values /= np.linalg.norm(values, axis=1, keepdims=True)
        return {**arrays, "video_features": values}

    for path in usable_files(copy):
        change(path, nearly_constant)
    report, _ = check(request_of(copy), slow=())
    assert codes(report) == set()
    monkeypatch.setattr(normalise, "floored", lambda std: std)
    report, _ = check(request_of(copy), slow=())
    assert codes(report) == {"norm.std"}


def test_statistics_of_all_the_data_are_caught(sample, cache, request_of):
    class Leaking(FacenetTrainer):
        def fit_normaliser(self):
            ids = [record.id for record in self.data.records]
            return normalise.fit((self.data.cache.features(id) for id in ids), ids)

    report, _ = check(request_of(sample, work=cache), Leaking, slow=())
    assert codes(report) == {"norm.train_only"}


def test_statistics_that_are_not_in_the_checkpoint_are_caught(sample, cache, request_of):
    class Forgetful(FacenetTrainer):
        def setup(self):
            super().setup()
            ones = {"mean": [0.0] * 512, "std": [1.0] * 512}
            normalisation = {**self.preprocessing["normalisation"], **ones}
            self.preprocessing = {**self.preprocessing, "normalisation": normalisation}

    report, _ = check(request_of(sample, work=cache), Forgetful, slow=())
    assert codes(report) == {"norm.saved"}


def test_statistics_of_a_sample_taken_over_its_padding_are_caught(sample, cache, request_of):
    class Padded(FacenetTrainer):
        def collate(self, samples):
            batch = super().collate(samples)
            values = batch.features
            mean, std = values.mean(1, keepdim=True), values.std(1, keepdim=True)
            return batch._replace(features=(values - mean) / (std + 1e-6))

    report, _ = check(request_of(sample, work=cache), Padded, slow=())
    assert "pad.invariance" in codes(report)


def test_an_lstm_that_reads_the_padding_is_caught(sample, cache, request_of, monkeypatch):
    def unpacked(self, values, lengths, keys):
        return self.dropout(self.norm(self.lstm(values)[0]), keys)

    monkeypatch.setattr(model.Reader, "forward", unpacked)
    report, _ = check(request_of(sample, work=cache), slow=())
    assert "pad.invariance" in codes(report)


class BatchNormed(nn.Module):
    """The model with a batch norm whose running statistics are far behind."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner
        self.norm = nn.BatchNorm1d(6, momentum=1e-4)

    def forward(self, features, lengths, keys):
        return self.norm(50.0 * self.inner(features, lengths, keys))


def test_train_and_eval_mode_that_differ_are_caught(sample, cache, request_of):
    class Lagging(FacenetTrainer):
        def build(self):
            return BatchNormed(super().build())

    report, _ = check(request_of(sample, work=cache), Lagging, slow={"overfit"})
    assert {"overfit", "pad.invariance"} <= codes(report)


def test_an_option_that_nothing_reads_is_caught(sample, cache, request_of, monkeypatch):
    @dataclass(frozen=True)
    class Config(options.Config):
        test_clips: int = option(5, "clips averaged in the test")

    monkeypatch.setattr(options, "Config", Config)
    report, code = check(request_of(sample, work=cache, test_clips=10))
    assert code == 64
    assert [f["key"] for f in report["findings"] if f["code"] == "option.used"] == ["test_clips"]


def test_an_option_of_another_schedule_is_caught(sample, cache, request_of):
    report, _ = check(request_of(sample, work=cache, step_epochs=10))
    (finding,) = [f for f in report["findings"] if f["code"] == "option.used"]
    assert finding["fix"] == "remove it, or set schedule: step, which reads it"


def test_two_owners_of_the_learning_rate_are_caught(sample, cache, request_of, monkeypatch):
    right = optim.optimizer

    def two(model, config, factors=None):
        planned = right(model, config, factors)
        other = torch.optim.lr_scheduler.ExponentialLR(planned, 0.9)

        def rescale(*_):
            planned.param_groups[0]["lr"] *= 0.9**other.last_epoch
            other.last_epoch += 1

        planned.register_step_pre_hook(rescale)
        return planned

    monkeypatch.setattr(optim, "optimizer", two)
    report, _ = check(request_of(sample, work=cache), slow=())
    assert "lr.plan" in codes(report)


def test_a_part_of_the_model_without_gradient_is_caught(sample, cache, request_of):
    class Unused(FacenetTrainer):
        def build(self):
            built = super().build()
            built.spare = nn.Linear(3, 3)
            return built

    report, _ = check(request_of(sample, work=cache), Unused, slow=())
    assert "grad.flow" in codes(report)


def test_a_loss_of_the_wrong_scale_is_caught(sample, cache, request_of):
    class Summed(FacenetTrainer):
        def loss(self, model, batch):
            output = super().loss(model, batch)
            return output._replace(weight=torch.ones(()))

    report, _ = check(request_of(sample, work=cache), Summed, slow=())
    assert "loss.first" in codes(report)


def test_a_loss_that_forgets_the_labels_cannot_be_overfitted(sample, cache, request_of):
    class Blind(FacenetTrainer):
        def collate(self, samples):
            batch = super().collate(samples)
            return batch._replace(features=torch.ones_like(batch.features))

    report, _ = check(request_of(sample, work=cache), Blind, slow={"overfit"})
    assert "overfit" in codes(report)


def test_state_that_a_checkpoint_forgets_is_caught(sample, cache, request_of, monkeypatch):
    right = TrainingLoop._resume

    def forget(self):
        right(self)
        self.learner.optimizer.state.clear()

    monkeypatch.setattr(TrainingLoop, "_resume", forget)
    report, _ = check(request_of(sample, work=cache), slow={"resume.exact"})
    assert codes(report) == {"resume.exact"}


def test_state_outside_parameters_and_buffers_is_caught(sample, cache, request_of):
    scales = itertools.count(1.0)  # another for each network, also for the one that takes a checkpoint

    class Scaled(nn.Module):
        def __init__(self, inner: nn.Module) -> None:
            super().__init__()
            self.inner = inner
            self.register_buffer("scale", torch.tensor(next(scales)), False)

        def forward(self, *inputs):
            return self.inner(*inputs) * self.scale

    class Hidden(FacenetTrainer):
        def build(self):
            return Scaled(super().build())

    report, _ = check(request_of(sample, work=cache), Hidden)
    assert {"ckpt.load", "norm.saved"} & codes(report)
