"""Loads public Kinetics weights into our SlowFast, by mapping our tensor names to the published ones.

The files are those of pytorchvideo (`create_slowfast`) and PySlowFast (its `SlowFast`). Both store 3-D
kernels in our layout, so that tensors are copied unchanged.
"""

import pickle
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from trainers.data.refusal import Unusable
from trainers.data.walk import is_hidden, require_content
from trainers.engine.checkpoint import not_finite
from trainers.slowfast.model import SlowFast

ENDINGS = (".pyth", ".pt", ".pth", ".safetensors")
CAFFE2 = ".pkl"
"""Suffix of the files of PySlowFast's model zoo: pickles of Caffe2, which could run code."""

WRAPPERS = ("model_state", "state_dict", "model")
"""Keys under which training programs store the weights in a checkpoint."""


class Unfit(Exception):
    """Raised if a file of weights cannot be read or does not fit the network."""


@dataclass(frozen=True)
class Taken:
    """The result of `take`: the naming scheme, the number of tensors copied, and the tensors not loaded."""

    names: str
    tensors: int
    fresh: tuple[str, ...]


_OWN = re.compile(
    r"pathways\.(?P<way>[01])\.0\.conv\.(?P<stem>.+)"
    r"|pathways\.(?P<path>[01])\.(?P<stage>\d+)\.(?P<block>\d+)\.(?P<layer>a|b|c|around)\.(?P<part>.+)"
    r"|fusions\.(?P<fusion>\d+)\.(?P<join>.+)"
    r"|answer\.(?P<answer>weight|bias)"
)


Part = tuple[str, str, str]
"""Name of the module that holds a convolution and its norm, and the names of these two in it."""


@dataclass(frozen=True)
class Scheme:
    """The tensor names of another implementation, as templates.

    Fields in braces are the groups of _OWN; `next` is the number of the stage or fusion plus 1.
    """

    stem: Part
    fusion: Part
    inner: Part
    around: Part
    answer: str

    def name(self, own: str) -> str | None:
        """Return the other implementation's name of our tensor `own`; None if it has no such tensor."""
        if not (match := _OWN.fullmatch(own)):
            return None
        at = {key: value for key, value in match.groupdict().items() if value is not None}
        if "answer" in at:
            return self.answer.format(**at)
        if "way" in at:
            part, rest = self.stem, at["stem"]
        elif "fusion" in at:
            part, rest = self.fusion, at["join"]
        else:
            part, rest = self.around if at["layer"] == "around" else self.inner, at["part"]
        layer, conv, norm = part
        tail = f"{conv}.weight" if rest == "weight" else f"{norm}.{rest.removeprefix('norm.')}"
        level = int(at.get("fusion") or at.get("stage") or 0)
        return f"{layer}.{tail}".format(**at, next=level + 1)


_PTV_BLOCK = "blocks.{stage}.multipathway_blocks.{path}.res_blocks.{block}"
_PYS_BLOCK = "s{next}.pathway{path}_res{block}"
SCHEMES = {
    "pytorchvideo": Scheme(
        stem=("blocks.0.multipathway_blocks.{way}", "conv", "norm"),
        fusion=("blocks.{fusion}.multipathway_fusion", "conv_fast_to_slow", "norm"),
        inner=(f"{_PTV_BLOCK}.branch2", "conv_{layer}", "norm_{layer}"),
        around=(_PTV_BLOCK, "branch1_conv", "branch1_norm"),
        answer="blocks.6.proj.{answer}",
    ),
    "PySlowFast": Scheme(
        stem=("s1.pathway{way}_stem", "conv", "bn"),
        fusion=("s{next}_fuse", "conv_f2s", "bn"),
        inner=(f"{_PYS_BLOCK}.branch2", "{layer}", "{layer}_bn"),
        around=(_PYS_BLOCK, "branch1", "branch1_bn"),
        answer="head.projection.{answer}",
    ),
}


def find(folder: Path) -> Path:
    """Return the only file of weights in a folder. Raises Unfit if there is none or more than one."""
    files = sorted(
        path
        for path in folder.iterdir()
        if path.suffix.lower() in (*ENDINGS, CAFFE2) and not is_hidden(path.name)
    )
    if len(files) != 1:
        names = ", ".join(path.name for path in files) or "none"
        raise Unfit(f"{folder} must contain one file of weights ({', '.join(ENDINGS)}); it contains {names}")
    return files[0]


def read(path: Path) -> dict[str, Tensor]:
    """Return the tensors of a file by name, without running code in it. Raises Unfit."""
    try:
        require_content(path)
    except Unusable as fault:
        raise Unfit(f"{path} {fault}") from fault
    if path.suffix.lower() == CAFFE2:
        how = "load it with PySlowFast (TRAIN.CHECKPOINT_TYPE caffe2) and save its state_dict as .pyth"
        raise Unfit(
            f"{path} is a pickle, as Caffe2 writes them; pickles can run code and are not read: {how}"
        )
    try:
        content: Any = (
            load_file(path)
            if path.suffix.lower() == ".safetensors"
            else torch.load(path, map_location="cpu", weights_only=True)
        )
    except pickle.UnpicklingError as fault:  # whose text advises to load the file with code
        raise Unfit(f"{path} holds Python objects other than tensors, which are not read") from fault
    except Exception as fault:  # pickle, zipfile, struct and safetensors each raise their own types
        raise Unfit(f"{path} cannot be read as weights: {_reason(fault)}") from fault
    for _ in WRAPPERS:  # at most: a file may hold a dictionary that contains itself
        inner = [
            key for key in WRAPPERS if isinstance(content, Mapping) and isinstance(content.get(key), Mapping)
        ]
        content = content[inner[0]] if inner else content
    named = content.items() if isinstance(content, Mapping) else ()
    tensors = {str(key).removeprefix("module."): value for key, value in named if isinstance(value, Tensor)}
    if not tensors:
        raise Unfit(f"{path} holds no tensors by name")
    if broken := not_finite(tensors):
        raise Unfit(f"{path} holds NaN or infinity in {broken[0]}")
    return tensors


def _reason(fault: Exception) -> str:
    """The first line of an error, unless it is empty or PyTorch's advice to load a file with code."""
    line = str(fault).partition("\n")[0]
    return line if line and "weights_only" not in line else "it is cut off, or of another format"


def take(model: SlowFast, tensors: Mapping[str, Tensor]) -> Taken:
    """Copy the tensors into the model. Raises Unfit if a tensor is missing, unknown or of another shape.

    Squeeze-and-excitation keeps its initial weights; so does a classifier with another number of classes.
    """
    state = model.state_dict()
    counts = {name: sum(scheme.name(own) in tensors for own in state) for name, scheme in SCHEMES.items()}
    best = max(counts, key=lambda name: counts[name])
    theirs = SCHEMES[best].name
    name_of = {own: name for own in state if (name := theirs(own)) is not None}
    fresh = tuple(
        own for own in state if own not in name_of or _another_answer(own, state, tensors.get(name_of[own]))
    )
    name_of = {own: name for own, name in name_of.items() if own not in fresh}
    problems = [
        problem for own, name in name_of.items() if (problem := _misfit(own, state[own], name, tensors))
    ]
    answers = {theirs(own) for own in state if own.startswith("answer.")}
    problems += [f"{name} is unknown" for name in tensors.keys() - set(name_of.values()) - answers]
    if problems:
        more = f" and {len(problems) - 3} more" if len(problems) > 3 else ""
        raise Unfit(f"as weights of {best}: {'; '.join(sorted(problems)[:3])}{more}")
    taken = {own: tensors[name].to(state[own].dtype) for own, name in name_of.items() if name in tensors}
    model.load_state_dict(taken, strict=False)
    return Taken(best, len(taken), fresh)


def _another_answer(own: str, parameters: Mapping[str, Tensor], tensor: Tensor | None) -> bool:
    return own.startswith("answer.") and tensor is not None and tensor.shape != parameters[own].shape


def _misfit(own: str, expected: Tensor, name: str, tensors: Mapping[str, Tensor]) -> str:
    if name not in tensors:
        return "" if name.endswith("num_batches_tracked") else f"{name} is missing"
    if tensors[name].shape != expected.shape:
        return f"{name} is {tuple(tensors[name].shape)}, {own} is {tuple(expected.shape)}"
    return ""
