"""Numeric precision: float32, or mixed precision with bfloat16 or float16."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import linear
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_map_only

from trainers.engine.config import LoopConfig

HALVES = {"bf16": torch.bfloat16, "fp16": torch.float16}

PRODUCTS = frozenset(
    (
        linear,
        torch.conv1d,
        torch.conv2d,
        torch.conv3d,
        torch.conv_transpose1d,
        torch.bmm,
        torch.lstm,
        torch.matmul,
        Tensor.matmul,
        Tensor.__matmul__,
    )
)
"""The functions, among those the trainers use, whose operands mixed precision rounds."""


def choose(config: LoopConfig, device: torch.device) -> str:
    """`float32`, `bf16` or `fp16`; the option `auto` is bf16 on a GPU that supports it, else float32."""
    if config.precision != "auto":
        return config.precision
    # A T4 or V100 accepts bf16 too, and emulates it.
    fit = device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
    return "bf16" if fit else "float32"


@contextmanager
def autocast(precision: str, device: torch.device) -> Iterator[None]:
    """Context manager that enables mixed precision; does nothing for float32."""
    kind = HALVES.get(precision)
    if kind is None:
        yield
    elif device.type == "cpu" and not has(kind):
        with torch.autocast("cpu", dtype=kind), Rounded(kind):
            yield
    else:
        with torch.autocast(device.type, dtype=kind):
            yield


def has(kind: torch.dtype) -> bool:
    """Whether PyTorch has a fast matrix product for this type (bfloat16 or float16) on this CPU."""
    if not torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
        return False
    if kind == torch.bfloat16:
        return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
    return bool(torch.ops.mkldnn._is_mkldnn_fp16_supported())


class Rounded(TorchFunctionMode):
    """Emulates mixed precision on a CPU without support for `kind`.

    Operands and results of a product are rounded to `kind`; sums are in float32, as in hardware. PyTorch's
    own emulation takes ten times as long, and its LSTM may raise.
    """

    def __init__(self, kind: torch.dtype) -> None:
        super().__init__()
        self.kind = kind

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Called by PyTorch instead of each of its functions; rounds the operands of those in PRODUCTS."""
        named = dict(kwargs or {})
        if func not in PRODUCTS:
            return func(*args, **named)
        with torch.autocast("cpu", enabled=False):
            args, named = tree_map_only(Tensor, self._operand, (tuple(args), named))
            return tree_map_only(Tensor, lambda result: result.to(self.kind), func(*args, **named))

    def _operand(self, value: Tensor) -> Tensor:
        return value.to(self.kind).float() if value.is_floating_point() else value
