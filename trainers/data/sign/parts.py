"""The input of landmark models: raw columns, velocity and acceleration, in named groups."""

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
"""Number of columns of each modality; `temporal` is all of raw, velocity and acceleration."""


def derive(raw: Tensor, lengths: Tensor) -> Frames:
    """Derive velocity and acceleration as reading.derive does, on the batch's device.

    Maps raw (B, T, 1629) of any float type to Frames (B, T, 4887).
    """
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
    """The columns of each modality in `values` (B, T, 4887), by the layout."""
    pose, left, right, face = layout.columns("pose", "left_hand", "right_hand", "face")
    hands = torch.cat([values[..., left], values[..., right]], -1)
    return {"pose": values[..., pose], "hands": hands, "face": values[..., face], "temporal": values}
