"""Order and dropout are pure functions, independent of the number of processes and the batch."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from trainers.engine import rng
from trainers.engine.dropout import CounterDropout
from trainers.engine.loader import Plan, Shares, share


@given(st.integers(1, 60), st.integers(1, 16), st.integers(1, 4), st.integers(1, 3))
def test_all_processes_together_take_every_sample_once_an_epoch(size, batch, world, parts):
    plan = Plan(size, batch, 2, seed=5)
    taken = [list(Shares(plan, rank, world, parts, 0)) for rank in range(world)]
    assert {len(lists) for lists in taken} == {plan.steps * parts}
    keys = sorted(key for lists in taken for part in lists for key in part)
    assert keys == [(epoch, index) for epoch in range(2) for index in range(size)]


@given(st.integers(1, 60), st.integers(1, 16), st.data())
def test_the_order_after_any_step_equals_that_of_an_uninterrupted_run(size, batch, data):
    plan = Plan(size, batch, 3, seed=1)
    first = data.draw(st.integers(0, plan.steps))
    complete, rest = (list(Shares(plan, 0, 1, 1, step)) for step in (0, first))
    assert complete[first:] == rest
    assert len(Shares(plan, 0, 1, 1, first)) == len(rest)


@given(st.integers(1, 30), st.integers(1, 4), st.integers(1, 3))
def test_the_parts_of_a_batch_are_the_batch(size, world, parts):
    batch = [(0, index) for index in range(size)]
    lists = [part for rank in range(world) for part in share(batch, rank, world, parts)]
    assert sorted(key for part in lists for key in part) == batch


def test_epochs_and_seeds_have_orders_of_their_own():
    orders = [tuple(Plan(50, 50, 9, seed).batch(step)) for seed in (0, 1) for step in (0, 1)]
    assert len({tuple(index for _, index in order) for order in orders}) == 4


@given(st.integers(0, 500), st.integers(0, 2**64 - 1))
def test_a_permutation_contains_every_number_once(size, key):
    assert sorted(rng.permutation(size, key)) == list(range(size))


def test_random_words_depend_on_every_counter_and_its_position():
    words = {rng.derive_seed(*counters) for counters in [(0, 1, 2), (0, 2, 1), (1, 1, 2), (0, 1), (0,)]}
    assert len(words) == 5
    assert rng.derive_seed(0, 1, 2) == 6768782832058643234


def mask(keys: list[int], steps: int, rate: float = 0.5, layer: int = 3) -> torch.Tensor:
    return CounterDropout(rate, layer)(torch.ones(len(keys), steps, 16), torch.tensor(keys))


def test_a_mask_does_not_depend_on_neighbours_order_or_padding():
    alone = mask([7], 5)[0]
    assert torch.equal(mask([9, 7, 1], 5)[1], alone)
    assert torch.equal(mask([9, 7, 1], 50)[1, :5], alone)


def test_samples_layers_and_elements_have_masks_of_their_own():
    a, b = mask([1, 2], 200)
    other = mask([1], 200, layer=4)[0]
    for first, second in ((a, b), (a, other), (a[:, 0], a[:, 1]), (a[:-1], a[1:])):
        same = ((first > 0) == (second > 0)).float().mean()
        assert 0.4 < same < 0.6


@pytest.mark.parametrize("rate", [0.1, 0.25, 0.5, 0.9])
def test_a_mask_drops_its_share_and_keeps_the_mean(rate):
    values = mask(list(range(64)), 100, rate)
    assert abs(float((values == 0).float().mean()) - rate) < 0.01
    assert abs(float(values.mean()) - 1.0) < 0.05


def test_nothing_is_dropped_in_eval_mode():
    layer = CounterDropout(0.5, 0).eval()
    values = torch.rand(2, 3)
    assert layer(values, torch.tensor([1, 2])) is values


def test_random_words_have_uniform_bits():
    words = np.array([rng.derive_seed(0, i) & 0xFFFF for i in range(4000)])
    assert abs(words.mean() / 0xFFFF - 0.5) < 0.02
