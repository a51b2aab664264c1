"""Dense and LSTM networks for blendshapes. The model takes raw scores and normalises them itself."""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

from trainers.blendshapes.config import Config
from trainers.blendshapes.initialise import initialise
from trainers.blendshapes.recurrent import Recurrent
from trainers.engine.dropout import CounterDropout

ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "silu": functional.silu,
    "relu": functional.relu,
    "leaky-relu": functional.leaky_relu,
    "elu": functional.elu,
    "gelu": functional.gelu,
    "tanh": torch.tanh,
}


class Dense(nn.Module):
    """A linear layer, an activation and dropout. SiLU is smooth; with ReLU, training diverged."""

    def __init__(self, width: int, units: int, rate: float, layer: int, activation: str) -> None:
        super().__init__()
        self.width = units
        self.linear = nn.Linear(width, units)
        self.activation = ACTIVATIONS[activation]
        self.dropout = CounterDropout(rate, layer)

    def forward(self, values: Tensor, keys: Tensor) -> Tensor:
        """Map (B, width) to (B, units). `keys` (B,) seed the dropout masks."""
        kept: Tensor = self.dropout(self.activation(self.linear(values)), keys)
        return kept


class Blendshapes(nn.Module):
    """Maps raw blendshapes (B, F), from 0 to 1, to logits (B, C). `mean` and `std` (F,) are saved buffers."""

    mean: Tensor
    std: Tensor

    def __init__(self, config: Config, mean: Tensor, std: Tensor, classes: int) -> None:
        super().__init__()
        self.register_buffer("mean", mean.clone())
        self.register_buffer("std", std.clone())
        self.rooted = config.normalise == "sqrt"
        self.recurrent = config.model == "lstm"
        width = 1 if self.recurrent else len(mean)
        self.layers = nn.ModuleList()
        for units in config.hidden:
            layer = self._layer(config, width, units)
            self.layers.append(layer)
            width = layer.width
        self.answer = nn.Linear(width, classes)
        initialise(self, config.initialiser, self.answer)

    def _layer(self, config: Config, width: int, units: int) -> Dense | Recurrent:
        number = len(self.layers)
        if not self.recurrent:
            return Dense(width, units, config.dropout, number, config.activation)
        between, both_ways = config.recurrent_dropout, config.bidirectional
        return Recurrent(width, units, config.dropout, number, between, both_ways)

    def normalised(self, raw: Tensor) -> Tensor:
        """Return the scores (B, F), or with `normalise: sqrt` their square roots, less mean, by std."""
        return ((raw.clamp(min=0.0).sqrt() if self.rooted else raw) - self.mean) / self.std

    def forward(self, raw: Tensor, keys: Tensor) -> Tensor:
        """Return logits (B, C) for raw scores (B, F). `keys` (B,) seed the dropout masks."""
        values = self.normalised(raw)
        if self.recurrent:
            values = values[..., None]
        for layer in self.layers:
            values = layer(values, keys)
        if isinstance(layer, Recurrent):
            values = layer.last(values)
        return self.answer(values)  # type: ignore[no-any-return]


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
