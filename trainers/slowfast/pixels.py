"""Crops, augments and normalises cached frames on the device. No other module normalises frames."""

import torch
from torch import Tensor
from torch.nn.functional import affine_grid, grid_sample

from trainers.data.normalise import NormalisedTwice

MEAN, STD = 0.45, 0.225
"""Normalisation of the Kinetics weights, the same for each colour: (x / 255 - MEAN) / STD."""

GREY = (0.299, 0.587, 0.114)
"""Weights of red, green and blue in the grey value (ITU-R BT.601)."""


def _unit(frames: Tensor) -> Tensor:
    """Scale uint8 frames to 0 … 1. Raises NormalisedTwice for another type: it is normalised already."""
    if frames.dtype != torch.uint8:
        raise NormalisedTwice(f"frames are {frames.dtype}, not uint8: they may be normalised already")
    return frames.float() / 255.0


def normalised(frames: Tensor) -> Tensor:
    """Normalise frames (N, T, H, W, 3) uint8 to (N, T, 3, H, W) float32."""
    return ((_unit(frames) - MEAN) / STD).movedim(-1, 2)


def centred(frames: Tensor, size: int) -> Tensor:
    """Crop frames (N, T, S, S, 3) uint8 to the centre and normalise them: (N, T, 3, size, size) float32."""
    edge = (frames.shape[2] - size) // 2
    return normalised(frames[:, :, edge : edge + size, edge : edge + size])


def augmented(frames: Tensor, size: int, looks: Tensor) -> Tensor:
    """Augment frames (N, T, S, S, 3) uint8 and normalise them: (N, T, 3, size, size) float32.

    `looks` (N, LOOK) are the parameters of each clip (see clips.py), which apply to all its frames.
    """
    number, count = frames.shape[:2]
    planes = _unit(frames).movedim(-1, 2).flatten(1, 2)
    with torch.autocast(frames.device.type, enabled=False):  # coordinates in bf16 are off by half a pixel
        grid = affine_grid(looks[:, :6].view(-1, 2, 3), [number, 1, size, size], align_corners=False)
        warped = grid_sample(planes, grid, padding_mode="border", align_corners=False)
    coloured = _coloured(warped.view(number, count, 3, size, size), looks[:, 6:9])
    return torch.where(_cut(looks[:, 9:13], size), 0.0, (coloured - MEAN) / STD)


def _coloured(clips: Tensor, factors: Tensor) -> Tensor:
    """Scale brightness, contrast around the clip's mean grey, and saturation around each pixel's grey."""
    bright, contrast, saturation = (factors[:, i].view(-1, 1, 1, 1, 1) for i in range(3))
    shares = torch.tensor(GREY, device=clips.device).view(1, 1, 3, 1, 1)
    clips = clips * bright
    middle = (clips * shares).sum(2, keepdim=True).mean((1, 3, 4), keepdim=True)
    clips = middle + (clips - middle) * contrast
    grey = (clips * shares).sum(2, keepdim=True)
    return (grey + (clips - grey) * saturation).clamp(0.0, 1.0)


def _cut(boxes: Tensor, size: int) -> Tensor:
    """Return the mask (N, 1, 1, size, size) of the cut-out rectangles `boxes` (N, 4)."""
    line = (torch.arange(size, device=boxes.device) + 0.5) / size * 2.0 - 1.0
    across = (line - boxes[:, 0:1]).abs() < boxes[:, 2:3]
    down = (line - boxes[:, 1:2]).abs() < boxes[:, 3:4]
    return (down[:, :, None] & across[:, None, :])[:, None, None]
