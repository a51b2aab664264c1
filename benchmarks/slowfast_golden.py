"""Prints reference outputs of pytorchvideo's SlowFast for tests/trainers/test_slowfast_model.py.

    pip install --no-deps --target DIR pytorchvideo fvcore iopath yacs portalocker tabulate termcolor \\
        parameterized tqdm
    python -m benchmarks.slowfast_golden DIR

Weights and clip are a formula of their names and places (`values`), so that the test needs no file of either.
"""

import hashlib
import math
import sys
import types
import zlib
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

ALPHA = 4


def values(name: str, shape: tuple[int, ...]) -> Tensor:
    """float32 in -0.5 to 0.5, a function of the name and each place."""
    places = torch.arange(1, math.prod(shape) + 1, dtype=torch.float64)
    waves = torch.sin(places * 12.9898 + zlib.crc32(name.encode()) % 1000) * 43758.5453
    return (waves - waves.floor() - 0.5).float().reshape(shape)


def weights(shapes: dict[str, tuple[int, ...]]) -> dict[str, Tensor]:
    """Kernels scaled by their fan-in, batch statistics near 0 and 1, gains that keep answers near 1."""
    found = {}
    for name, shape in shapes.items():
        drawn = values(name, shape)
        if len(shape) >= 2:
            drawn = drawn * math.sqrt(24.0 / math.prod(shape[1:]))
        elif name.endswith("running_var"):
            drawn = 1.0 + drawn
        elif name.endswith(".weight"):
            drawn = 0.6 + 0.6 * drawn
        found[name] = drawn
    return found


def clip(frames: int, size: int) -> Tensor:
    """(2, frames, 3, size, size) float32."""
    return 4.0 * values("clip", (2, frames, 3, size, size))


def without_torchvision() -> None:
    """pytorchvideo imports one name of torchvision, which a SlowFast does not use."""
    names = ("torchvision", "torchvision.ops")
    for name in names:
        sys.modules.setdefault(name, types.ModuleType(name))
    sys.modules["torchvision.ops"].RoIAlign = nn.Identity  # type: ignore[attr-defined]


def pytorchvideo(folder: Path, classes: int, frames: int, size: int, **more: Any) -> nn.Module:
    """Its SlowFast-R50 for clips of `frames` and `size` pixels."""
    sys.path.insert(0, str(folder))
    without_torchvision()
    from pytorchvideo.models.slowfast import create_slowfast  # noqa: PLC0415 - found in `folder`

    last = math.ceil(size / 32)
    pools = ((math.ceil(frames / ALPHA), last, last), (frames, last, last))
    found: nn.Module = create_slowfast(model_num_class=classes, head_pool_kernel_sizes=pools, **more)
    return found


def main(folder: Path) -> None:
    """A narrow R50, so that a test can afford it: 8 channels instead of 64, 2 of them in the fast stem."""
    narrow = {"slowfast_channel_reduction_ratio": (4,), "stem_dim_outs": (8, 2)}
    model = pytorchvideo(folder, 8, 8, 64, **narrow).eval()
    shapes = {name: tuple(value.shape) for name, value in model.state_dict().items() if value.ndim}
    model.load_state_dict(weights(shapes), strict=False)
    seen = clip(8, 64).transpose(1, 2)
    with torch.no_grad():
        logits = model([seen[:, :, ::ALPHA], seen])
    keys = hashlib.sha256("\n".join(sorted(shapes)).encode()).hexdigest()
    sys.stdout.write(f"KEYS = {keys!r}\nLOGITS = {logits.tolist()}\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
