"""The teacher: modalities fused by attention, an I3D stem and Inception blocks along time, a BiLSTM.

The widths of the blocks are GoogLeNet's (Szegedy et al. 2015), inflated along time as in I3D (Carreira
and Zisserman 2017) with kernels of one dimension, because landmarks have no image axes.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import max_pool2d

from trainers.data.frames import Frames, mask
from trainers.data.landmarks import Layout
from trainers.data.sign.parts import MODALITIES, WIDTHS, modalities
from trainers.engine.dropout import CounterDropout
from trainers.tasks.sign.layers import MaskedGroupNorm, Reader, halved

STRIDE = 4
"""Input frames per output frame: the stem's convolution and its pooling each halve the length."""

Branches = tuple[int, int, int, int, int, int]


@dataclass(frozen=True)
class Widths:
    """Sizes of the parts of the model. `blocks` are the channels of each Inception block, by
    kernel size: 1; 1 and 3; 1 and 3; 1 after pooling."""

    encoders: dict[str, int]
    heads: int
    stem: int
    blocks: tuple[Branches, ...]
    units: int
    layers: int


PRESETS = {
    "teacher-7.29m": Widths(
        {"pose": 64, "hands": 128, "face": 192, "temporal": 128},
        8,
        64,
        (
            (64, 96, 128, 16, 32, 32),
            (128, 128, 192, 32, 96, 64),
            (192, 96, 208, 16, 48, 64),
            (160, 112, 224, 24, 64, 64),
            (128, 128, 256, 24, 64, 64),
            (112, 144, 288, 32, 64, 64),
        ),
        256,
        2,
    ),
    "small": Widths(
        {"pose": 16, "hands": 48, "face": 16, "temporal": 48},
        4,
        64,
        ((32, 32, 48, 16, 24, 24), (32, 48, 64, 16, 32, 32)),
        96,
        1,
    ),
    "tiny": Widths(
        {"pose": 8, "hands": 24, "face": 8, "temporal": 24}, 2, 32, ((16, 16, 16, 8, 8, 8),), 32, 1
    ),
}

PARAMETERS = {"teacher-7.29m": (6_714_560, 513), "small": (627_536, 193), "tiny": (187_304, 65)}
"""Preset to (number of parameters without the vocabulary, number of parameters per word)."""


class Attention(nn.Module):
    """Multi-head self-attention over the valid frames (Vaswani et al. 2017), with residual and layer norm."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.project = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)
        self.norm = nn.LayerNorm(width)

    def forward(self, values: Tensor, valid: Tensor) -> Tensor:
        """Map (B, T, width) to the same shape; `valid` (B, T) is 0 for padding."""
        batch, steps, width = values.shape
        parts = self.project(values).view(batch, steps, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        query, key, value = parts.unbind(0)
        scores = query @ key.transpose(-1, -2) * (width // self.heads) ** -0.5
        scores = scores.float().masked_fill(valid[:, None, None, :] == 0, float("-inf"))
        attended = scores.softmax(-1).to(value.dtype) @ value
        answer: Tensor = self.norm(values + self.out(attended.transpose(1, 2).reshape(batch, steps, width)))
        return answer


class Unit(nn.Module):
    """Convolution along time, group norm, ReLU; padding stays 0."""

    def __init__(self, width: int, out: int, kernel: int, stride: int = 1) -> None:
        super().__init__()
        self.convolution = nn.Conv1d(width, out, kernel, stride, kernel // 2)
        self.norm = MaskedGroupNorm(out)

    def forward(self, values: Tensor, valid: Tensor) -> Tensor:
        """Map (B, C, T), whose padding is 0, to (B, out, T'); `valid` (B, 1, T') is the result's mask."""
        return torch.relu(self.norm(self.convolution(values), valid))


class Pool(nn.Module):
    """The maximum of three neighbouring steps. In two dimensions, because torch.export would fix the length
    of nn.MaxPool1d, which computes the same."""

    def __init__(self, stride: int) -> None:
        super().__init__()
        self.stride = stride

    def forward(self, values: Tensor) -> Tensor:
        """Map (B, C, T) to (B, C, ceil(T / stride))."""
        return max_pool2d(values[:, :, None], (1, 3), (1, self.stride), (0, 1))[:, :, 0]


class Inception(nn.Module):
    """An Inception block: the concatenated channels of four parallel branches."""

    def __init__(self, width: int, branches: Branches) -> None:
        super().__init__()
        one, before3, three, before5, five, pooled = branches
        self.out = one + three + five + pooled
        self.one = Unit(width, one, 1)
        self.three = nn.ModuleList([Unit(width, before3, 1), Unit(before3, three, 3)])
        self.five = nn.ModuleList([Unit(width, before5, 1), Unit(before5, five, 3)])
        self.pool = Pool(1)
        self.pooled = Unit(width, pooled, 1)

    def forward(self, values: Tensor, valid: Tensor) -> Tensor:
        """Map (B, C, T) to (B, out, T). Values must not be negative, or max pooling would return padding."""
        three, five = values, values
        for unit in self.three:
            three = unit(three, valid)
        for unit in self.five:
            five = unit(five, valid)
        return torch.cat([self.one(values, valid), three, five, self.pooled(self.pool(values), valid)], 1)


class I3DTeacher(nn.Module):
    """The model: maps normalised Frames (B, T, 4887) to logits (B, ceil(T / 4), words)."""

    def __init__(self, preset: str, words: int, layout: Layout, dropout: float) -> None:
        super().__init__()
        widths = PRESETS[preset]
        fused = sum(widths.encoders.values())
        self.layout = layout
        self.encoders = nn.ModuleDict({m: nn.Linear(WIDTHS[m], widths.encoders[m]) for m in MODALITIES})
        self.attention = Attention(fused, widths.heads)
        self.dropout = CounterDropout(dropout, 0)
        self.stem = Unit(fused, widths.stem, 7, 2)
        self.pool = Pool(2)
        self.blocks = nn.ModuleList()
        width = widths.stem
        for branches in widths.blocks:
            block = Inception(width, branches)
            self.blocks.append(block)
            width = block.out
        self.reader = Reader(width, widths.units, widths.layers)
        self.last_dropout = CounterDropout(dropout, 1)
        self.answer = nn.Linear(2 * widths.units, words)

    def backbone(self, frames: Frames, keys: Tensor) -> Tensor:
        """The input of the recurrent layer: features (B, ceil(T / 4), C)."""
        columns = modalities(frames.values, self.layout)
        fused = torch.cat([self.encoders[name](columns[name]) for name in MODALITIES], -1)
        fused = self.dropout(self.attention(fused, frames.valid[..., 0]), keys) * frames.valid
        half, quarter = halved(frames.lengths), halved(halved(frames.lengths))
        values = fused.transpose(1, 2)
        values = self.pool(self.stem(values, mask(half, halved(values.shape[2]), values.device)[:, None]))
        valid = mask(quarter, values.shape[2], values.device)[:, None]
        for block in self.blocks:
            values = block(values * valid, valid)
        features: Tensor = values.transpose(1, 2)
        return features

    def forward(self, frames: Frames, keys: Tensor) -> Tensor:
        """Logits (B, ceil(T / 4), words) of normalised frames; `keys` (B,) are the dropout keys."""
        if frames.normalised is None:
            raise ValueError("frames come to the model without normalisation")
        read = self.reader(self.backbone(frames, keys), halved(halved(frames.lengths)))
        answer: Tensor = self.answer(self.last_dropout(read, keys))
        return answer
