"""Normalises padded batches, over valid frames only, and prevents normalising twice."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from trainers.data import normalise
from trainers.data.normalise import NormalisedTwice

KINDS = ("global", "per-sample", "none")
TAGS = {
    "global": normalise.TAG,
    "per-sample": "z-score per feature, over the sample's own frames",
    "none": "as it came",
}


@dataclass(frozen=True)
class Frames:
    """A padded batch: values (B, T, F) float32, zero beyond each length; lengths (B,) int64 on the CPU;
    `normalised` names the normalisation that was applied, or None."""

    values: Tensor
    lengths: Tensor
    normalised: str | None = None

    @property
    def valid(self) -> Tensor:
        """(B, T, 1) float32: 1 for frames, 0 for padding."""
        return mask(self.lengths, self.values.shape[1], self.values.device)[..., None]


def mask(lengths: Tensor, steps: int, device: torch.device) -> Tensor:
    """(B, T) float32: 1 for frames below each length, else 0."""
    indices = torch.arange(steps, device=device)
    return (indices[None, :] < lengths.to(device)[:, None]).float()


class FrameNormaliser:
    """Normalises batches by one of KINDS; `global` needs `statistics` of the training split."""

    def __init__(self, kind: str, statistics: normalise.Normaliser | None = None) -> None:
        if kind not in KINDS or (kind == "global") != (statistics is not None):
            raise ValueError(f"normalisation `{kind}` and its statistics do not fit together")
        self.kind, self.statistics = kind, statistics
        self._statistics_on: dict[torch.device, tuple[Tensor, Tensor]] = {}
        if statistics is not None:  # before a program is traced, which would store placeholders
            self._on(torch.device("cpu"))

    def apply(self, frames: Frames) -> Frames:
        """The frames normalised and marked; padding stays zero. Raises NormalisedTwice."""
        if frames.normalised is not None:
            raise NormalisedTwice(f"already normalised by: {frames.normalised}")
        values = frames.values
        if self.kind == "global":
            mean, std = self._on(values.device)
            values = (values - mean) / std
        elif self.kind == "per-sample":
            values = _by_sample(values, frames.valid)
        return replace(frames, values=values * frames.valid, normalised=TAGS[self.kind])

    def _on(self, device: torch.device) -> tuple[Tensor, Tensor]:
        if device not in self._statistics_on:
            assert self.statistics is not None
            parts = (self.statistics.mean, self.statistics.std)
            mean, std = (torch.from_numpy(np.asarray(part)).to(device) for part in parts)
            self._statistics_on[device] = (mean, std)
        return self._statistics_on[device]

    def as_dict(self) -> dict[str, Any]:
        """The normalisation as JSON for the manifest."""
        statistics = {} if self.statistics is None else self.statistics.as_dict()
        return {**statistics, "applied": self.kind}

    @classmethod
    def from_dict(cls, value: dict[str, Any]) -> "FrameNormaliser":
        """Create a normaliser from the result of `as_dict`."""
        kind = value["applied"]
        return cls(kind, normalise.Normaliser.from_dict(value) if kind == "global" else None)


def _by_sample(values: Tensor, valid: Tensor) -> Tensor:
    """Normalise each sample by its own mean and floored std (see normalise.floored) over valid frames."""
    count = valid.sum(1, keepdim=True)
    mean = (values * valid).sum(1, keepdim=True) / count
    std = (((values - mean) * valid).square().sum(1, keepdim=True) / count).sqrt()
    least = normalise.FLOOR * std.median(2, keepdim=True).values
    return (values - mean) / torch.maximum(std, torch.where(least > 0, least, 1.0))
