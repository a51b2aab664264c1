"""Which numbers a device computes in."""

from contextlib import AbstractContextManager
from typing import Any

import torch

from trainers.engine.config import LoopConfig


def choose(config: LoopConfig, device: torch.device) -> str:
    """The precision asked for; `auto` is bf16 on a GPU that has it, else float32."""
    asked = config.precision
    if asked != "auto":
        return asked
    fit = device.type == "cuda" and torch.cuda.is_bf16_supported()
    return "bf16" if fit else "float32"


def autocast(precision: str, device: torch.device) -> AbstractContextManager[Any]:
    """Mixed precision, or nothing for float32."""
    kind = torch.float16 if precision == "fp16" else torch.bfloat16
    return torch.autocast(device.type, dtype=kind, enabled=precision != "float32")
