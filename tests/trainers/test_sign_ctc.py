"""Misuses of CTC, each refused with its name, and normalisation over valid frames."""

import math

import numpy as np
import pytest
import torch

from trainers.data import normalise
from trainers.data.frames import FrameNormaliser, Frames
from trainers.data.normalise import NormalisedTwice
from trainers.tasks import ctc


def uniform(batch: int = 1, steps: int = 12, words: int = 9) -> torch.Tensor:
    return torch.full((batch, steps, words), 1 / words).log()


LENGTH = torch.tensor([12])


@pytest.mark.parametrize(
    ("values", "lengths", "targets", "message"),
    [
        (uniform(), LENGTH, [[5, 0, 7]], "target 0 holds the blank, id 0"),
        (uniform(), LENGTH, [[5, 9, 7]], "an id outside 1 to 8"),
        (uniform(), LENGTH, [[5, -1, 7]], "an id outside 1 to 8"),
        (uniform(), torch.tensor([8]), [[5, 5, 5, 7, 7, 1]], "needs 9 frames .* the output has 8"),
        (torch.randn(1, 12, 9) * 5, LENGTH, [[5]], "do not add up to 1"),
        (uniform(12, 2), torch.tensor([12, 12]), [[1], [2]], "the batch comes first: 12 rows"),
        (uniform(2, 2), torch.tensor([12, 12]), [[1], [2]], "a length is outside 1 to 2"),
        (uniform(), torch.tensor([[12]]), [[5]], r"lengths \(B,\)"),
        (uniform(), torch.tensor([0]), [[]], "a length is outside"),
    ],
)
def test_a_misuse_of_ctc_is_refused_by_name(values, lengths, targets, message):
    with pytest.raises(ctc.Misuse, match=message):
        ctc.losses(values, lengths, targets)


@pytest.mark.parametrize("loss", [ctc.losses, ctc.flat_losses])
@pytest.mark.parametrize("frame", [0, 5, 11])
def test_a_frame_that_is_nan_gives_its_row_a_loss_that_is_nan(loss, frame):
    values = uniform(3)
    values[1, frame] = torch.nan
    losses = loss(values, torch.tensor([12, 12, 12]), [[5, 7], [5, 7], []])
    assert losses.isnan().tolist() == [False, True, False]
    values[2, 0] = 3.0
    with pytest.raises(ctc.Misuse, match="do not add up to 1"):
        loss(values, torch.tensor([12, 12, 12]), [[5, 7], [5, 7], []])


def test_a_barely_alignable_target_has_a_finite_loss_and_gradient():
    values = torch.randn(1, 9, 9, requires_grad=True)
    loss = ctc.losses(values.log_softmax(-1), torch.tensor([9]), [[5, 5, 5, 7, 7, 1]])
    loss.sum().backward()
    assert loss.isfinite().all()
    assert values.grad.isfinite().all()


def test_the_loss_of_an_untrained_model_is_that_of_counting_paths():
    # One word in three frames: of 3 ** 3 paths, 6 collapse to it.
    assert float(ctc.untrained(torch.tensor([3]), [[1]], 3)) == pytest.approx(-math.log(6 / 27))
    empty = ctc.untrained(torch.tensor([4]), [[]], 3)
    assert float(empty) == pytest.approx(4 * math.log(3))


def frames(seed: int, *lengths: int) -> Frames:
    draw = torch.Generator().manual_seed(seed)
    values = torch.zeros(len(lengths), max(lengths), 6)
    for row, length in enumerate(lengths):
        values[row, :length] = 3 + torch.randn(length, 6, generator=draw)
    return Frames(values, torch.tensor(lengths))


def statistics() -> normalise.Normaliser:
    rows = [np.random.default_rng(i).normal(3, 1, (20, 6)).astype(np.float32) for i in range(9)]
    return normalise.fit(rows, [str(i) for i in range(9)])


@pytest.mark.parametrize("kind", ["global", "per-sample", "none"])
def test_padding_changes_nothing_and_a_second_normalisation_raises(kind):
    normaliser = FrameNormaliser(kind, statistics() if kind == "global" else None)
    both, alone = normaliser.apply(frames(1, 7, 30)), normaliser.apply(frames(1, 7))
    assert torch.allclose(both.values[0, :7], alone.values[0], atol=1e-6)
    assert not both.values[0, 7:].any()
    with pytest.raises(NormalisedTwice):
        normaliser.apply(both)
    again = FrameNormaliser.from_dict(normaliser.as_dict())
    assert torch.equal(again.apply(frames(1, 7)).values, alone.values)


def test_a_feature_that_never_varies_in_a_sample_is_not_blown_up():
    batch = frames(2, 9)
    batch.values[..., 2] = 0.5
    values = FrameNormaliser("per-sample").apply(batch).values
    assert values.isfinite().all()
    assert float(values.abs().max()) < 10


def test_global_statistics_and_their_absence_do_not_pass_for_each_other():
    with pytest.raises(ValueError, match="do not fit together"):
        FrameNormaliser("global")
    with pytest.raises(ValueError, match="do not fit together"):
        FrameNormaliser("none", statistics())


def test_a_flat_start_lays_glosses_evenly_with_blanks_between():
    table = ctc.flat_targets(torch.tensor([10, 5, 4]), [[3, 4], [2], []], 12)
    assert table[0].tolist() == [0, 3, 3, 3, 0, 0, 4, 4, 4, 0, 0, 0]
    assert table[1].tolist() == [0, 2, 2, 2, 0, 0, 0, 0, 0, 0, 0, 0]
    assert table[2].tolist() == [0] * 12


def test_a_flat_start_loses_the_mean_over_valid_frames_times_the_glosses():
    lengths, targets = torch.tensor([10, 5]), [[3, 4], [2]]
    message = ctc.flat_losses(uniform(2), lengths, targets)
    assert message.tolist() == pytest.approx([2 * math.log(9), math.log(9)])
    aligned = torch.nn.functional.one_hot(ctc.flat_targets(lengths, targets, 12), 9) * 30.0
    assert ctc.flat_losses(aligned.log_softmax(-1), lengths, targets).max() < 1e-6
    beyond = aligned.clone()
    beyond[1, 5:] = torch.randn(7, 9)
    assert ctc.flat_losses(beyond.log_softmax(-1), lengths, targets).max() < 1e-6
    with pytest.raises(ctc.Misuse, match="needs 9 frames"):
        ctc.flat_losses(uniform(), torch.tensor([8]), [[5, 5, 5, 7, 7, 1]])
