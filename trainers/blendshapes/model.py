"""Dense and LSTM networks for blendshapes. The model takes raw scores and normalises them itself."""

import torch
from torch import Tensor, nn
from torch.nn.functional import silu

from trainers.blendshapes.config import Config
from trainers.engine.dropout import CounterDropout


class Dense(nn.Module):
    """A linear layer, SiLU and dropout. SiLU is smooth; with ReLU, training diverged."""

    def __init__(self, width: int, units: int, rate: float, layer: int) -> None:
        super().__init__()
        self.linear = nn.Linear(width, units)
        self.dropout = CounterDropout(rate, layer)

    def forward(self, values: Tensor, keys: Tensor) -> Tensor:
        """Map (B, width) to (B, units). `keys` (B,) seed the dropout masks."""
        kept: Tensor = self.dropout(silu(self.linear(values)), keys)
        return kept


class Recurrent(nn.Module):
    """An LSTM over the blendshapes as a sequence, followed by dropout."""

    def __init__(self, width: int, units: int, rate: float, layer: int) -> None:
        super().__init__()
        self.lstm = nn.LSTM(width, units, batch_first=True)
        self.dropout = CounterDropout(rate, layer)

    def forward(self, values: Tensor, keys: Tensor) -> Tensor:
        """Map (B, F, width) to (B, F, units). `keys` (B,) seed the dropout masks."""
        kept: Tensor = self.dropout(self.lstm(values)[0], keys)
        return kept


class Blendshapes(nn.Module):
    """Maps raw blendshapes (B, F), from 0 to 1, to logits (B, C). `mean` and `std` (F,) are saved buffers."""

    mean: Tensor
    std: Tensor

    def __init__(self, config: Config, mean: Tensor, std: Tensor, classes: int) -> None:
        super().__init__()
        self.register_buffer("mean", mean.clone())
        self.register_buffer("std", std.clone())
        self.recurrent = config.model == "lstm"
        width = 1 if self.recurrent else len(mean)
        kind = Recurrent if self.recurrent else Dense
        self.layers = nn.ModuleList()
        for units in config.hidden:
            self.layers.append(kind(width, units, config.dropout, len(self.layers)))
            width = units
        self.answer = nn.Linear(width, classes)

    def forward(self, raw: Tensor, keys: Tensor) -> Tensor:
        """Return logits (B, C) for raw scores (B, F). `keys` (B,) seed the dropout masks."""
        values = (raw - self.mean) / self.std
        if self.recurrent:
            values = values[..., None]
        for layer in self.layers:
            values = layer(values, keys)
        return self.answer(values[:, -1] if self.recurrent else values)  # type: ignore[no-any-return]


class Answering(nn.Module):
    """The exported model: no dropout keys; a row with a value outside 0 to 1 gets NaN logits."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, blendshapes: Tensor) -> Tensor:
        """Return logits (B, C) for raw scores (B, F) float32."""
        sound = ((blendshapes >= 0.0) & (blendshapes <= 1.0)).all(1, keepdim=True)
        keys = torch.zeros(blendshapes.shape[:1], dtype=torch.int64, device=blendshapes.device)
        logits = self.model(blendshapes, keys)
        return torch.where(sound, logits, torch.full_like(logits, torch.nan))
