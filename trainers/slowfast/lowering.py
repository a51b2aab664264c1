"""Computes 3-D convolutions as channels-last conv2d on views of the same memory.

Activations are (N*T, C, H, W) in channels-last memory, frame after frame of clip after clip. That memory can
also be viewed as (N, C, T, H*W), so that a kernel over time alone is a conv2d of (k, 1). The result is that
of conv3d, without approximation. conv3d itself is not used: its kernels are slower, and those of one cuDNN
release were wrong in bf16 (pytorch issue 163539).
"""

import torch
from torch import Tensor
from torch.nn import functional as F


def conv(values: Tensor, frames: int, weight: Tensor, stride: tuple[int, int, int]) -> Tensor:
    """Compute conv3d without bias, padded by half a kernel: (N*T, C, H, W) to (N*T', O, H', W').

    `frames` is T; `weight` is (O, C, kt, kh, kw). Raises ValueError for a kernel over time and space with a
    stride in time other than 1.
    """
    _, _, over_time, high, wide = weight.shape
    if over_time == 1:
        return _spatial(values, weight[:, :, 0], stride[1:])
    if high == wide == 1:
        return _temporal(values, frames, weight[..., 0], stride[0])
    return _folded(values, frames, weight, stride)


def _spatial(values: Tensor, weight: Tensor, stride: tuple[int, ...]) -> Tensor:
    high, wide = weight.shape[2:]
    if high == wide == 1 and stride == (1, 1) and not _autocast(values):
        # On one thread torch runs this conv2d with a slow fallback; a linear layer is equivalent.
        return F.linear(values.permute(0, 2, 3, 1), weight[:, :, 0, 0]).permute(0, 3, 1, 2)
    return F.conv2d(values, weight, None, stride, (high // 2, wide // 2))


def _autocast(values: Tensor) -> bool:
    return torch.is_autocast_enabled(values.device.type)


def _temporal(values: Tensor, frames: int, weight: Tensor, stride: int) -> Tensor:
    _, channels, high, wide = values.shape
    lines = values.permute(0, 2, 3, 1).reshape(-1, frames, high * wide, channels).permute(0, 3, 1, 2)
    lines = F.conv2d(lines, weight, None, (stride, 1), (weight.shape[2] // 2, 0))
    return lines.permute(0, 2, 3, 1).reshape(-1, high, wide, weight.shape[0]).permute(0, 3, 1, 2)


def _folded(values: Tensor, frames: int, weight: Tensor, stride: tuple[int, int, int]) -> Tensor:
    """Compute a kernel over time and space as conv2d, with neighbouring frames as extra channels."""
    out, _, taps, high, wide = weight.shape
    if stride[0] != 1:
        raise ValueError("a kernel over time and space needs a stride of 1 in time")
    clips = values.reshape(-1, frames, *values.shape[1:])
    padded = F.pad(clips, (0, 0, 0, 0, 0, 0, taps // 2, taps // 2))
    windows = torch.cat([padded[:, tap : tap + frames] for tap in range(taps)], 2).flatten(0, 1)
    windows = windows.contiguous(memory_format=torch.channels_last)
    kernel = weight.transpose(1, 2).reshape(out, -1, high, wide)
    return F.conv2d(windows, kernel, None, stride[1:], (high // 2, wide // 2))
