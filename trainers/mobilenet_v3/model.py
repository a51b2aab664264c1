"""Four encoders, six MobileNetV3 blocks along time, back up to every frame, a BiLSTM.

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
from trainers.tasks.sign.layers import Encoder, MaskedGroupNorm, Reader, halved

STEM = 16


@dataclass(frozen=True)
class Block:
    """Expanded and given channels, kernel, stride, squeeze-and-excitation, hard swish instead of ReLU."""

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
    """Units of each encoder, the most that its hidden layer has, units after the way up."""

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
"""Parameters of a preset: those that every vocabulary has, and those of each word."""


class Squeeze(nn.Module):
    """Squeeze and excitation (Hu et al. 2018) by the mean over the valid frames."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.down = nn.Conv1d(channels, max(1, channels // 4), 1)
        self.up = nn.Conv1d(max(1, channels // 4), channels, 1)
        # The mean is the one thing here that reaches over all of time: it begins with little to say.
        with torch.no_grad():
            self.up.weight.mul_(0.1)

    def forward(self, values: Tensor, valid: Tensor) -> Tensor:
        """(B, C, T), padding zero."""
        mean = values.sum(2, keepdim=True) / valid.sum(2, keepdim=True)
        return values * torch.sigmoid(self.up(torch.relu(self.down(mean))))


class Normed(nn.Module):
    """Convolution along time without bias, group norm, activation; padding stays zero."""

    def __init__(
        self, width: int, out: int, kernel: int, stride: int = 1, groups: int = 1, act: str = ""
    ) -> None:
        super().__init__()
        self.convolution = nn.Conv1d(width, out, kernel, stride, kernel // 2, groups=groups, bias=False)
        self.norm = MaskedGroupNorm(out)
        self.act = act

    def forward(self, values: Tensor, valid: Tensor) -> Tensor:
        """`valid` (B, 1, T') of the result."""
        values = self.norm(self.convolution(values), valid)
        if self.act == "hard":
            return hardswish(values)
        return torch.relu(values) if self.act == "relu" else values


class Residual(nn.Module):
    """Expand, convolve each channel, squeeze, project; added where the shape is the same."""

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
        """`before` and `after` (B, 1, T): what is valid of the input and of the result."""
        result: Tensor = values if self.expand is None else self.expand(values, before)
        result = self.depthwise(result, after)
        if self.squeeze is not None:
            result = self.squeeze(result, after)
        result = self.project(result, after)
        return result + values if self.same else result


class Student(nn.Module):
    """Normalised Frames (B, T, 4887) to logits (B, T, words)."""

    def __init__(self, preset: str, words: int, layout: Layout, dropout: float) -> None:
        super().__init__()
        widths = PRESETS[preset]
        self.layout = layout
        self.encoders = nn.ModuleDict()
        for place, name in enumerate(MODALITIES):
            out = widths.encoders[name]
            hidden = min(widths.most, (WIDTHS[name] + out) // 2)
            self.encoders[name] = Encoder(WIDTHS[name], hidden, out, dropout, place)
        self.stem = Normed(sum(widths.encoders.values()), STEM, 3, 2, act="hard")
        self.blocks = nn.ModuleList()
        channels = STEM
        for block in BLOCKS:
            self.blocks.append(Residual(channels, block))
            channels = block.out
        # Kernel and stride are both 4: each step down there becomes exactly its own four frames.
        self.up = nn.ConvTranspose1d(channels, widths.up, 4, 4)
        self.up_norm = MaskedGroupNorm(widths.up)
        self.project = nn.Conv1d(widths.up, widths.up, 3, 1, 1)
        self.project_norm = MaskedGroupNorm(widths.up)
        self.dropout = CounterDropout(dropout, 10)
        self.reader = Reader(widths.up, widths.up, 1)
        self.answer = nn.Linear(2 * widths.up, words)

    def backbone(self, frames: Frames, keys: Tensor) -> Tensor:
        """What the recurrent layer reads: (B, T, C), each frame its own."""
        columns = modalities(frames.values, self.layout)
        joined = [self.encoders[name](columns[name], keys) for name in MODALITIES]
        values = (torch.cat(joined, -1) * frames.valid).transpose(1, 2)
        steps, device, half = values.shape[2], values.device, halved(frames.lengths)
        valids = [
            mask(length, places, device)[:, None]
            for length, places in ((half, (steps + 1) // 2), (halved(half), ((steps + 1) // 2 + 1) // 2))
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
        """`keys` (B,) for dropout."""
        if frames.normalised is None:
            raise ValueError("frames come to the model without normalisation")
        answer: Tensor = self.answer(self.reader(self.backbone(frames, keys), frames.lengths))
        return answer
