"""An LSTM over the blendshapes as a sequence, with dropout between its steps."""

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

from trainers.engine.dropout import CounterDropout

BETWEEN_STEPS = 1000
"""Number of the first dropout layer between steps, far above those of other layers."""


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
        inputs = linear(values, inner, inner_bias)
        state = cell = torch.zeros_like(mask)
        outputs = []
        steps = range(values.shape[1])
        for step in reversed(steps) if suffix else steps:
            gates = inputs[:, step] + linear(state * mask, outer, outer_bias)
            enter, forget, new, leave = gates.chunk(4, -1)
            cell = forget.sigmoid() * cell + enter.sigmoid() * new.tanh()
            state = leave.sigmoid() * cell.tanh()
            outputs.append(state)
        return torch.stack(outputs[::-1] if suffix else outputs, 1)

    def last(self, values: Tensor) -> Tensor:
        """The final states (B, self.width) of both directions in the output (B, T, self.width)."""
        return torch.cat([values[:, -1, : self.units], values[:, 0, self.units :]], -1)
