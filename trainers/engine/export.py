"""`export`: a checkpoint as one program of torch.export, and beside it what an application must know.

A trainer takes part by a function `exportable(checkpoint)` in its `task` module; one without it has no
export. What turns raw input into the model's belongs inside `Exportable.module`.
"""

import hashlib
import json
import os
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from trainers.engine import checkpoint
from trainers.engine.events import VERSION, jsonable

PROGRAM, DESCRIPTION = "model.pt2", "preprocessing.json"
TOLERANCE = 1e-4
"""The most by which the written program's logits may differ from the checkpoint's."""


TOLD = 100_000
"""Numbers of example inputs that the JSON file tells at most."""


class NoExport(Exception):
    """This checkpoint cannot be exported, or not to this place."""


@dataclass(frozen=True)
class Exportable:
    """What a trainer offers for export.

    `module`, in eval mode, takes the tensors of `inputs` (argument name to an example of raw input, in
    order) and gives logits. `dynamic` names the axes that may have another length:
    {"features": {0: "rows"}}. `about` is told in the JSON file as it is: how raw input is made.
    """

    module: nn.Module
    inputs: dict[str, Tensor]
    dynamic: dict[str, dict[int, str]]
    about: dict[str, Any]

    @torch.no_grad()
    def logits(self) -> Tensor:
        """The module's answers to its example inputs."""
        answer: Tensor = self.module(*self.inputs.values())
        return answer


def places(to: Path) -> tuple[Path, Path]:
    """Program and description: a name that ends in `.pt2`, or a folder. Raises NoExport."""
    named = to.suffix == ".pt2"
    folder = to.parent if named else to
    if folder.exists() and not folder.is_dir():
        raise NoExport(f"{folder} is a file: name a folder, or a file that ends in .pt2")
    if (folder / checkpoint.MANIFEST).exists():
        raise NoExport(f"{folder} is a checkpoint, which a new file would damage: name another folder")
    return (to, to.with_suffix(".json")) if named else (to / PROGRAM, to / DESCRIPTION)


def write(held: checkpoint.Checkpoint, offered: Exportable, to: Path) -> dict[str, Any]:
    """Write the program and its description, once the program has given the checkpoint's own logits.

    Gives their paths and by how much the logits differ. Raises NoExport. Example inputs too large to be read
    as text are written as `<name>.proof.safetensors`.
    """
    program, description = places(to)
    offered.module.eval().requires_grad_(False)
    program.parent.mkdir(parents=True, exist_ok=True)
    beside = program.with_name(f".{program.name}.{os.getpid()}.tmp.pt2")
    try:
        _save(offered, beside)
        off = _difference(offered, beside)
        if not off <= TOLERANCE:
            raise NoExport(f"the exported program's logits are {off:.2g} off those of the checkpoint")
        told = _described(held, offered, beside, program.name)
        if (proof := _proof_file(offered, program.name)) is not None:
            save_file(offered.inputs, program.with_name(proof))
        beside.replace(program)
    finally:
        beside.unlink(missing_ok=True)
    description.write_text(json.dumps(jsonable(told), indent=1) + "\n")
    return {"program": str(program), "preprocessing": str(description), "logits_off": off}


def _save(offered: Exportable, path: Path) -> None:
    axes = {
        name: {axis: torch.export.Dim(word, min=1, max=1 << 20) for axis, word in axes.items()}
        for name, axes in offered.dynamic.items()
    }
    shapes = {name: axes.get(name) for name in offered.inputs}
    with warnings.catch_warnings(), torch.no_grad():
        # An LSTM's list of flattened weights is set anew while it is traced; they are parameters all along.
        warnings.filterwarnings("ignore", message="The tensor attributes .* were assigned during export")
        traced = torch.export.export(offered.module, tuple(offered.inputs.values()), dynamic_shapes=shapes)
    torch.export.save(traced, path)


@torch.no_grad()
def _difference(offered: Exportable, path: Path) -> float:
    again = torch.export.load(path).module()
    wanted, got = offered.logits(), again(*offered.inputs.values())
    return float((wanted - got).abs().max()) if wanted.shape == got.shape else float("inf")


def _described(held: checkpoint.Checkpoint, offered: Exportable, path: Path, name: str) -> dict[str, Any]:
    """Everything the JSON file says; `proof` is for whoever loads the program to repeat."""
    content, manifest = path.read_bytes(), held.manifest
    own = {key: manifest[key] for key in ("trainer", "step", "epoch", "metrics", "code_tree", "data")}
    return {
        "v": VERSION,
        "program": {"file": name, "sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)},
        "torch": torch.__version__,
        **own,
        "manifest": hashlib.sha256((held.path / checkpoint.MANIFEST).read_bytes()).hexdigest(),
        "inputs": [_input(offered, name, value) for name, value in offered.inputs.items()],
        "classes": manifest["preprocessing"]["classes"],
        "about": offered.about,
        "preprocessing": manifest["preprocessing"],
        "proof": {
            "inputs": _proof_file(offered, name)
            or {name: value.tolist() for name, value in offered.inputs.items()},
            "logits": offered.logits().tolist(),
            "tolerance": TOLERANCE,
        },
    }


def _proof_file(offered: Exportable, program: str) -> str | None:
    """The name of the file that holds the example inputs; None where they are told in the JSON file."""
    large = sum(value.numel() for value in offered.inputs.values()) > TOLD
    return f"{program.removesuffix('.pt2')}.proof.safetensors" if large else None


def _input(offered: Exportable, name: str, value: Tensor) -> dict[str, Any]:
    axes = offered.dynamic.get(name, {})
    shape = [axes.get(axis, size) for axis, size in enumerate(value.shape)]
    return {"name": name, "dtype": str(value.dtype).removeprefix("torch."), "shape": shape}
