"""Dropout whose mask is a pure function of (sample, layer, element).

The mask does not depend on batch order, padding, gradient accumulation or the number of processes. The
mixer is a 32-bit multiply-xorshift finaliser (after Wellons' hash-prospector) in int64, with
factors below 2**31 so that no product overflows: the same bits on every device.
"""

import torch
from torch import Tensor, nn

_WORD = 0xFFFFFFFF


def _mix(value: Tensor) -> Tensor:
    value = ((value ^ (value >> 16)) * 0x7FEB352D) & _WORD
    value = ((value ^ (value >> 15)) * 0x31848BAB) & _WORD
    return value ^ (value >> 16)


class CounterDropout(nn.Module):
    """Drops elements of (B, …) with probability `rate` in training, keyed by sample and layer."""

    def __init__(self, rate: float, layer: int) -> None:
        super().__init__()
        self.rate = rate
        self.layer = layer

    def forward(self, values: Tensor, keys: Tensor) -> Tensor:
        """`values` (B, …), `keys` (B,) int64 of 32 bits; the same shape back, kept ones scaled."""
        if not self.training or self.rate == 0.0:
            return values
        elements = torch.arange(values[0].numel(), device=values.device)
        layer_keys = _mix((keys + self.layer * 0x9E3779B9) & _WORD)
        bits = _mix(_mix(elements)[None, :] ^ layer_keys[:, None])
        kept = (bits >= int(self.rate * 2**32)).view_as(values)
        return values * kept / (1.0 - self.rate)
