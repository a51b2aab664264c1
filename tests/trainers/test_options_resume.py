"""With each option, a run that is halted and resumed ends with the bits of an uninterrupted one.

A restored checkpoint has the weights that the run evaluated, and the exported program answers as it does.
"""

from pathlib import Path

import faces
import pytest
import sign_runs
import torch
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from trainers.blendshapes.config import Config
from trainers.blendshapes.trainer import BlendshapesTrainer
from trainers.engine import checkpoint, export
from trainers.engine.distributed import Group
from trainers.engine.events import Silent
from trainers.engine.loop import TrainingLoop
from trainers.engine.trainer import Trainer

LSTM = {"model": "lstm", "bidirectional": True, "recurrent_dropout": 0.3}
OPTIONS: dict[str, list[dict[str, object]]] = {
    "blendshapes": [
        {"optimizer": "adam"},
        {"ema_decay": 0.9},
        {"ema_decay": 0.9, "precision": "fp16"},
        {"max_per_class": 40, "normalise": "none", "optimizer": "sgd"},
        {"activation": "elu", "initialiser": "kaiming"},
        {**LSTM, "initialiser": "orthogonal", "bidirectional": False},
        {**LSTM, "precision": "bf16"},
    ],
    "mobilenet-v3": [{"ema_decay": 0.9, "lstm_layers": 2, "cross_attention": True}],
    "i3d-teacher": [{"normalise": "per-sample"}],
}
CASES = [(name, options) for name, several in OPTIONS.items() for options in several]


@pytest.fixture(scope="module")
def faces_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return faces.drop_invalid_rows(faces.write(tmp_path_factory.mktemp("faces"), 240))


def opened(name: str, faces_folder: Path, signs: Path, work: Path, **options: object) -> Trainer:
    """A small trainer with these options."""
    if name != "blendshapes":
        return sign_runs.opened(name, signs, work, batch_size=4, **options)  # type: ignore[no-any-return]
    config = Config(**{**faces.SMALL, "hidden": (6,), "batch_size": 32, "epochs": 2, **options})
    return BlendshapesTrainer.open(config, {"blendshapes": faces_folder / "blendshapes"}, work, Silent())


def trained(trainer: Trainer, root: Path, stop: int) -> TrainingLoop:
    group = Group(torch.device("cpu"))
    loop = TrainingLoop(trainer, root, Silent(), group, halted=lambda step: step >= stop, talk=False)
    loop.run()
    return loop


def weights(loop: TrainingLoop) -> list[torch.Tensor]:
    return [*loop.learner.model.state_dict().values(), *loop.learner.evaluated.state_dict().values()]


@pytest.mark.parametrize(("name", "options"), CASES, ids=[f"{name}-{options}" for name, options in CASES])
def test_a_resumed_run_ends_with_the_same_bits_with(
    name, options, faces_folder, signs, signs_cache, tmp_path
):
    trainer = opened(name, faces_folder, signs, signs_cache, **options)
    straight = trained(trainer, tmp_path / "straight", 4)
    trained(trainer, tmp_path / "resumed", 2)
    resumed = trained(trainer, tmp_path / "resumed", 4)
    assert all(torch.equal(a, b) for a, b in zip(weights(straight), weights(resumed), strict=True))
    assert straight.state == resumed.state
    saved = checkpoint.read(tmp_path / "resumed" / "4")
    assert saved.manifest["config"] == {**saved.manifest["config"], **options}
    restored = type(trainer).restore(saved).network.state_dict()
    assert all(torch.equal(a, restored[k]) for k, a in straight.learner.evaluated.state_dict().items())


@pytest.mark.parametrize("options", [{"ema_decay": 0.9, "activation": "gelu"}, LSTM])
def test_the_exported_program_answers_as_the_checkpoint_with(options, faces_folder, tmp_path):
    trainer = opened("blendshapes", faces_folder, tmp_path, tmp_path, **options)
    trained(trainer, tmp_path / "run", 2)
    saved = checkpoint.read(tmp_path / "run" / "2")
    written = export.write(saved, BlendshapesTrainer.restore(saved).exportable(saved), tmp_path / "exported")
    assert written["logits_off"] <= export.TOLERANCE


def test_the_average_is_that_of_swa_utils_and_is_what_is_saved(faces_folder, tmp_path, monkeypatch):
    trainer = opened("blendshapes", faces_folder, tmp_path, tmp_path, ema_decay=0.8)
    reference = AveragedModel(trainer.build(), multi_avg_fn=get_ema_multi_avg_fn(0.8))
    step = torch.optim.AdamW.step

    def watched(self, *args, **kwargs):
        result = step(self, *args, **kwargs)
        reference.update_parameters(loop.learner.model)
        return result

    monkeypatch.setattr(torch.optim.AdamW, "step", watched)
    group = Group(torch.device("cpu"))
    loop = TrainingLoop(trainer, tmp_path / "run", Silent(), group, halted=lambda s: s >= 6, talk=False)
    loop.run()
    saved = checkpoint.read(tmp_path / "run" / "6").weights()
    expected, trained_on = reference.module.state_dict(), loop.learner.model.state_dict()
    assert all(torch.equal(value, saved[name]) for name, value in expected.items())
    assert not torch.equal(trained_on["answer.weight"], saved["answer.weight"])


def test_adam_takes_the_steps_of_amsgrad_as_published(faces_folder, tmp_path):
    """Reddi et al. 2018, written out: the largest second moment so far, L2 within the gradient."""
    options = {"optimizer": "adam", "schedule": "constant", "warmup_epochs": 0.0, "clip_norm": 0.0}
    trainer = opened("blendshapes", faces_folder, tmp_path, tmp_path, **options)
    loop = TrainingLoop(
        trainer, tmp_path / "run", Silent(), Group(torch.device("cpu")), halted=lambda s: s >= 4, talk=False
    )
    weight, rate, decay = loop.learner.model.answer.weight, 0.01, trainer.config.weight_decay
    expected = weight.detach().double().clone()
    mean, square, top = (torch.zeros_like(expected) for _ in range(3))
    count = 0

    def follow(*_: object) -> None:
        nonlocal mean, square, top, expected, count
        count += 1
        gradient = weight.grad.double() + decay * expected
        mean = 0.9 * mean + 0.1 * gradient
        square = 0.999 * square + 0.001 * gradient**2
        top = torch.maximum(top, square)
        step = rate / (1 - 0.9**count)
        expected = expected - step * mean / ((top / (1 - 0.999**count)).sqrt() + 1e-8)

    loop.learner.optimizer.register_step_pre_hook(follow)
    loop.run()
    assert count == 4
    assert torch.allclose(weight.double(), expected, atol=1e-6)
