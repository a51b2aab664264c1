"""The network compared with the reference implementation and its 3-D form; its receptive field."""

import hashlib
import io
import math
import pickle
from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from benchmarks.slowfast_golden import clip, weights
from trainers.data import emotions
from trainers.slowfast import lowering, model
from trainers.slowfast import weights as files
from trainers.slowfast.config import Config
from trainers.slowfast.model import Shape, SlowFast
from trainers.slowfast.trainer import SlowFastTrainer

PAGE = Path(__file__).parents[2] / "docs" / "slowfast.md"
NARROW = Shape(8, width=8, beta=4)
TINY = Shape(6, depths=(1, 1), width=8, beta=2, squeeze=True)

# Printed by pytorchvideo itself: python -m benchmarks.slowfast_golden
KEYS = "232fe1ef711ecb515a3f309d461c0e61cabd48b8a3a319d89a921dd4faeb55a8"
LOGITS = [
    [-0.199543, -3.200640, 0.638422, -0.070225, 0.266832, -2.121336, 1.797691, 1.039841],
    [-0.210022, -3.268200, 0.625632, -0.056202, 0.266533, -2.026673, 1.766645, 1.095623],
]


def reference(shape: Shape, names) -> dict[str, Tensor]:
    """Return weights by a formula, under the names of a reference implementation."""
    own = {name: tuple(value.shape) for name, value in SlowFast(shape).state_dict().items() if value.ndim}
    theirs = {files.SCHEMES["pytorchvideo"].name(name): size for name, size in own.items()}
    assert hashlib.sha256("\n".join(sorted(theirs)).encode()).hexdigest() == KEYS
    values = weights(theirs)
    return {names(name): values[files.SCHEMES["pytorchvideo"].name(name)] for name in own}


@pytest.mark.parametrize("names", [scheme.name for scheme in files.SCHEMES.values()])
def test_with_mapped_weights_it_answers_as_pytorchvideo_does(names):
    net = SlowFast(NARROW).eval()
    taken = files.take(net, reference(NARROW, names))
    with torch.no_grad():
        logits = net(clip(8, 64))
    assert taken.fresh == ()
    assert torch.allclose(logits, torch.tensor(LOGITS), atol=1e-4, rtol=0)


@pytest.mark.parametrize(("classes", "count"), [(8, 33_662_928), (400, 34_566_488)])
def test_r50_has_the_parameters_of_the_reference(classes, count):
    with torch.device("meta"):
        assert sum(p.numel() for p in SlowFast(Shape(classes)).parameters()) == count


def conv3d(values, frames, weight, stride):
    """Return the 3-D convolution that lowering.conv must equal."""
    volume = values.unflatten(0, (-1, frames)).transpose(1, 2)
    padding = [size // 2 for size in weight.shape[2:]]
    return F.conv3d(volume, weight, None, stride, padding).transpose(1, 2).flatten(0, 1)


@pytest.mark.parametrize(("frames", "size"), [(8, 32), (13, 40), (6, 33)])
def test_answers_and_gradients_are_those_of_conv3d(frames, size, monkeypatch):
    torch.manual_seed(1)
    net = SlowFast(TINY).double()
    inputs, labels = torch.randn(2, frames, 3, size, size).double(), torch.tensor([1, 4])

    def run() -> tuple[Tensor, list[Tensor]]:
        net.zero_grad()
        logits = net(inputs)
        F.cross_entropy(logits, labels).backward()
        return logits.detach(), [p.grad.clone() for p in net.parameters()]

    logits, grads = run()
    monkeypatch.setattr(model, "conv", conv3d)
    expected, wanted_grads = run()
    assert torch.allclose(logits, expected, atol=1e-6, rtol=0)
    for (name, _), a, b in zip(net.named_parameters(), grads, wanted_grads, strict=True):
        assert torch.allclose(a, b, atol=1e-6 * max(1.0, float(b.abs().max())), rtol=0), name


def test_a_pointwise_convolution_is_equal_without_the_one_thread_fallback():
    torch.manual_seed(2)
    values, weight = torch.randn(4, 6, 5, 5), torch.randn(7, 6, 1, 1, 1)
    got = lowering.conv(values.contiguous(memory_format=torch.channels_last), 2, weight, (1, 1, 1))
    assert torch.allclose(got, conv3d(values, 2, weight, (1, 1, 1)), atol=1e-5)


def test_a_kernel_over_time_and_space_with_a_stride_in_time_is_refused():
    with pytest.raises(ValueError, match="stride of 1"):
        lowering.conv(torch.randn(4, 3, 8, 8), 4, torch.randn(2, 3, 3, 3, 3), (2, 1, 1))


def random_net() -> SlowFast:
    torch.manual_seed(3)
    return SlowFast(TINY).eval()


@torch.no_grad()
def test_a_clip_played_backwards_has_other_slow_and_fast_features():
    net, inputs = random_net(), torch.randn(1, 8, 3, 32, 32)
    for forward, backward in zip(net.features(inputs), net.features(inputs.flip(1)), strict=True):
        assert float((forward - backward).norm() / forward.norm()) > 1e-3


def test_every_frame_reaches_the_answer():
    inputs = torch.randn(1, 9, 3, 32, 32, requires_grad=True)
    random_net()(inputs).square().sum().backward()
    assert all(part.any() for part in inputs.grad[0])


@torch.no_grad()
def test_squeeze_and_excitation_starts_by_changing_next_to_nothing():
    net, inputs = random_net(), torch.randn(2, 8, 3, 32, 32)
    with_gates = net(inputs)
    for block in (b for way in net.pathways for stage in list(way)[1:] for b in stage):
        block.squeeze = None
    assert torch.allclose(net(inputs), with_gates, atol=0.05)


def test_frozen_stages_keep_weights_and_statistics():
    net = SlowFast(TINY)
    net.freeze(2)
    before = {name: value.clone() for name, value in net.state_dict().items()}
    owner = torch.optim.SGD([p for p in net.parameters() if p.requires_grad], lr=1.0)
    F.cross_entropy(net.train()(torch.randn(2, 8, 3, 32, 32)), torch.tensor([0, 1])).backward()
    owner.step()
    changed = {name for name, value in net.state_dict().items() if not torch.equal(value, before[name])}
    stage = {name.split(".")[2] for name in changed if name.startswith("pathways")}
    assert stage == {"2"}
    assert any(name.endswith("running_mean") for name in changed)


def saved(tmp_path, tensors, name="weights.pyth", wrap="model_state"):
    torch.save({wrap: tensors, "epoch": 3}, tmp_path / name)
    return files.read(tmp_path / name)


def test_weights_of_another_number_of_classes_keep_all_but_the_answer(tmp_path):
    tensors = saved(tmp_path, reference(NARROW, files.SCHEMES["PySlowFast"].name))
    net = SlowFast(Shape(6, width=8, beta=4, squeeze=True))
    taken = files.take(net, tensors)
    assert {name.split(".")[0] for name in taken.fresh if "squeeze" not in name} == {"answer"}
    assert taken.names == "PySlowFast"
    assert torch.equal(net.fusions[0].weight, tensors["s1_fuse.conv_f2s.weight"])


@pytest.mark.parametrize("change", ["missing", "more", "shape"])
def test_weights_that_do_not_fit_are_refused_by_name(change, tmp_path):
    tensors = reference(NARROW, files.SCHEMES["pytorchvideo"].name)
    name = "blocks.2.multipathway_blocks.1.res_blocks.0.branch2.conv_b.weight"
    if change == "missing":
        del tensors[name]
    elif change == "more":
        tensors["blocks.9.weight"] = torch.zeros(1)
    else:
        tensors[name] = tensors[name][..., :2]
    with pytest.raises(files.Unfit, match=r"conv_b|blocks\.9"):
        files.take(SlowFast(NARROW), saved(tmp_path, tensors, wrap="state_dict"))


def legacy(tensors: Mapping[str, object]) -> bytes:
    """The bytes of weights in the form that PyTorch wrote before 1.6, which the zoos' files have."""
    content = io.BytesIO()
    torch.save(dict(tensors), content, _use_new_zipfile_serialization=False)
    return content.getvalue()


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9, 0.99])
def test_weights_cut_off_in_the_old_form_are_refused(tmp_path, share):
    content = legacy({"a.weight": torch.ones(300), "b": torch.zeros(200)})
    (tmp_path / "a.pyth").write_bytes(content[: int(share * len(content))])
    with pytest.raises(
        files.Unfit, match=r"a.pyth cannot be read as weights: (it is cut off|unexpected EOF)"
    ):
        files.read(tmp_path / "a.pyth")


def test_no_file_of_weights_is_answered_with_advice_to_run_code(tmp_path):
    (tmp_path / "a.pyth").write_bytes(bytes(2000))
    with pytest.raises(files.Unfit, match="it is cut off, or of another format") as raised:
        files.read(tmp_path / "a.pyth")
    assert "weights_only" not in str(raised.value)


def test_weights_of_nan_or_in_a_circle_are_refused(tmp_path):
    circle: dict[str, object] = {}
    circle["model"] = circle
    (tmp_path / "a.pyth").write_bytes(legacy(circle))
    (tmp_path / "b.pyth").write_bytes(legacy({"model_state": {"c.bias": torch.tensor([0.0, math.nan])}}))
    for name, message in (("a", "holds no tensors by name"), ("b", "holds NaN or infinity in c.bias")):
        with pytest.raises(files.Unfit, match=message):
            files.read(tmp_path / f"{name}.pyth")


def test_a_file_that_is_no_weights_runs_no_code(tmp_path):
    class Evil:
        def __reduce__(self):
            return (print, ("run",))

    torch.save({"model_state": Evil()}, tmp_path / "evil.pth")
    with pytest.raises(files.Unfit, match="holds Python objects other than tensors") as raised:
        files.read(tmp_path / "evil.pth")
    assert "weights_only" not in str(raised.value)


def test_the_pickles_of_pyslowfasts_model_zoo_are_refused_with_the_way_out(tmp_path):
    (tmp_path / "SLOWFAST_8x8_R50.pkl").write_bytes(pickle.dumps({"blobs": {"conv1_w": [1.0]}}))
    with pytest.raises(files.Unfit, match=r"as Caffe2 writes them.*save its state_dict as \.pyth"):
        files.read(files.find(tmp_path))


@pytest.mark.parametrize(("suffix", "accepted"), [(".pyth", True), (".pkl", False)])
def test_the_page_says_which_files_of_kinetics_weights_are_read(tmp_path, suffix, accepted):
    page = " ".join(PAGE.read_text().split())
    claim = f"PySlowFast (`{suffix}`)" if accepted else f"The `{suffix}` files of PySlowFast's model zoo are"
    assert claim in page
    tensors = reference(NARROW, files.SCHEMES["pytorchvideo"].name)
    path = tmp_path / f"SLOWFAST_8x8_R50{suffix}"
    if accepted:
        torch.save({"model_state": tensors}, path)
        assert set(files.read(files.find(tmp_path))) == set(tensors)
    else:
        path.write_bytes(pickle.dumps({"blobs": {"conv1_w": [1.0]}}))
        with pytest.raises(files.Unfit) as raised:
            files.read(files.find(tmp_path))
        assert "weights_only" not in str(raised.value)


def test_the_build_is_a_function_of_the_seed_alone():
    config = Config(depths=(1,), width=4, beta=2)
    facts = {"classes": list(emotions.CLASSES)}
    first = SlowFastTrainer(config, preprocessing=facts).build().state_dict()
    torch.manual_seed(99)
    again, other = (
        SlowFastTrainer(config.replace(seed=seed), preprocessing=facts).build().state_dict()
        for seed in (0, 1)
    )
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["answer.weight"], other["answer.weight"])
