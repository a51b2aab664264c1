"""The exported program of a trainer that turns landmarks into glosses."""

from typing import Any

import torch
from torch import Tensor, nn

from trainers.data.frames import FrameNormaliser
from trainers.data.landmarks import RAW, Layout
from trainers.data.sign import parts
from trainers.data.sign.config import SignConfig
from trainers.engine.export import Exportable

MULTIPLE = 4
"""The program takes a multiple of so many frames: the models halve the number of frames twice."""


class Program(nn.Module):
    """Maps raw landmarks (N, T, 1629) float32 to logits (N, ceil(T / stride), V), normalisation included."""

    def __init__(self, network: nn.Module, normaliser: FrameNormaliser) -> None:
        super().__init__()
        self.network, self.normaliser = network, normaliser

    def forward(self, landmarks: Tensor, lengths: Tensor) -> Tensor:
        """Return the logits of sentences with `lengths` (N,) frames, padded to T frames."""
        # float16 is what training reads: landmarks of more digits would be other input.
        frames = self.normaliser.apply(parts.derive(landmarks.to(torch.float16), lengths))
        logits: Tensor = self.network(frames, torch.zeros_like(lengths))
        return logits.float()


def exportable(
    network: nn.Module, normaliser: FrameNormaliser, layout: Layout, stride: int, config: SignConfig
) -> Exportable:
    """The program of a trained network, for any number of sentences with any numbers of frames."""
    least = config.min_frames
    about: dict[str, Any] = {
        "landmarks": "raw coordinates of each frame, 0 for a landmark not detected; padded with zeros "
        f"to a multiple of {MULTIPLE} frames. Velocity, acceleration and normalisation are computed inside",
        "columns": layout.as_dict(),
        "lengths": f"number of frames of each sentence without padding, at least {least}",
        "answer": f"one row of logits for {stride} frames, of which the first ceil(length / "
        f"{stride}) count; take the best class of each row, merge equal neighbours, drop class 0",
    }

    def inputs(*lengths: int) -> dict[str, Tensor]:
        draw = torch.Generator().manual_seed(sum(lengths))
        frames = -(-max(lengths) // MULTIPLE) * MULTIPLE
        raw = torch.rand(len(lengths), frames, RAW, generator=draw)
        return {"landmarks": raw, "lengths": torch.tensor(lengths)}

    others = (inputs(least), inputs(least, least + 45, least + 6), inputs(least + 31, least + 30))
    axes = {"landmarks": {0: "sentences", 1: "frames"}, "lengths": {0: "sentences"}}
    module = Program(network, normaliser).eval()
    return Exportable(module, inputs(least + 25, least + 14), axes, about, others, {"frames": MULTIPLE})
