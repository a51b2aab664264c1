"""An LSTM over sequences of different lengths, in training and in exported programs.

torch.export would fix the length of the sequences: it traces an LSTM step by step. Inside `exporting` the
LSTM is therefore traced as one operation of unknown content, which `finish` then replaces by torch's own
(aten.lstm), so that the program needs nothing of this package.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

_EXPORTING = ContextVar("exporting", default=False)


@torch.library.custom_op("gpujob::lstm", mutates_args=())
def _traced(
    values: Tensor,
    state: list[Tensor],
    weights: list[Tensor],
    bias: bool,
    layers: int,
    dropout: float,
    training: bool,
    both_ways: bool,
    batch_first: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    """aten.lstm.input, under a name that torch.export does not look into."""
    options = (bias, layers, dropout, training, both_ways, batch_first)
    read: tuple[Tensor, Tensor, Tensor] = torch.ops.aten.lstm.input(values, state, weights, *options)
    return read


@_traced.register_fake
def _shapes(  # type: ignore[no-untyped-def]
    values, state, weights, bias, layers, dropout, training, both_ways, batch_first
):
    hidden, cell = state
    units = hidden.shape[2] * (2 if both_ways else 1)
    out = values.new_empty(values.shape[0], values.shape[1], units)
    return out, hidden.new_empty(hidden.shape), cell.new_empty(cell.shape)


@contextmanager
def exporting() -> Iterator[None]:
    """While it is open, `read` can be traced for any number of sequences of any lengths."""
    token = _EXPORTING.set(True)
    try:
        yield
    finally:
        _EXPORTING.reset(token)


def finish(program: torch.export.ExportedProgram) -> None:
    """Replace what `read` traced by torch's LSTM."""
    for node in program.graph.nodes:
        if node.target is torch.ops.gpujob.lstm.default:
            node.target = torch.ops.aten.lstm.input
    program.graph_module.recompile()


def read(lstm: nn.LSTM, values: Tensor, lengths: Tensor) -> Tensor:
    """Map (B, T, width) and lengths (B,) on the CPU to (B, T, units), zero beyond each length.

    Padding is not read. On a GPU sequences are packed; on a CPU, packing would take two to five times as long
    as oneDNN's LSTM, which reads all steps at once.
    """
    if _EXPORTING.get() or values.device.type == "cpu":
        return _read_padded(lstm, values, lengths)
    packed = pack_padded_sequence(values, lengths, batch_first=True, enforce_sorted=False)
    return pad_packed_sequence(lstm(packed)[0], batch_first=True, total_length=values.shape[1])[0]


def _read_padded(lstm: nn.LSTM, values: Tensor, lengths: Tensor) -> Tensor:
    """As `read`, without packing: backwards, each sequence is reversed within its own length."""
    steps = torch.arange(values.shape[1], device=values.device)[None]
    ends = lengths.to(values.device)[:, None]
    valid = (steps < ends)[..., None].to(values.dtype)
    mirrored = torch.where(steps < ends, ends - 1 - steps, steps)[..., None]
    for layer in range(lstm.num_layers):
        read = _one_way(lstm, values, f"l{layer}")
        if lstm.bidirectional:
            back = _one_way(lstm, _taken(values, mirrored), f"l{layer}_reverse")
            read = torch.cat([read, _taken(back, mirrored)], -1)
        values = read * valid
    return values


def _taken(values: Tensor, positions: Tensor) -> Tensor:
    return values.gather(1, positions.expand(-1, -1, values.shape[2]))


def _one_way(lstm: nn.LSTM, values: Tensor, suffix: str) -> Tensor:
    names = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")[: 4 if lstm.bias else 2]
    weights = [getattr(lstm, f"{name}_{suffix}") for name in names]
    state = values.new_zeros(1, values.shape[0], lstm.hidden_size)
    if _EXPORTING.get():
        options = (lstm.bias, 1, 0.0, False, False, True)
        traced: Tensor = torch.ops.gpujob.lstm(values, [state, state], weights, *options)[0]
        return traced
    options = (lstm.bias, 1, 0.0, torch.is_grad_enabled(), False, True)  # gradients need what training keeps
    read: Tensor = torch.lstm(values, (state, state), weights, *options)[0]
    return read
