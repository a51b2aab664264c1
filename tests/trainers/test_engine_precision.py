"""Mixed precision: used if the device supports it, else emulated with the same numbers."""

import pytest
import sign_runs as runs
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from trainers.blendshapes.config import Config as BlendshapesConfig
from trainers.blendshapes.model import Blendshapes
from trainers.data.sign.batch import collate
from trainers.engine import precision
from trainers.engine.config import ClassifierConfig
from trainers.engine.distributed import Group
from trainers.engine.learner import Learner
from trainers.facenet_lstm.config import Config as FacenetConfig
from trainers.facenet_lstm.model import FacenetLSTM
from trainers.slowfast.model import Shape, SlowFast

CPU = torch.device("cpu")
KEYS = torch.zeros(2, dtype=torch.int64)


@pytest.fixture
def bare(monkeypatch):
    """Pretend that the CPU supports neither bf16 nor fp16."""
    monkeypatch.setattr(precision, "has", lambda kind: False)


def test_computation_uses_the_requested_precision():
    assert precision.choose(ClassifierConfig(), CPU) == "float32"
    assert precision.choose(ClassifierConfig(precision="bf16"), CPU) == "bf16"
    for name, kind in (("float32", torch.float32), ("bf16", torch.bfloat16), ("fp16", torch.float16)):
        with precision.autocast(name, CPU):
            assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype is kind
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype is torch.float32


@pytest.mark.parametrize(("major", "chosen"), [(7, "float32"), (8, "bf16")])
def test_auto_is_no_bf16_on_a_gpu_that_only_imitates_it(major, chosen, monkeypatch):
    card = type("T4", (), {"major": major})
    monkeypatch.setattr(torch.version, "hip", None)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: card)
    monkeypatch.setattr(torch.cuda, "_check_bf16_tensor_supported", lambda device: True)
    assert precision.choose(ClassifierConfig(), torch.device("cuda")) == chosen


@pytest.mark.parametrize(("name", "kind"), precision.HALVES.items())
def test_the_emulation_gives_the_numbers_of_pytorch(name, kind, bare):
    torch.manual_seed(0)
    some, weight = torch.randn(2, 3, 9, 9), torch.randn(4, 3, 3, 3, requires_grad=True)
    results = []
    for mixed in (precision.autocast(name, CPU), torch.autocast("cpu", kind)):
        with mixed:
            answer = F.conv2d(some, weight)
        assert answer.dtype is kind
        (slope,) = torch.autograd.grad(answer.float().square().sum(), weight)
        assert slope.dtype is torch.float32
        assert torch.equal(slope, slope.to(kind).float())
        results.append((answer.float(), slope))
    (ours, our_slope), (theirs, their_slope) = results
    step = torch.finfo(kind).eps
    assert torch.allclose(ours, theirs, rtol=step, atol=step)
    assert float((our_slope - their_slope).norm() / their_slope.norm()) < 2 * step
    exact = F.conv2d(some, weight)
    assert not torch.equal(ours, exact)


class Halves(TorchDispatchMode):
    """Records the matrix products that PyTorch computes in half precision, forward and backward."""

    def __init__(self):
        super().__init__()
        self.found = set()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        tensors = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, torch.Tensor)]
        named = func.overloadpacket._qualified_op_name
        if any(word in named for word in ("mm", "conv", "rnn", "lstm", "dot", "linear")):
            self.found |= {named for leaf in tensors if leaf.dtype in precision.HALVES.values()}
        return func(*args, **(kwargs or {}))


def facenet() -> torch.Tensor:
    net = FacenetLSTM(FacenetConfig(hidden=(8, 8), dense=(8,)), 5, 3)
    return net(torch.randn(2, 7, 5), torch.tensor([7, 4]), KEYS)


def blendshapes(model: str) -> torch.Tensor:
    net = Blendshapes(BlendshapesConfig(model=model), torch.zeros(33), torch.ones(33), 3)
    return net(torch.rand(2, 33), KEYS)


def slowfast() -> torch.Tensor:
    return SlowFast(Shape(3, (1, 1), 8, squeeze=True)).train()(torch.randn(2, 8, 3, 32, 32))


@pytest.fixture(params=[*runs.TRAINERS, "facenet-lstm", "dense", "lstm", "slowfast"])
def run_network(request, signs, signs_cache):
    """A function that runs each trainer's network on two samples."""
    if request.param == "facenet-lstm":
        return facenet
    if request.param == "slowfast":
        return slowfast
    if request.param not in runs.TRAINERS:
        return lambda: blendshapes(request.param)
    task = runs.opened(request.param, signs, signs_cache)
    pair = collate([task.unaugmented("train", i) for i in range(2)])
    return lambda: task.loss(task.build(), pair).logits


def test_no_product_of_any_network_is_left_to_pytorchs_slow_loops(run_network, bare):
    with Halves() as products:
        with precision.autocast("bf16", CPU):
            answer = run_network()
        answer.float().square().mean().backward()
    assert products.found == set()


def test_an_lstm_that_is_not_packed_runs_on_a_cpu_without_bf16(bare):
    lstm = nn.LSTM(3, 4, batch_first=True)
    with precision.autocast("bf16", CPU):
        answer, (last, _) = lstm(torch.randn(2, 5, 3))
    assert answer.dtype is last.dtype is torch.bfloat16


def test_a_process_with_an_empty_first_batch_can_scale_its_gradients(signs, signs_cache):
    """The process's part of a small batch is empty; the scaler is initialised by the first loss."""
    task = runs.opened("mobilenet-v3", signs, signs_cache, precision="fp16")
    learner = Learner(task, Group(CPU), 1)
    learner.gradients(0, [None], False)
    assert learner.divide_and_clip(1.0) == 0.0
