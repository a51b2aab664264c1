"""A training step of SlowFast-R50, compared with its Conv3d form and pytorchvideo at equal precision.

    python -m benchmarks.slowfast DIR [--size 8x112x4] [--trials 7] [--brief] [--precision bf16]

With --device cuda, on a GPU; with --memory, the peak of each arm in a process of its own. DIR holds
pytorchvideo (benchmarks/slowfast_golden.py says how to put it there). All arms run in turn in one process, on
one thread, in CPU seconds; a ratio is the median of those of the trials. All bf16 arms run as a training does
(trainers/engine/precision.py): on a CPU without bf16 their products are rounded to it and summed in float32;
`--precision torch-bf16` leaves them to PyTorch there. On a GPU times are those of CUDA events, compiled arms
come too, and a matrix product says what the card can do.
"""

from __future__ import annotations

import argparse
import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from unittest.mock import patch

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.slowfast_golden import ALPHA, pytorchvideo
from trainers.engine.precision import autocast
from trainers.slowfast import model
from trainers.slowfast.model import Shape, SlowFast

CLASSES = 8
BASE = "pytorchvideo"
KINDS = ("fp32", "bf16", "torch-bf16")


def mixed(kind: str, device: torch.device) -> AbstractContextManager[None]:
    """What a step of this kind is computed in."""
    if kind == "torch-bf16":
        return torch.autocast(device.type, torch.bfloat16)
    return autocast("float32" if kind == "fp32" else kind, device)


def conv3d(values: Tensor, frames: int, weight: Tensor, stride: tuple[int, int, int]) -> Tensor:
    """The 3-D form of every convolution of ours."""
    whole = values.unflatten(0, (-1, frames)).transpose(1, 2)
    padding = [size // 2 for size in weight.shape[2:]]
    return F.conv3d(whole, weight, None, stride, padding).transpose(1, 2).flatten(0, 1)


class Peer(nn.Module):
    """pytorchvideo's network, taking clips as ours does."""

    def __init__(self, folder: Path, frames: int, size: int, last: bool) -> None:
        super().__init__()
        self.net = pytorchvideo(folder, CLASSES, frames, size)
        self.layout = torch.channels_last_3d if last else torch.contiguous_format
        self.net.to(memory_format=self.layout)  # type: ignore[call-overload]

    def forward(self, clips: Tensor) -> Tensor:
        """(N, T, 3, H, W) to logits."""
        seen = clips.transpose(1, 2).contiguous(memory_format=self.layout)
        return self.net([seen[:, :, ::ALPHA], seen])  # type: ignore[no-any-return]


@dataclass
class Arm:
    """One way to make a step."""

    name: str
    kind: str
    net: nn.Module
    three: bool = False

    def step(self, clips: Tensor, labels: Tensor) -> None:
        """Forward, backward, SGD."""
        patched = patch.object(model, "conv", conv3d if self.three else model.conv)
        with patched, mixed(self.kind, clips.device):
            loss = F.cross_entropy(self.net(clips).float(), labels)
        loss.backward()  # type: ignore[no-untyped-call]
        with torch.no_grad():
            for p in self.net.parameters():
                if p.grad is not None:
                    p.sub_(p.grad, alpha=1e-4)
                    p.grad = None


def arms(asked: argparse.Namespace, frames: int, size: int, device: torch.device) -> Iterator[Arm]:
    """In each precision: ours, ours as Conv3d, pytorchvideo in both layouts; on a GPU compiled too."""

    def ours() -> nn.Module:
        return SlowFast(Shape(CLASSES)).to(device).train()

    def peer(last: bool) -> nn.Module:
        return Peer(asked.folder, frames, size, last).to(device).train()

    for kind in asked.precision or KINDS[:2]:
        yield Arm(BASE, kind, peer(False))
        yield Arm("ours", kind, ours())
        if asked.brief:
            continue
        yield Arm(f"{BASE} channels-last", kind, peer(True))
        yield Arm("ours as Conv3d", kind, ours(), three=True)
        if device.type == "cuda":
            yield Arm("ours compiled", kind, torch.compile(ours()))  # type: ignore[arg-type]
            yield Arm(f"{BASE} channels-last compiled", kind, torch.compile(peer(True)))  # type: ignore[arg-type]


@contextmanager
def seconds(device: torch.device) -> Iterator[Callable[[], float]]:
    """CPU seconds of this process, or seconds of the GPU."""
    if device.type != "cuda":
        begun = time.process_time()
        yield lambda: time.process_time() - begun
        return
    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    start.record()

    def spent() -> float:
        end.record()
        torch.cuda.synchronize()
        return start.elapsed_time(end) / 1e3

    yield spent


Times = dict[tuple[str, str], list[float]]


def measure(found: list[Arm], clips: Tensor, labels: Tensor, trials: int) -> Times:
    """Seconds of each arm's steps, interleaved, after one that is not counted."""
    times: Times = {(arm.name, arm.kind): [] for arm in found}
    for trial in range(trials + 1):
        for arm in found:
            with seconds(clips.device) as spent:
                arm.step(clips, labels)
                took = spent()
            if trial:
                times[arm.name, arm.kind].append(took)
        sys.stderr.write(f"trial {trial} of {trials}: {times}\n")
    return times


def work(clips: Tensor) -> float:
    """Floating point operations of a step: three times those of the forward pass."""
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        SlowFast(Shape(CLASSES)).to(clips.device)(clips)
    return 3.0 * counter.get_total_flops()


def peak(device: torch.device) -> float:
    """Operations a second of a large bf16 matrix product: what this card can do; 0 on a CPU."""
    if device.type != "cuda":
        return 0.0
    one = torch.randn(8192, 8192, device=device, dtype=torch.bfloat16)
    for _ in range(3):
        one @ one
    with seconds(device) as spent:
        for _ in range(20):
            one @ one
        return 20 * 2 * 8192**3 / spent()


def report(times: Times, clips: Tensor) -> None:
    """Seconds a step, clips a second, the ratio to pytorchvideo at the same precision; on a GPU the
    share of the card's own bf16 matrix product, for steps in bf16."""
    done, best, batch = work(clips), peak(clips.device), len(clips)
    for (name, kind), spent in times.items():
        ratio = statistics.median(b / s for b, s in zip(times[BASE, kind], spent, strict=True))
        half = statistics.median(spent)
        share = f"  {done / half / best:5.1%} of the card" if best and kind != "fp32" else ""
        rate = f"{half:8.4f} s  {batch / half:8.2f} clips/s"
        sys.stdout.write(f"{name:36} {kind:10} {rate}  {ratio:5.2f}x{share}\n")
        sys.stdout.flush()


def agree(frames: int, size: int, device: torch.device) -> None:
    """Our bf16 answers, and those of Conv3d in bf16, against Conv3d in fp32."""
    torch.manual_seed(1)
    net, clips = (
        SlowFast(Shape(CLASSES)).to(device).eval(),
        torch.randn(2, frames, 3, size, size, device=device),
    )
    with torch.no_grad(), patch.object(model, "conv", conv3d):
        wanted = net(clips)
        with mixed("bf16", device):
            three = net(clips).float()
    with torch.no_grad():
        single = net(clips)
        with mixed("bf16", device):
            two = net(clips).float()
    scale = float(wanted.abs().max())
    rows = [("ours fp32", single), ("ours bf16", two), ("Conv3d bf16", three)]
    for name, got in rows:
        sys.stdout.write(f"{name:12} off Conv3d fp32 by {float((got - wanted).abs().max()) / scale:.1e}\n")


def peaks(asked: argparse.Namespace) -> None:
    """Peak memory of each arm, in a process of its own."""
    for kind in asked.precision or KINDS[:2]:
        for place in range(2 if asked.brief else 4):
            words = [sys.executable, "-m", "benchmarks.slowfast", str(asked.folder), "--size", asked.size]
            words += ["--alone", str(place), "--precision", kind, *(["--brief"] if asked.brief else [])]
            done = subprocess.run(words, capture_output=True, text=True, check=True)
            sys.stdout.write(done.stdout)


def alone(asked: argparse.Namespace, clips: Tensor, labels: Tensor) -> None:
    """One arm's step, and what it took of memory."""
    frames, size, _ = (int(word) for word in asked.size.split("x"))
    for place, arm in enumerate(arms(asked, frames, size, clips.device)):
        if place == asked.alone:
            arm.step(clips, labels)
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
            sys.stdout.write(
                f"{arm.name:36} {arm.kind:10} {peak:6.2f} GiB at its peak, the process included\n"
            )
            return
        del arm


def main() -> None:
    """Measure and print."""
    asking = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    asking.add_argument("folder", type=Path)
    asking.add_argument("--size", default="8x112x4", help="frames x pixels x clips")
    asking.add_argument("--trials", type=int, default=7)
    asking.add_argument("--device", default="cpu")
    asking.add_argument("--memory", action="store_true")
    asking.add_argument("--brief", action="store_true", help="ours and pytorchvideo alone")
    asking.add_argument("--precision", action="append", choices=KINDS, help="fp32 and bf16 unless said")
    asking.add_argument("--alone", type=int, help=argparse.SUPPRESS)
    asked = asking.parse_args()
    torch.set_num_threads(1)
    frames, size, batch = (int(word) for word in asked.size.split("x"))
    device = torch.device(asked.device)
    clips = torch.randn(batch, frames, 3, size, size, device=device)
    labels = torch.arange(batch, device=device) % CLASSES
    if asked.alone is not None:
        alone(asked, clips, labels)
        return
    if asked.memory:
        peaks(asked)
        return
    sys.stdout.write(f"{asked.size} on {device}, torch {torch.__version__}, load {os.getloadavg()[0]:.1f}\n")
    agree(frames, size, device)
    report(measure(list(arms(asked, frames, size, device)), clips, labels, asked.trials), clips)


if __name__ == "__main__":
    main()
