"""Checkpoints exported with torch.export give the same logits, or an error and no file."""

import json
from pathlib import Path

import pytest
import torch
from test_old_checkpoints import EXPECTED, unpacked
from torch import Tensor, nn

from trainers import __main__ as command
from trainers.engine import checkpoint, export


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
            export.places(to)
    assert export.places(tmp_path / "m.pt2") == (tmp_path / "m.pt2", tmp_path / "m.json")


def test_exporting_with_a_trainer_without_export_is_an_error(tmp_path, capsys):
    step = str(EXPECTED["facenet-lstm"]["step"])
    place = unpacked("facenet-lstm-checkpoint", tmp_path / "checkpoints") / step
    assert command.main(["export", str(place), "--to", str(tmp_path / "out")]) == 2
    assert "facenet-lstm has no export" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
