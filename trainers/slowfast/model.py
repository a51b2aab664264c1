"""SlowFast networks (Feichtenhofer et al., "SlowFast Networks for Video Recognition", ICCV 2019).

Two ResNets process one clip: the slow pathway reads every alpha-th frame; the fast pathway reads all frames
and has a beta-th of the channels. After the stem and each stage but the last, the fast features are
concatenated to the slow ones. The layout is that of the reference implementations, so that their weights fit
(weights.py).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import max_pool2d, relu, relu_

from trainers.engine.dropout import CounterDropout
from trainers.slowfast.lowering import conv

R50 = (3, 4, 6, 3)
SLOW_TIME = (1, 1, 3, 3)
"""Kernel sizes in time of the slow stages' first convolutions; those of the fast pathway are all 3."""

SQUEEZE = 16
"""A squeeze-and-excitation block reduces its channels by this factor, to 8 at least."""


@dataclass(frozen=True)
class Shape:
    """The architecture parameters of a SlowFast. The defaults are SlowFast-R50."""

    classes: int
    depths: tuple[int, ...] = R50
    width: int = 64
    alpha: int = 4
    beta: int = 8
    fusion_kernel: int = 7
    squeeze: bool = False
    dropout: float = 0.5


class ConvNorm(nn.Module):
    """A 3-D convolution without bias, batch normalisation and, unless `last`, ReLU."""

    def __init__(
        self,
        width: int,
        out: int,
        kernel: tuple[int, int, int],
        stride: Sequence[int] = (1, 1, 1),
        last: bool = False,
    ) -> None:
        super().__init__()
        self.stride = (stride[0], stride[1], stride[2])
        self.rectify = not last
        self.weight = nn.Parameter(torch.empty(out, width, *kernel))
        nn.init.kaiming_normal_(self.weight, mode="fan_out", nonlinearity="relu")
        self.norm = nn.BatchNorm2d(out)

    def forward(self, values: Tensor, frames: int) -> Tensor:
        """Map (N*T, C, H, W) to (N*T', O, H', W'); `frames` is T."""
        values = self.norm(conv(values, frames, self.weight, self.stride))
        return relu_(values) if self.rectify else values


class Squeeze(nn.Module):
    """Squeeze-and-excitation (Hu et al. 2018): scales each channel by a gate computed from the whole clip.

    The gate is twice a sigmoid and so starts near 1: with pretrained weights, a gate of 0.5 would halve the
    activations of every block.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        narrow = max(8, width // SQUEEZE)
        self.down = nn.Linear(width, narrow)
        self.up = nn.Linear(narrow, width)
        nn.init.normal_(self.up.weight, std=0.01)
        nn.init.zeros_(self.up.bias)

    def forward(self, values: Tensor, frames: int) -> Tensor:
        """Scale values (N*T, C, H, W); `frames` is T."""
        mean = values.mean((2, 3)).reshape(-1, frames, values.shape[1]).mean(1)
        gate = 2.0 * torch.sigmoid(self.up(relu(self.down(mean))))
        return values * gate.to(values.dtype).repeat_interleave(frames, 0)[:, :, None, None]


class Block(nn.Module):
    """A bottleneck block: convolutions (kt, 1, 1), (1, 3, 3) and (1, 1, 1), and a residual connection."""

    def __init__(self, width: int, out: int, over_time: int, stride: int, squeeze: bool) -> None:
        super().__init__()
        inner, step = out // 4, (1, stride, stride)
        self.a = ConvNorm(width, inner, (over_time, 1, 1))
        self.b = ConvNorm(inner, inner, (1, 3, 3), step)
        self.c = ConvNorm(inner, out, (1, 1, 1), last=True)
        self.squeeze = Squeeze(out) if squeeze else None
        plain = width == out and stride == 1
        self.around = None if plain else ConvNorm(width, out, (1, 1, 1), step, last=True)

    def forward(self, values: Tensor, frames: int) -> Tensor:
        """Map (N*T, C, H, W) to (N*T, O, H', W'); `frames` is T."""
        features = self.c(self.b(self.a(values, frames), frames), frames)
        if self.squeeze is not None:
            features = self.squeeze(features, frames)
        return relu_(features + (values if self.around is None else self.around(values, frames)))


class SlowFast(nn.Module):
    """Maps clips (N, T, 3, H, W) to logits (N, classes), for any T, H and W.

    `pathways[0]` is the slow pathway and `pathways[1]` the fast one, each a stem and stages of blocks.
    `fusions` are the lateral connections from fast to slow.
    """

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = shape
        widths = [shape.width << (2 + i) for i in range(len(shape.depths))]
        thin = [max(1, width // shape.beta) for width in (shape.width, *widths)]
        joined = [a + 2 * b for a, b in zip((shape.width, *widths), thin, strict=True)]
        self.pathways = nn.ModuleList(
            [
                _pathway(shape, (1, 7, 7), joined[:-1], [shape.width, *widths], SLOW_TIME),
                _pathway(shape, (5, 7, 7), thin[:-1], thin, (3,) * len(widths)),
            ]
        )
        kernel, step = (shape.fusion_kernel, 1, 1), (shape.alpha, 1, 1)
        self.fusions = nn.ModuleList(ConvNorm(width, 2 * width, kernel, step) for width in thin[:-1])
        self.dropout = CounterDropout(shape.dropout, 0)
        self.answer = nn.Linear(widths[-1] + thin[-1], shape.classes)
        # Small relative to 2,304 features: an untrained network gives all classes similar probabilities.
        nn.init.normal_(self.answer.weight, std=0.001)
        nn.init.zeros_(self.answer.bias)
        self.frozen = 0

    @property
    def stages(self) -> list[list[nn.Module]]:
        """The modules from input to output: the stems, each stage of both pathways, the classifier."""
        slow, fast = (list(pathway.children()) for pathway in self.pathways)
        stages = [[slow[i], fast[i], *self.fusions[i : i + 1]] for i in range(len(self.fusions) + 1)]
        return [*stages, [self.answer]]

    def freeze(self, stages: int) -> None:
        """Freeze the weights and the batch statistics of the first `stages` stages."""
        self.frozen = stages
        for part in self._frozen_parts():
            part.requires_grad_(False)
        self.train(self.training)

    def _frozen_parts(self) -> list[nn.Module]:
        return [part for stage in self.stages[: self.frozen] for part in stage]

    def train(self, mode: bool = True) -> "SlowFast":
        """Set the mode of all modules; frozen ones stay in eval mode."""
        super().train(mode)
        for part in self._frozen_parts():
            part.eval()
        return self

    def features(self, clips: Tensor) -> tuple[Tensor, Tensor]:
        """Map clips (N, T, 3, H, W) to slow features (N, C) and fast features (N, C / beta)."""
        number, frames = clips.shape[:2]
        sparse = clips[:, :: self.shape.alpha]
        slowly = sparse.shape[1]
        slow, fast = (
            part.flatten(0, 1).contiguous(memory_format=torch.channels_last) for part in (sparse, clips)
        )
        for stage_index, (slow_stage, fast_stage) in enumerate(zip(*self.pathways, strict=True)):
            slow, fast = slow_stage(slow, slowly), fast_stage(fast, frames)
            if stage_index < len(self.fusions):
                lateral: Tensor = self.fusions[stage_index](fast, frames)
                across = lateral.view(number, -1, *lateral.shape[1:])[:, :slowly]
                slow = torch.cat([slow, across.flatten(0, 1)], 1)
        return _pooled(slow, number), _pooled(fast, number)

    def forward(self, clips: Tensor, keys: Tensor | None = None) -> Tensor:
        """Return logits (N, classes). `keys` (N,) int64 seed dropout; without keys there is none."""
        features = torch.cat(self.features(clips), 1)
        if keys is not None:
            features = self.dropout(features, keys)
        return self.answer(features)  # type: ignore[no-any-return]


class Stem(nn.Module):
    """The first convolution and max pooling, which each halve height and width."""

    def __init__(self, out: int, kernel: tuple[int, int, int]) -> None:
        super().__init__()
        self.conv = ConvNorm(3, out, kernel, (1, 2, 2))

    def forward(self, values: Tensor, frames: int) -> Tensor:
        """Map (N*T, 3, H, W) to (N*T, O, H / 4, W / 4); `frames` is T."""
        return max_pool2d(self.conv(values, frames), 3, 2, 1)


class Stage(nn.ModuleList):
    """A sequence of blocks."""

    def forward(self, values: Tensor, frames: int) -> Tensor:
        """Map (N*T, C, H, W) to (N*T, O, H', W'); `frames` is T."""
        for block in self:
            values = block(values, frames)
        return values


def _pathway(
    shape: Shape,
    kernel: tuple[int, int, int],
    read: Sequence[int],
    out: Sequence[int],
    over_time: Sequence[int],
) -> nn.ModuleList:
    """Return stem and stages of a pathway.

    `read` are the input channels of each stage, `out` the output channels of the stem and each stage.
    """
    parts: list[nn.Module] = [Stem(out[0], kernel)]
    for stage_index, depth in enumerate(shape.depths):
        width, wide = read[stage_index], out[stage_index + 1]
        stage = Stage()
        for number in range(depth):
            stride = 2 if number == 0 and stage_index > 0 else 1
            stage.append(
                Block(width if number == 0 else wide, wide, over_time[stage_index], stride, shape.squeeze)
            )
        parts.append(stage)
    return nn.ModuleList(parts)


def _pooled(values: Tensor, number: int) -> Tensor:
    """Return the mean over time and space of values (N*T, C, H, W), as (N, C); `number` is N."""
    return values.mean((2, 3)).reshape(number, -1, values.shape[1]).mean(1)
