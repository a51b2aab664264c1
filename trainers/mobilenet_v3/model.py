"""The student: four encoders, six MobileNetV3 blocks along time, upsampling to every frame, a BiLSTM.

The blocks are those of MobileNetV3-Small (Howard et al. 2019) with kernels of one dimension.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import hardswish

from trainers.data.frames import Frames, mask
from trainers.data.landmarks import Layout
from trainers.data.sign.parts import MODALITIES, WIDTHS, modalities
from trainers.engine.dropout import CounterDropout
from trainers.tasks.sign.layers import CrossModal, Encoder, MaskedGroupNorm, Reader, halved

STEM = 16


@dataclass(frozen=True)
class Block:
    """A MobileNetV3 block: expanded and output channels, kernel, stride, whether it has squeeze-and-
    excitation (`squeezes`), and whether its activation is hard swish instead of ReLU (`hard`)."""

    expanded: int
    out: int
    kernel: int
    stride: int
    squeezes: bool
    hard: bool


BLOCKS = (
    Block(16, 16, 3, 1, True, False),
    Block(72, 24, 3, 2, False, False),
    Block(88, 24, 3, 1, False, False),
    Block(96, 40, 5, 1, True, True),
    Block(240, 40, 5, 1, True, True),
    Block(120, 48, 5, 1, True, True),
)


@dataclass(frozen=True)
class Widths:
    """Output units of each encoder, maximum units of an encoder's hidden layer, channels after upsampling."""

    encoders: dict[str, int]
    most: int
    up: int


_DRAWN = {"pose": 64, "hands": 128, "face": 64, "temporal": 128}
PRESETS = {
    "drawn": Widths(_DRAWN, 10**9, 128),
    "bounded": Widths(_DRAWN, 256, 128),
    "small": Widths({"pose": 16, "hands": 64, "face": 16, "temporal": 64}, 64, 96),
    "tiny": Widths({"pose": 8, "hands": 24, "face": 8, "temporal": 24}, 24, 32),
}

PARAMETERS = {
    "drawn": (14_154_507, 257),
    "bounded": (2_155_851, 257),
    "small": (721_324, 193),
    "tiny": (278_086, 65),
}
"""Preset to (number of parameters without the vocabulary, number of parameters per word)."""


def extra_parameters(preset: str, layers: int, cross: bool) -> int:
    """The number of parameters that more LSTM layers and cross-modal attention add to PARAMETERS."""
    units = PRESETS[preset].up
    second = (layers - 1) * 8 * units * (3 * units + 2)
    return second + (CrossModal.count(PRESETS[preset].encoders) if cross else 0)


class Squeeze(nn.Module):
    """Squeeze and excitation (Hu et al. 2018) with the mean over the valid frames."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.down = nn.Conv1d(channels, max(1, channels // 4), 1)
        self.up = nn.Conv1d(max(1, channels // 4), channels, 1)
        # The mean mixes all frames, unlike the convolutions, so it starts with a small influence.
        with torch.no_grad():
            self.up.weight.mul_(0.1)

    def forward(self, values: Tensor, valid: Tensor) -> Tensor:
        """Scale the channels of `values` (B, C, T), whose padding is 0; `valid` is (B, 1, T)."""
        mean = values.sum(2, keepdim=True) / valid.sum(2, keepdim=True)
        return values * torch.sigmoid(self.up(torch.relu(self.down(mean))))


class Normed(nn.Module):
    """Convolution along time without bias, group norm, activation; padding stays 0."""

    def __init__(
        self, width: int, out: int, kernel: int, stride: int = 1, groups: int = 1, act: str = ""
    ) -> None:
        super().__init__()
        self.convolution = nn.Conv1d(width, out, kernel, stride, kernel // 2, groups=groups, bias=False)
        self.norm = MaskedGroupNorm(out)
        self.act = act

    def forward(self, values: Tensor, valid: Tensor) -> Tensor:
        """Map (B, C, T) to (B, out, T'); `valid` (B, 1, T') is the mask of the result."""
        values = self.norm(self.convolution(values), valid)
        if self.act == "hard":
            return hardswish(values)
        return torch.relu(values) if self.act == "relu" else values


class Residual(nn.Module):
    """An inverted residual block: expand, depthwise convolution, squeeze, project.

    The input is added if it has the shape of the result.
    """

    def __init__(self, width: int, block: Block) -> None:
        super().__init__()
        act = "hard" if block.hard else "relu"
        wide, same = block.expanded, block.stride == 1 and width == block.out
        self.expand = Normed(width, wide, 1, act=act) if wide != width else None
        self.depthwise = Normed(wide, wide, block.kernel, block.stride, groups=wide, act=act)
        self.squeeze = Squeeze(wide) if block.squeezes else None
        self.project = Normed(wide, block.out, 1)
        self.same = same

    def forward(self, values: Tensor, before: Tensor, after: Tensor) -> Tensor:
        """Apply the block; `before` and `after` (B, 1, T) are the masks of the input and of the result."""
        result: Tensor = values if self.expand is None else self.expand(values, before)
        result = self.depthwise(result, after)
        if self.squeeze is not None:
            result = self.squeeze(result, after)
        result = self.project(result, after)
        return result + values if self.same else result


class Student(nn.Module):
    """The model: maps normalised Frames (B, T, 4887) to logits (B, T, words)."""

    def __init__(
        self, preset: str, words: int, layout: Layout, dropout: float, layers: int = 1, cross: bool = False
    ) -> None:
        super().__init__()
        widths = PRESETS[preset]
        self.layout = layout
        self.encoders = nn.ModuleDict()
        for index, name in enumerate(MODALITIES):
            out = widths.encoders[name]
            hidden = min(widths.most, (WIDTHS[name] + out) // 2)
            self.encoders[name] = Encoder(WIDTHS[name], hidden, out, dropout, index)
        self.cross = CrossModal({name: widths.encoders[name] for name in MODALITIES}) if cross else None
        self.stem = Normed(sum(widths.encoders.values()), STEM, 3, 2, act="hard")
        self.blocks = nn.ModuleList()
        channels = STEM
        for block in BLOCKS:
            self.blocks.append(Residual(channels, block))
            channels = block.out
        # Kernel and stride are both 4, so each step becomes exactly its own four frames.
        self.up = nn.ConvTranspose1d(channels, widths.up, 4, 4)
        self.up_norm = MaskedGroupNorm(widths.up)
        self.project = nn.Conv1d(widths.up, widths.up, 3, 1, 1)
        self.project_norm = MaskedGroupNorm(widths.up)
        self.dropout = CounterDropout(dropout, 10)
        self.reader = Reader(widths.up, widths.up, layers)
        self.answer = nn.Linear(2 * widths.up, words)

    def backbone(self, frames: Frames, keys: Tensor) -> Tensor:
        """The input of the recurrent layer: features (B, T, C), one for each frame."""
        columns = modalities(frames.values, self.layout)
        parts = {name: self.encoders[name](columns[name], keys) for name in MODALITIES}
        if self.cross is not None:
            parts = self.cross(parts)
        values = (torch.cat(list(parts.values()), -1) * frames.valid).transpose(1, 2)
        steps, device, half = values.shape[2], values.device, halved(frames.lengths)
        valids = [
            mask(length, count, device)[:, None]
            for length, count in ((half, (steps + 1) // 2), (halved(half), ((steps + 1) // 2 + 1) // 2))
        ]
        values = self.stem(values, valids[0])
        level = 0
        for block, shape in zip(self.blocks, BLOCKS, strict=True):
            after = level + (shape.stride == 2)
            values = block(values, valids[level], valids[after])
            level = after
        valid = frames.valid.transpose(1, 2)
        values = torch.relu(self.up_norm(self.up(values)[..., :steps], valid))
        values = torch.relu(self.project_norm(self.project(values), valid))
        kept: Tensor = self.dropout(values.transpose(1, 2), keys)
        return kept

    def forward(self, frames: Frames, keys: Tensor) -> Tensor:
        """Logits (B, T, words) of normalised frames; `keys` (B,) are the dropout keys."""
        if frames.normalised is None:
            raise ValueError("frames come to the model without normalisation")
        answer: Tensor = self.answer(self.reader(self.backbone(frames, keys), frames.lengths))
        return answer
