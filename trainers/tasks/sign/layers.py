"""Layers for padded sequences (B, C, T) in which padding does not influence valid frames."""

from collections.abc import Mapping
from typing import TypeVar

import torch
from torch import Tensor, nn

from trainers.engine import lstm
from trainers.engine.dropout import CounterDropout

N = TypeVar("N", int, Tensor)


MOST_GROUPS = 32


class MaskedGroupNorm(nn.Module):
    """Group normalisation (Wu and He 2018) with statistics over the valid frames only."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.groups = max(d for d in range(1, MOST_GROUPS + 1) if channels % d == 0)
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, values: Tensor, valid: Tensor) -> Tensor:
        """Normalise `values` (B, C, T); padding, where `valid` (B, 1, T) is 0, becomes 0."""
        batch, channels, steps = values.shape
        values = (values.float() * valid).view(batch, self.groups, -1, steps)
        count = valid.sum((1, 2)).view(batch, 1, 1, 1) * values.shape[2]
        mean = values.sum((2, 3), keepdim=True) / count
        centred = (values - mean) * valid[:, None]
        variance = centred.square().sum((2, 3), keepdim=True) / count
        normal = (centred * torch.rsqrt(variance + 1e-5)).view(batch, channels, steps)
        return (normal * self.weight[:, None] + self.bias[:, None]) * valid


class Reader(nn.Module):
    """A bidirectional LSTM over packed sequences, so that padding is not read."""

    def __init__(self, width: int, units: int, layers: int) -> None:
        super().__init__()
        self.width = 2 * units
        self.lstm = nn.LSTM(width, units, layers, batch_first=True, bidirectional=True)

    def forward(self, values: Tensor, lengths: Tensor) -> Tensor:
        """Map (B, T, width) and lengths (B,) on the CPU to (B, T, 2 * units), zero beyond each length."""
        return lstm.read(self.lstm, values, lengths)


class Encoder(nn.Module):
    """Encodes the frames of one modality: linear, layer norm, ReLU, dropout, linear, layer norm."""

    def __init__(self, width: int, hidden: int, out: int, rate: float, layer: int) -> None:
        super().__init__()
        self.first = nn.Linear(width, hidden)
        self.norm = nn.LayerNorm(hidden)
        self.dropout = CounterDropout(rate, layer)
        self.second = nn.Linear(hidden, out)
        self.last = nn.LayerNorm(out)

    def forward(self, values: Tensor, keys: Tensor) -> Tensor:
        """Map (B, T, width) to (B, T, out); `keys` (B,) are the dropout keys."""
        values = self.dropout(torch.relu(self.norm(self.first(values))), keys)
        answer: Tensor = self.last(self.second(values))
        return answer


class CrossModal(nn.Module):
    """At each frame, every modality attends to all modalities (Vaswani et al. 2017), with residual and norm.

    Frames do not mix. `widths` maps each modality to its number of columns.
    """

    def __init__(self, widths: Mapping[str, int], heads: int = 4) -> None:
        super().__init__()
        self.names, self.heads = tuple(widths), heads
        width = max(widths.values())
        self.tokens = nn.ModuleDict({name: nn.Linear(size, width) for name, size in widths.items()})
        self.project = nn.Linear(width, 3 * width)
        self.out = nn.ModuleDict({name: nn.Linear(width, size) for name, size in widths.items()})
        self.norms = nn.ModuleDict({name: nn.LayerNorm(size) for name, size in widths.items()})

    def forward(self, parts: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Map each modality's (B, T, size) to the same shape."""
        mixed = self.attend(torch.stack([self.tokens[name](parts[name]) for name in self.names], 2))
        return {
            name: self.norms[name](parts[name] + self.out[name](mixed[:, :, index]))
            for index, name in enumerate(self.names)
        }

    def attend(self, tokens: Tensor) -> Tensor:
        """Multi-head attention of tokens (B, T, modalities, width) over the modalities."""
        parts = self.project(tokens).unflatten(-1, (3, self.heads, -1)).permute(3, 0, 1, 4, 2, 5)
        query, key, value = parts.unbind(0)
        scores = query @ key.transpose(-1, -2) * query.shape[-1] ** -0.5
        attended = scores.float().softmax(-1).to(value.dtype) @ value
        answer: Tensor = attended.transpose(2, 3).flatten(-2)
        return answer

    @staticmethod
    def count(widths: Mapping[str, int]) -> int:
        """The number of parameters."""
        width = max(widths.values())
        return 3 * width * (width + 1) + sum(
            width * (size + 1) + size * (width + 3) for size in widths.values()
        )


def halved(lengths: N) -> N:
    """Lengths (or one) after a convolution of stride 2 with padding on both sides: half, rounded up."""
    return (lengths + 1) // 2
