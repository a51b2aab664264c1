"""Checkpoints exported with torch.export give the same logits, or an error and no file."""

import json
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from test_old_checkpoints import EXPECTED, unpacked
from torch import Tensor, nn

from trainers import __main__ as command
from trainers import registry
from trainers.engine import checkpoint, export, lstm
from trainers.engine.trainer import Trainer
from trainers.facenet_lstm.trainer import FacenetTrainer

SIGN = Path(__file__).parents[1] / "fixtures" / "sign"


class Scaled(nn.Module):
    """A model that scales its raw input and applies one layer."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.full((3,), 0.5))
        self.layer = nn.Linear(3, 2)

    def forward(self, features: Tensor) -> Tensor:
        return self.layer(features - self.mean)


def offered(module: nn.Module) -> export.Exportable:
    inputs = {"features": torch.rand(4, 3, generator=torch.Generator().manual_seed(0))}
    return export.Exportable(module.eval(), inputs, {"features": {0: "rows"}}, {"features": "raw"})


def save_checkpoint(root: Path, module: nn.Module, trainer: str = "scaled") -> checkpoint.Checkpoint:
    preprocessing = {"epoch": 1, "metrics": {}, "config": {}, "code_tree": None, "data": "d"}
    manifest = {"trainer": trainer, **preprocessing, "preprocessing": {"classes": ["a", "b"]}}
    return checkpoint.read(checkpoint.save(root, 7, module, {}, manifest))


def test_the_program_takes_any_number_of_raw_rows_and_matches_its_proof(tmp_path):
    module = Scaled()
    written = export.write(save_checkpoint(tmp_path / "c", module), offered(module), tmp_path / "out")
    preprocessing = json.loads(Path(written["preprocessing"]).read_text())
    program = torch.export.load(Path(written["program"])).module()
    for rows in (1, 9):
        raw = torch.rand(rows, 3)
        assert torch.allclose(program(raw), module(raw), atol=1e-6)
    proof = torch.tensor(preprocessing["proof"]["inputs"]["features"])
    assert torch.allclose(
        program(proof),
        torch.tensor(preprocessing["proof"]["logits"]),
        atol=preprocessing["proof"]["tolerance"],
    )
    assert preprocessing["inputs"] == [{"name": "features", "dtype": "float32", "shape": ["rows", 3]}]
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [export.PROGRAM, export.DESCRIPTION]


def test_a_program_that_differs_from_the_checkpoint_is_not_written(tmp_path, monkeypatch):
    module = Scaled()
    other = offered(Scaled())
    save = export._save
    monkeypatch.setattr(export, "_save", lambda _, path: save(other, path))
    with pytest.raises(export.NoExport, match="differ by"):
        export.write(save_checkpoint(tmp_path / "c", module), offered(module), tmp_path / "m.pt2")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["c"]


def test_a_program_is_never_put_into_a_checkpoint_or_below_a_file(tmp_path):
    place = save_checkpoint(tmp_path, Scaled()).path
    (tmp_path / "file").touch()
    for to in (place, place / "m.pt2", tmp_path / "file"):
        with pytest.raises(export.NoExport):
            export.output_paths(to)
    assert export.output_paths(tmp_path / "m.pt2") == (tmp_path / "m.pt2", tmp_path / "m.json")


def exported(place: Path, to: Path) -> tuple[Callable[..., Tensor], dict[str, Any]]:
    """The written program and its description, by the command `export`."""
    assert command.main(["export", str(place), "--to", str(to)]) == 0
    assert sorted(path.name for path in to.iterdir() if path.suffix != ".safetensors") == [
        export.PROGRAM,
        export.DESCRIPTION,
    ]
    return torch.export.load(to / export.PROGRAM).module(), json.loads((to / export.DESCRIPTION).read_text())


def unit_embeddings(steps: int) -> np.ndarray:
    draw = np.random.default_rng(steps).standard_normal((steps, 512)).astype(np.float32)
    return draw / np.linalg.norm(draw, axis=1, keepdims=True)


def test_a_facenet_program_takes_padded_videos_of_any_lengths(tmp_path):
    step = str(EXPECTED["facenet-lstm"]["step"])
    place = unpacked("facenet-lstm-checkpoint", tmp_path / "checkpoints") / step
    program, described = exported(place, tmp_path / "out")
    videos = [unit_embeddings(steps) for steps in (9, 64, 31)]
    padded = torch.zeros(4, 64, 512)
    for row, video in enumerate([*videos, 2.0 * videos[0]]):
        padded[row, : len(video)] = torch.from_numpy(video)
    logits = program(padded, torch.tensor([9, 64, 31, 9]))
    restored = FacenetTrainer.restore(checkpoint.read(place))
    assert torch.allclose(logits[:3], restored.answers(videos), atol=described["proof"]["tolerance"])
    assert logits[3].isnan().all()
    proof = {name: torch.tensor(value) for name, value in described["proof"]["inputs"].items()}
    assert torch.allclose(program(*proof.values()), torch.tensor(described["proof"]["logits"]), atol=1e-4)
    assert [given["shape"] for given in described["inputs"]] == [["videos", "steps", 512], ["videos"]]


@pytest.fixture(params=["i3d-teacher", "mobilenet-v3"])
def sign(request, tmp_path) -> checkpoint.Checkpoint:
    """The checkpoint of a sign language trainer."""
    with tarfile.open(SIGN / f"{request.param}-checkpoint.tar.xz") as tar:
        tar.extractall(tmp_path / "checkpoints", filter="data")
    step = json.loads((SIGN / "expected.json").read_text())[request.param]["step"]
    return checkpoint.read(tmp_path / "checkpoints" / str(step))


@torch.no_grad()
def compare_with_sentences(restored: Trainer, program: Callable[..., Tensor]) -> None:
    """The program's logits for padded sentences are those of each sentence alone."""
    lengths = (50, 17)
    raw = [np.random.default_rng(t).random((t, 1629)).astype(np.float16) for t in lengths]
    padded = torch.zeros(2, 52, 1629)
    for row, frames in enumerate(raw):
        padded[row, : len(frames)] = torch.from_numpy(frames.astype(np.float32))
    logits = program(padded, torch.tensor(lengths))
    for row, frames in enumerate(raw):
        expected = restored.logits(frames)
        assert torch.allclose(logits[row, : len(expected)], expected, atol=1e-4)


def test_a_padded_sentence_has_the_logits_it_has_alone_where_not_packed(sign):
    restored = registry.trainer(sign.manifest["trainer"]).restore(sign)
    module = restored.exportable(sign).module

    def program(landmarks: Tensor, lengths: Tensor) -> Tensor:
        with lstm.exporting():
            return module(landmarks, lengths)

    compare_with_sentences(restored, program)


def test_a_sign_program_takes_padded_sentences_of_any_lengths(sign, tmp_path, trials):
    if not trials(0, 1):  # 15 CPU seconds: `make test-full`
        return
    program, described = exported(sign.path, tmp_path / "out")
    compare_with_sentences(registry.trainer(sign.manifest["trainer"]).restore(sign), program)
    assert described["proof"]["inputs"] == "model.proof.safetensors"
    assert described["inputs"][0]["shape"] == ["sentences", "4*frames", 1629]


def test_a_trainer_without_an_export_says_what_its_checkpoints_can_do():
    with pytest.raises(export.NoExport, match="facenet-lstm has no export; its checkpoints answer `predict`"):
        Trainer.exportable(object.__new__(FacenetTrainer), None)
