"""An LSTM classifier for sequences of different lengths, which padding does not affect."""

import torch
from torch import Tensor, nn
from torch.nn.functional import relu

from trainers.engine import lstm
from trainers.engine.dropout import CounterDropout
from trainers.facenet_lstm.config import Config


class Reader(nn.Module):
    """An LSTM layer on packed sequences, followed by layer normalisation and dropout."""

    def __init__(self, width: int, units: int, both_ways: bool, rate: float, layer: int) -> None:
        super().__init__()
        self.width = units * (2 if both_ways else 1)
        self.lstm = nn.LSTM(width, units, batch_first=True, bidirectional=both_ways)
        self.norm = nn.LayerNorm(self.width)
        self.dropout = CounterDropout(rate, layer)

    def forward(self, values: Tensor, lengths: Tensor, keys: Tensor) -> Tensor:
        """Map (B, T, width) to (B, T, self.width); ignore the output beyond each length (B,)."""
        kept: Tensor = self.dropout(self.norm(lstm.read(self.lstm, values, lengths)), keys)
        return kept


class Dense(nn.Module):
    """A linear layer, ReLU and dropout."""

    def __init__(self, width: int, units: int, rate: float, layer: int) -> None:
        super().__init__()
        self.linear = nn.Linear(width, units)
        self.dropout = CounterDropout(rate, layer)

    def forward(self, values: Tensor, keys: Tensor) -> Tensor:
        """Map (B, width) to (B, units). `keys` (B,) seed the dropout masks."""
        kept: Tensor = self.dropout(relu(self.linear(values)), keys)
        return kept


def masked_mean(values: Tensor, lengths: Tensor) -> Tensor:
    """Return the mean (B, F) of values (B, T, F) over the first `lengths` (B,) time steps."""
    steps = torch.arange(values.shape[1], device=values.device)
    count = lengths.to(values.device)
    valid = (steps[None, :] < count[:, None])[..., None]
    return torch.where(valid, values, 0.0).sum(1) / count[:, None]


class FacenetLSTM(nn.Module):
    """Maps normalised features (B, T, width) to logits (B, classes)."""

    def __init__(self, config: Config, width: int, classes: int) -> None:
        super().__init__()
        self.readers = nn.ModuleList()
        self.head = nn.ModuleList()
        for units in config.hidden:
            layer = len(self.readers)
            reader = Reader(width, units, config.bidirectional, config.lstm_dropout, layer)
            self.readers.append(reader)
            width = reader.width
        self.pool_dropout = CounterDropout(config.pool_dropout, 100)
        for units in config.dense:
            layer = 101 + len(self.head)
            self.head.append(Dense(width, units, config.dense_dropout, layer))
            width = units
        self.answer = nn.Linear(width, classes)

    def forward(self, features: Tensor, lengths: Tensor, keys: Tensor) -> Tensor:
        """Return logits (B, classes). `lengths` (B,) int64 are on the CPU; `keys` (B,) seed dropout."""
        values = features
        for reader in self.readers:
            values = reader(values, lengths, keys)
        values = self.pool_dropout(masked_mean(values, lengths), keys)
        for dense in self.head:
            values = dense(values, keys)
        return self.answer(values)  # type: ignore[no-any-return]
