"""`export`: write a checkpoint as a torch.export program, with a JSON file that describes its input.

A trainer supports it by implementing `Trainer.exportable`. `Exportable.module` must include the
preprocessing of raw input.
"""

import json
import os
import warnings
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from trainers.engine import checkpoint, lstm
from trainers.engine.events import jsonable

PROGRAM, DESCRIPTION = "model.pt2", "preprocessing.json"
FORMAT = 1
"""Version of the JSON file."""

TOLERANCE = 1e-4
"""Maximum absolute difference between the logits of the written program and of the checkpoint."""


LARGEST_EXAMPLE = 100_000
"""Maximum count of example input numbers in the JSON file; larger examples get a file of their own."""


class NoExport(Exception):
    """The checkpoint cannot be exported, or the target path is invalid."""


@dataclass(frozen=True)
class Exportable:
    """The module that a trainer exports, with example input.

    `module`, in eval mode, takes the tensors of `inputs` (argument name to an example of raw input, in
    order) and returns logits. `dynamic` names the axes of variable length: {"features": {0: "rows"}}.
    `about` (how to produce raw input) is copied into the JSON file. `others` are inputs of other sizes, for
    which the program must give the module's logits too. `multiples` is what the size of an axis is a multiple
    of, by name.
    """

    module: nn.Module
    inputs: dict[str, Tensor]
    dynamic: dict[str, dict[int, str]]
    about: dict[str, Any]
    others: tuple[dict[str, Tensor], ...] = ()
    multiples: dict[str, int] = field(default_factory=dict)

    @torch.no_grad()
    def logits(self, inputs: dict[str, Tensor] | None = None) -> Tensor:
        """The module's logits for inputs; without any, for the example inputs."""
        answer: Tensor = self.module(*(inputs or self.inputs).values())
        return answer


def output_paths(to: Path) -> tuple[Path, Path]:
    """The paths of program and description; `to` is a file name that ends in `.pt2`, or a folder.

    Raises NoExport.
    """
    named = to.suffix == ".pt2"
    folder = to.parent if named else to
    if folder.exists() and not folder.is_dir():
        raise NoExport(f"{folder} is a file: name a folder, or a file that ends in .pt2")
    if (folder / checkpoint.MANIFEST).exists():
        raise NoExport(f"{folder} is a checkpoint, which a new file would damage: name another folder")
    return (to, to.with_suffix(".json")) if named else (to / PROGRAM, to / DESCRIPTION)


def write(saved: checkpoint.Checkpoint, example: Exportable, to: Path) -> dict[str, Any]:
    """Write the program and its description after comparing the program's logits with the checkpoint's.

    Returns both paths and the largest difference. Raises NoExport if it exceeds TOLERANCE. Example inputs
    that are too large for the JSON file are written to `<name>.proof.safetensors`.
    """
    program, description = output_paths(to)
    example.module.eval().requires_grad_(False)
    program.parent.mkdir(parents=True, exist_ok=True)
    temporary = program.with_name(f".{program.name}.{os.getpid()}.tmp.pt2")
    try:
        _save(example, temporary)
        difference = _difference(example, temporary)
        if not difference <= TOLERANCE:
            raise NoExport(f"the exported program's logits differ by {difference:.2g} from the checkpoint's")
        text = _described(saved, example, temporary, program.name)
        if (proof := _proof_file(example, program.name)) is not None:
            save_file(example.inputs, program.with_name(proof))
        temporary.replace(program)
    finally:
        temporary.unlink(missing_ok=True)
    description.write_text(json.dumps(jsonable(text), indent=1) + "\n")
    return {"program": str(program), "preprocessing": str(description), "logits_off": difference}


def _save(example: Exportable, path: Path) -> None:
    axes = {
        name: {axis: _dimension(word, example.multiples.get(word, 1)) for axis, word in axes.items()}
        for name, axes in example.dynamic.items()
    }
    shapes = {name: axes.get(name) for name in example.inputs}
    with warnings.catch_warnings(), torch.no_grad(), lstm.exporting():
        # Tracing reassigns an LSTM's list of flattened weights, which are registered parameters anyway.
        warnings.filterwarnings("ignore", message="The tensor attributes .* were assigned during export")
        traced = torch.export.export(example.module, tuple(example.inputs.values()), dynamic_shapes=shapes)
    lstm.finish(traced)
    torch.export.save(traced, path)


def _dimension(name: str, multiple: int) -> Any:
    """An axis of any size that is a multiple of `multiple`."""
    if multiple == 1:
        return torch.export.Dim(name, min=1, max=1 << 20)
    return multiple * torch.export.Dim(f"_{name}", min=1, max=1 << 18)


@torch.no_grad()
def _difference(example: Exportable, path: Path) -> float:
    """The largest difference of a logit for the example inputs and for `others`."""
    again = torch.export.load(path).module()
    return max(
        _distance(example.logits(inputs), again(*inputs.values()))
        for inputs in (example.inputs, *example.others)
    )


def _distance(expected: Tensor, actual: Tensor) -> float:
    return float((expected - actual).abs().max()) if expected.shape == actual.shape else float("inf")


def _described(saved: checkpoint.Checkpoint, example: Exportable, path: Path, name: str) -> dict[str, Any]:
    """The content of the JSON file; `proof` holds inputs and logits to verify the program after loading."""
    manifest = saved.manifest
    own = {key: manifest[key] for key in ("trainer", "step", "epoch", "metrics", "code_tree", "data")}
    return {
        "v": FORMAT,
        "program": {"file": name, "sha256": checkpoint.sha256(path), "bytes": path.stat().st_size},
        "torch": torch.__version__,
        **own,
        "manifest": saved.digest,
        "inputs": [_input(example, name, value) for name, value in example.inputs.items()],
        "classes": manifest["preprocessing"]["classes"],
        "about": example.about,
        "preprocessing": manifest["preprocessing"],
        "proof": {
            "inputs": _proof_file(example, name)
            or {name: value.tolist() for name, value in example.inputs.items()},
            "logits": example.logits().tolist(),
            "tolerance": TOLERANCE,
        },
    }


def _proof_file(example: Exportable, program: str) -> str | None:
    """The name of the file for the example inputs; None if the JSON file holds them."""
    large = sum(value.numel() for value in example.inputs.values()) > LARGEST_EXAMPLE
    return f"{program.removesuffix('.pt2')}.proof.safetensors" if large else None


def _input(example: Exportable, name: str, value: Tensor) -> dict[str, Any]:
    axes = example.dynamic.get(name, {})
    shape = [_size(example, axes[axis]) if axis in axes else size for axis, size in enumerate(value.shape)]
    return {"name": name, "dtype": str(value.dtype).removeprefix("torch."), "shape": shape}


def _size(example: Exportable, axis: str) -> str:
    multiple = example.multiples.get(axis, 1)
    return axis if multiple == 1 else f"{multiple}*{axis}"
