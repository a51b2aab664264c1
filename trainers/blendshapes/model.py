"""Dense or LSTM on blendshapes. What normalises them is a part of the model: it always takes raw ones."""

import torch
from torch import Tensor, nn
from torch.nn.functional import silu

from trainers.blendshapes.config import Config
from trainers.engine.dropout import CounterDropout


class Dense(nn.Module):
    """Linear, SiLU, dropout: a smooth function with a negative part, which does not explode as ReLU did."""

    def __init__(self, width: int, units: int, rate: float, layer: int) -> None:
        super().__init__()
        self.linear = nn.Linear(width, units)
        self.dropout = CounterDropout(rate, layer)

    def forward(self, values: Tensor, keys: Tensor) -> Tensor:
        """(B, width) in, (B, units) out."""
        kept: Tensor = self.dropout(silu(self.linear(values)), keys)
        return kept


class Recurrent(nn.Module):
    """An LSTM that reads the blendshapes one after the other, dropout."""

    def __init__(self, width: int, units: int, rate: float, layer: int) -> None:
        super().__init__()
        self.lstm = nn.LSTM(width, units, batch_first=True)
        self.dropout = CounterDropout(rate, layer)

    def forward(self, values: Tensor, keys: Tensor) -> Tensor:
        """(B, F, width) in, (B, F, units) out."""
        kept: Tensor = self.dropout(self.lstm(values)[0], keys)
        return kept


class Blendshapes(nn.Module):
    """Raw blendshapes (B, F) in 0 to 1 to logits (B, C). `mean` and `std` (F,) are buffers, saved with it."""

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
        """`keys` (B,) for dropout."""
        values = (raw - self.mean) / self.std
        if self.recurrent:
            values = values[..., None]
        for layer in self.layers:
            values = layer(values, keys)
        return self.answer(values[:, -1] if self.recurrent else values)  # type: ignore[no-any-return]


class Answering(nn.Module):
    """The model as an application has it: a face outside 0 to 1 gets NaN, never what looks like an answer."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, blendshapes: Tensor) -> Tensor:
        """(B, F) float32 to (B, C)."""
        sound = ((blendshapes >= 0.0) & (blendshapes <= 1.0)).all(1, keepdim=True)
        keys = torch.zeros(blendshapes.shape[:1], dtype=torch.int64, device=blendshapes.device)
        logits = self.model(blendshapes, keys)
        return torch.where(sound, logits, torch.full_like(logits, torch.nan))
