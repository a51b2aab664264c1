"""Dense and LSTM networks for blendshapes. The model takes raw scores and normalises them itself."""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

from trainers.blendshapes.config import Config
from trainers.engine.dropout import CounterDropout

ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "silu": functional.silu,
    "relu": functional.relu,
    "leaky-relu": functional.leaky_relu,
    "elu": functional.elu,
    "gelu": functional.gelu,
    "tanh": torch.tanh,
}

INITIALISERS: dict[str, Callable[[Tensor], Tensor]] = {
    "xavier": nn.init.xavier_uniform_,
    "kaiming": lambda weight: nn.init.kaiming_normal_(weight, nonlinearity="relu"),
    "orthogonal": nn.init.orthogonal_,
}
"""Glorot and Bengio 2010, He et al. 2015, Saxe et al. 2014."""

BETWEEN_STEPS = 1000
"""Number of the first dropout layer between steps, far above those of other layers."""


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


class Recurrent(nn.Module):
    """An LSTM layer, followed by dropout. `both_ways` reads the sequence backwards too.

    In training, `between` drops elements of the state that goes from one step to the next, the same ones at
    every step (Gal and Ghahramani 2016; Keras calls it recurrent_dropout).
    """

    def __init__(
        self, width: int, units: int, rate: float, layer: int, between: float, both_ways: bool
    ) -> None:
        super().__init__()
        self.units, self.width = units, units * (2 if both_ways else 1)
        self.lstm = nn.LSTM(width, units, batch_first=True, bidirectional=both_ways)
        self.dropout = CounterDropout(rate, layer)
        first = BETWEEN_STEPS + 2 * layer
        self.between = nn.ModuleList(CounterDropout(between, first + way) for way in range(1 + both_ways))

    def forward(self, values: Tensor, keys: Tensor) -> Tensor:
        """Map (B, T, width) to (B, T, self.width). `keys` (B,) seed the dropout masks."""
        drops = self.training and any(dropout.rate for dropout in self.between)
        read = self.by_step(values, keys) if drops else self.lstm(values)[0]
        kept: Tensor = self.dropout(read, keys)
        return kept

    def by_step(self, values: Tensor, keys: Tensor) -> Tensor:
        """The output of the LSTM, computed step by step with the masks of `between`."""
        ways = []
        for suffix, dropout in zip(("", "_reverse"), self.between, strict=False):
            mask = dropout(values.new_ones(len(values), self.units), keys)
            ways.append(self._read(values, suffix, mask))
        return torch.cat(ways, -1)

    def _read(self, values: Tensor, suffix: str, mask: Tensor) -> Tensor:
        inner, outer, inner_bias, outer_bias = (
            getattr(self.lstm, f"{name}_l0{suffix}")
            for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
        )
        inputs = functional.linear(values, inner, inner_bias)
        state = cell = torch.zeros_like(mask)
        outputs = []
        steps = range(values.shape[1])
        for step in reversed(steps) if suffix else steps:
            gates = inputs[:, step] + functional.linear(state * mask, outer, outer_bias)
            enter, forget, new, leave = gates.chunk(4, -1)
            cell = forget.sigmoid() * cell + enter.sigmoid() * new.tanh()
            state = leave.sigmoid() * cell.tanh()
            outputs.append(state)
        return torch.stack(outputs[::-1] if suffix else outputs, 1)

    def last(self, values: Tensor) -> Tensor:
        """The final states (B, self.width) of both directions in the output (B, T, self.width)."""
        return torch.cat([values[:, -1, : self.units], values[:, 0, self.units :]], -1)


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


@torch.no_grad()
def initialise(model: nn.Module, rule: str, answer: nn.Linear) -> None:
    """Initialise every layer of the model by one of INITIALISERS; `default` keeps PyTorch's weights.

    Biases are 0, those of the forget gates of an LSTM 1 as in Keras; each gate's matrix is initialised on its
    own. With `kaiming`, whose gain is for a ReLU, the layer `answer` is initialised by `xavier`.
    """
    if rule == "default":
        return
    for layer in model.modules():
        if isinstance(layer, nn.Linear):
            INITIALISERS["xavier" if layer is answer and rule == "kaiming" else rule](layer.weight)
            nn.init.zeros_(layer.bias)
        elif isinstance(layer, nn.LSTM):
            _initialise_lstm(layer, INITIALISERS[rule])


def _initialise_lstm(layer: nn.LSTM, rule: Callable[[Tensor], Tensor]) -> None:
    for name, values in layer.named_parameters():
        if values.ndim == 2:
            for gate in values.chunk(4):
                rule(gate)
        else:
            values.zero_()
            if name.startswith("bias_ih"):
                values[layer.hidden_size : 2 * layer.hidden_size] = 1.0


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
