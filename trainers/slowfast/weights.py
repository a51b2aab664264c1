"""Public Kinetics weights for our SlowFast: what the reference implementations call a tensor of ours.

They are pytorchvideo (`create_slowfast`) and PySlowFast (its `SlowFast`). Both keep 3-D kernels as we do, so
that a tensor is taken as it is.
"""

import hashlib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from trainers.slowfast.model import SlowFast

ENDINGS = (".pyth", ".pt", ".pth", ".safetensors")
WRAPPERS = ("model_state", "state_dict", "model")
"""Keys below which training programs keep the weights."""


class Unfit(Exception):
    """A file of weights that is not of this network."""


@dataclass(frozen=True)
class Taken:
    """Whose names the file had, how many tensors were taken, and which of ours start anew."""

    names: str
    tensors: int
    fresh: tuple[str, ...]


_OWN = re.compile(
    r"pathways\.(?P<way>[01])\.0\.conv\.(?P<stem>.+)"
    r"|pathways\.(?P<path>[01])\.(?P<stage>\d+)\.(?P<block>\d+)\.(?P<layer>a|b|c|around)\.(?P<part>.+)"
    r"|fusions\.(?P<fusion>\d+)\.(?P<join>.+)"
    r"|answer\.(?P<answer>weight|bias)"
)


def pytorchvideo(own: str) -> str | None:
    """The name of a tensor of ours in pytorchvideo; None for those that it has not."""
    if not (match := _OWN.fullmatch(own)):
        return None
    at = match.groupdict()
    if at["way"]:
        return f"blocks.0.multipathway_blocks.{at['way']}.{_part(at['stem'], 'conv', 'norm')}"
    if at["fusion"]:
        return f"blocks.{at['fusion']}.multipathway_fusion.{_part(at['join'], 'conv_fast_to_slow', 'norm')}"
    if at["answer"]:
        return f"blocks.6.proj.{at['answer']}"
    place = f"blocks.{at['stage']}.multipathway_blocks.{at['path']}.res_blocks.{at['block']}"
    if at["layer"] == "around":
        return f"{place}.{_part(at['part'], 'branch1_conv', 'branch1_norm')}"
    return f"{place}.branch2.{_part(at['part'], 'conv_' + at['layer'], 'norm_' + at['layer'])}"


def pyslowfast(own: str) -> str | None:
    """The name of a tensor of ours in PySlowFast; None for those that it has not."""
    if not (match := _OWN.fullmatch(own)):
        return None
    at = match.groupdict()
    if at["way"]:
        return f"s1.pathway{at['way']}_stem.{_part(at['stem'], 'conv', 'bn')}"
    if at["fusion"]:
        return f"s{int(at['fusion']) + 1}_fuse.{_part(at['join'], 'conv_f2s', 'bn')}"
    if at["answer"]:
        return f"head.projection.{at['answer']}"
    place = f"s{int(at['stage']) + 1}.pathway{at['path']}_res{at['block']}"
    if at["layer"] == "around":
        return f"{place}.{_part(at['part'], 'branch1', 'branch1_bn')}"
    return f"{place}.branch2.{_part(at['part'], at['layer'], at['layer'] + '_bn')}"


def _part(own: str, conv: str, norm: str) -> str:
    return f"{conv}.weight" if own == "weight" else f"{norm}.{own.removeprefix('norm.')}"


SCHEMES: dict[str, Callable[[str], str | None]] = {"pytorchvideo": pytorchvideo, "PySlowFast": pyslowfast}


def find(folder: Path) -> Path:
    """The one file of weights in a folder. Raises Unfit."""
    files = sorted(path for path in folder.iterdir() if path.suffix in ENDINGS)
    if len(files) != 1:
        names = ", ".join(path.name for path in files) or "none"
        raise Unfit(f"{folder} is to hold one file of weights ({', '.join(ENDINGS)}); it holds {names}")
    return files[0]


def digest(path: Path) -> str:
    """The sha256 of the file."""
    with path.open("rb") as file:
        return (
            hashlib.file_digest(file, "sha256").hexdigest()
            if hasattr(hashlib, "file_digest")
            else _slowly(file)
        )


def _slowly(file: Any) -> str:
    digest = hashlib.sha256()
    while block := file.read(1 << 20):
        digest.update(block)
    return digest.hexdigest()


def read(path: Path) -> dict[str, Tensor]:
    """The tensors of a file by name; code in it is never run. Raises Unfit."""
    try:
        held: Any = (
            load_file(path)
            if path.suffix == ".safetensors"
            else torch.load(path, map_location="cpu", weights_only=True)
        )
    except Exception as fault:  # pickle, zipfile, struct and safetensors each raise their own
        raise Unfit(f"{path} cannot be read as weights: {str(fault).splitlines()[0]}") from fault
    while isinstance(held, Mapping) and (
        inner := [key for key in WRAPPERS if isinstance(held.get(key), Mapping)]
    ):
        held = held[inner[0]]
    if not isinstance(held, Mapping):
        raise Unfit(f"{path} holds no tensors by name")
    found = {
        str(key).removeprefix("module."): value for key, value in held.items() if isinstance(value, Tensor)
    }
    if not found:
        raise Unfit(f"{path} holds no tensors by name")
    return found


def take(model: SlowFast, tensors: Mapping[str, Tensor]) -> Taken:
    """Put them into the model. Raises Unfit unless each tensor finds its place, and each place its tensor.

    The answer starts anew where it has another number of classes, squeeze-and-excitation always does.
    """
    wanted = model.state_dict()
    counts = {name: sum(of(own) in tensors for own in wanted) for name, of in SCHEMES.items()}
    scheme = max(counts, key=lambda name: counts[name])
    place = {own: name for own in wanted if (name := SCHEMES[scheme](own)) is not None}
    fresh = tuple(
        own for own in wanted if own not in place or _another_answer(own, wanted, tensors.get(place[own]))
    )
    place = {own: name for own, name in place.items() if own not in fresh}
    problems = [
        problem for own, name in place.items() if (problem := _misfit(own, wanted[own], name, tensors))
    ]
    answers = {SCHEMES[scheme](own) for own in wanted if own.startswith("answer.")}
    problems += [f"{name} has no place here" for name in tensors.keys() - set(place.values()) - answers]
    if problems:
        more = f" and {len(problems) - 3} more" if len(problems) > 3 else ""
        raise Unfit(f"as weights of {scheme}: {'; '.join(sorted(problems)[:3])}{more}")
    taken = {own: tensors[name].to(wanted[own].dtype) for own, name in place.items() if name in tensors}
    model.load_state_dict(taken, strict=False)
    return Taken(scheme, len(taken), fresh)


def _another_answer(own: str, wanted: Mapping[str, Tensor], given: Tensor | None) -> bool:
    return own.startswith("answer.") and given is not None and given.shape != wanted[own].shape


def _misfit(own: str, wanted: Tensor, name: str, tensors: Mapping[str, Tensor]) -> str:
    if name not in tensors:
        return "" if name.endswith("num_batches_tracked") else f"{name} is missing"
    if tensors[name].shape != wanted.shape:
        return f"{name} is {tuple(tensors[name].shape)}, {own} is {tuple(wanted.shape)}"
    return ""
