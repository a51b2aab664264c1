"""Options of the models, compared with PyTorch's own layers."""

import math

import numpy as np
import pytest
import sign_runs
import torch
from torch import nn

from trainers.blendshapes.config import ACTIVATIONS, INITIALISERS, Config, check_options
from trainers.blendshapes.model import ACTIVATIONS as FUNCTIONS
from trainers.blendshapes.model import Blendshapes, Dense, Recurrent
from trainers.data.landmarks import Layout
from trainers.engine.config import parse, unread
from trainers.mobilenet_v3 import model as student
from trainers.tasks.sign import network_checks
from trainers.tasks.sign.layers import CrossModal

KEYS = torch.arange(6)


def network(**options: object) -> Blendshapes:
    torch.manual_seed(1)
    config = Config(**{"hidden": (5, 4), "dropout": 0.0, **options})
    return Blendshapes(config, torch.zeros(33), torch.ones(33), 3)


def values(columns: int = 33) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(0).random((6, columns), np.float32))


def test_a_bidirectional_network_answers_from_both_final_states():
    layer = Recurrent(1, 5, 0.0, 0, 0.0, True)
    sequence = values()[..., None]
    output, (state, _) = layer.lstm(sequence)
    assert torch.equal(layer.last(output), torch.cat([state[0], state[1]], -1))
    assert network(model="lstm", bidirectional=True).answer.in_features == 8


@pytest.mark.parametrize("both_ways", [False, True])
def test_an_lstm_computed_by_step_equals_that_of_pytorch(both_ways):
    layer = Recurrent(1, 5, 0.0, 0, 0.0, both_ways)
    sequence = values()[..., None]
    assert torch.allclose(layer.by_step(sequence, KEYS), layer.lstm(sequence)[0], atol=1e-6)


def test_recurrent_dropout_drops_the_same_units_of_the_state_at_each_step():
    layer = Recurrent(1, 5, 0.0, 0, 0.5, False).train()
    cell = nn.LSTMCell(1, 5)
    cell.load_state_dict({name.removesuffix("_l0"): value for name, value in layer.lstm.state_dict().items()})
    sequence = values()[..., None]
    mask = layer.between[0](torch.ones(6, 5), KEYS)
    assert set(mask.unique().tolist()) == {0.0, 2.0}
    state = memory = torch.zeros(6, 5)
    for step in range(sequence.shape[1]):
        state, memory = cell(sequence[:, step], (state * mask, memory))
    assert torch.allclose(layer(sequence, KEYS)[:, -1], state, atol=1e-6)
    assert torch.equal(layer.eval()(sequence, KEYS), layer.lstm(sequence)[0])


def test_dropout_between_steps_does_not_depend_on_the_rest_of_the_batch():
    layer = Recurrent(1, 5, 0.2, 0, 0.5, True).train()
    sequence = values()[..., None]
    assert torch.allclose(layer(sequence, KEYS)[2:3], layer(sequence[2:3], KEYS[2:3]), atol=1e-6)


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_every_activation_is_that_of_its_name(name):
    modules = {"silu": nn.SiLU, "relu": nn.ReLU, "leaky-relu": nn.LeakyReLU, "elu": nn.ELU, "gelu": nn.GELU}
    module = {**modules, "tanh": nn.Tanh}[name]()
    assert set(ACTIVATIONS) == set(FUNCTIONS)
    layer = Dense(33, 5, 0.0, 0, name)
    assert torch.equal(layer(values(), KEYS), module(layer.linear(values())))


@pytest.mark.parametrize("rule", [name for name in INITIALISERS if name != "default"])
@pytest.mark.parametrize("model", ["dense", "lstm"])
def test_an_initialiser_gives_the_spread_of_its_paper(rule, model):
    net = network(model=model, hidden=(64, 64), initialiser=rule, columns=33)
    layer = net.layers[1]
    weights = layer.linear.weight if model == "dense" else layer.lstm.weight_hh_l0[:64]
    expected = {"xavier": math.sqrt(2 / 128), "kaiming": math.sqrt(2 / 64), "orthogonal": math.sqrt(1 / 64)}
    assert weights.std().item() == pytest.approx(expected[rule], rel=0.1)
    if rule == "orthogonal":
        assert torch.allclose(weights @ weights.T, torch.eye(64), atol=1e-5)
    assert not net.answer.bias.any()
    if model == "lstm":
        assert layer.lstm.bias_ih_l0.tolist() == [0.0] * 64 + [1.0] * 64 + [0.0] * 128


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"activation": "swish"}, "`activation` is 'swish'"),
        ({"initialiser": "glorot"}, "`initialiser` is 'glorot'"),
        ({"recurrent_dropout": 1.0}, "`recurrent_dropout` is 1.0"),
        ({"bidirectional": 1}, "`bidirectional` is 1, a int"),
        ({"ema_decay": 1.0}, "`ema_decay` is 1.0"),
        ({"init_head": "new"}, "`init_head` is 'new'"),
    ],
)
def test_a_value_outside_the_range_of_an_option_is_refused(options, message):
    _, (finding,) = parse(Config, options)
    assert finding.message == message


@pytest.mark.parametrize(
    ("model", "option"),
    [
        ("lstm", {"activation": "elu"}),
        ("dense", {"bidirectional": True}),
        ("dense", {"recurrent_dropout": 0.1}),
    ],
)
def test_an_option_of_the_other_network_is_refused(model, option):
    config, _ = parse(Config, {"model": model, **option})
    Blendshapes(config, torch.zeros(33), torch.ones(33), 3)
    assert check_options(config) == []
    (name,) = option
    assert name in {finding.key for finding in unread(config, option)}


def test_the_cross_modal_attention_is_pytorchs_multi_head_attention():
    layer = CrossModal({"a": 6, "b": 8, "c": 8})
    reference = nn.MultiheadAttention(8, 4, batch_first=True)
    with torch.no_grad():
        reference.in_proj_weight.copy_(layer.project.weight)
        reference.in_proj_bias.copy_(layer.project.bias)
        reference.out_proj.weight.copy_(torch.eye(8))
        reference.out_proj.bias.zero_()
    tokens = torch.randn(2, 5, 3, 8)
    flat = tokens.flatten(0, 1)
    expected, _ = reference(flat, flat, flat)
    assert torch.allclose(layer.attend(tokens).flatten(0, 1), expected, atol=1e-6)


@pytest.mark.parametrize("preset", ["bounded", "small", "tiny"])
@pytest.mark.parametrize(("layers", "cross"), [(2, False), (1, True), (2, True)])
def test_student_options_add_the_parameters_that_their_formula_gives(preset, layers, cross):
    net = student.Student(preset, 20, Layout.named("pose-face-hands"), 0.3, layers, cross)
    fixed, each = student.PARAMETERS[preset]
    expected = fixed + 20 * each + student.extra_parameters(preset, layers, cross)
    assert sum(p.numel() for p in net.parameters()) == expected


def test_a_student_with_all_options_passes_the_checks_of_its_network(signs, signs_cache):
    task = sign_runs.opened("mobilenet-v3", signs, signs_cache, lstm_layers=2, cross_attention=True)
    findings = [finding for check in network_checks.CHECKS for finding in check.ask(task)]
    assert [finding.code for finding in findings if finding.severity == "error"] == []
    assert len(network_checks.CHECKS) == 6
