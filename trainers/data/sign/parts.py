"""What a model of landmarks reads: raw columns, velocity and acceleration, by named groups."""

import torch
from torch import Tensor

from trainers.data.frames import Frames, mask
from trainers.data.landmarks import RAW, SIZES, Layout

MODALITIES = ("pose", "hands", "face", "temporal")
WIDTHS = {
    "pose": SIZES["pose"],
    "hands": SIZES["left_hand"] + SIZES["right_hand"],
    "face": SIZES["face"],
    "temporal": 3 * RAW,
}
"""Columns of each modality; `temporal` is all of raw, velocity and acceleration."""


def derive(raw: Tensor, lengths: Tensor) -> Frames:
    """(B, T, 1629) of any float to Frames of (B, T, 4887): see reading.derive, on the batch's device."""
    valid = mask(lengths, raw.shape[1], raw.device)[..., None]
    values = raw.float() * valid
    velocity, acceleration = torch.zeros_like(values), torch.zeros_like(values)
    long = lengths.to(raw.device)[:, None]
    if values.shape[1] > 1:
        velocity[:, 1:] = values[:, 1:] - values[:, :-1]
        velocity[:, 0] = torch.where(long > 1, velocity[:, 1], 0.0)
    if values.shape[1] > 2:
        acceleration[:, 2:] = velocity[:, 2:] - velocity[:, 1:-1]
        acceleration[:, :2] = torch.where(long > 2, acceleration[:, 2], 0.0)[:, None]
    return Frames(torch.cat([values, velocity, acceleration], 2) * valid, lengths)


def modalities(values: Tensor, layout: Layout) -> dict[str, Tensor]:
    """Each modality's columns of (B, T, 4887), where the layout has them."""
    pose, left, right, face = layout.columns("pose", "left_hand", "right_hand", "face")
    hands = torch.cat([values[..., left], values[..., right]], -1)
    return {"pose": values[..., pose], "hands": hands, "face": values[..., face], "temporal": values}
