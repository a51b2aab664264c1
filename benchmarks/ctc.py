"""CPU seconds of a sign language training step, and bytes read per epoch, compared with full-width files.

python benchmarks/ctc.py        one thread, CPU seconds, arms in turn; WER is held to jiwer's at the end
"""

from __future__ import annotations

import os
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import jiwer
import numpy as np
import torch
from torch import Tensor, nn

from trainers.data import normalise
from trainers.data.frames import FrameNormaliser, Frames
from trainers.data.landmarks import RAW, Layout
from trainers.data.sign import parts, reading
from trainers.i3d_teacher.model import I3DTeacher
from trainers.mobilenet_v3.model import Student
from trainers.tasks import ctc, wer

BATCH, STEPS, WORDS, GLOSSES, TRIALS = 4, 176, 1232, 10, 5
LAYOUT = Layout.named("pose-face-hands")


class Bench:
    """Eight sentences in both forms, and what turns each of them into a step."""

    def __init__(self, folder: Path) -> None:
        draw = np.random.default_rng(0)
        self.files = [folder / f"{n}.npz" for n in range(2 * BATCH)]
        rows = [(0.4 + 0.1 * draw.standard_normal((STEPS, RAW))).astype(np.float16) for _ in self.files]
        for path, raw in zip(self.files, rows, strict=True):
            np.savez(path, features=reading.widen(raw))
        self.packed = folder / "features.f16"
        self.packed.write_bytes(b"".join(raw.tobytes() for raw in rows))
        self.memory = np.memmap(self.packed, np.float16, "r", shape=(len(rows), STEPS, RAW))
        held = normalise.fit((reading.derive(raw) for raw in rows), [path.stem for path in self.files])
        self.normaliser = FrameNormaliser("global", held)
        self.targets = [[(7 * n + row) % (WORDS - 1) + 1 for n in range(GLOSSES)] for row in range(BATCH)]
        self.lengths = torch.full((BATCH,), STEPS)

    def full(self, turn: int) -> Tensor:
        """(B, T, 4887) of full-width files, unzipped and normalised on the CPU in all columns."""
        some = self.files[turn % 2 * BATCH :][:BATCH]
        whole = []
        for path in some:
            with np.load(path) as held:
                whole.append(held["features"])
        values = np.stack(whole)
        mean, std = (np.tile(part, 2)[: 4 * RAW] for part in (self._mean, self._std))
        return torch.from_numpy((values - mean) / std)[..., : 3 * RAW]

    @property
    def _mean(self) -> np.ndarray:
        assert self.normaliser.statistics is not None
        return self.normaliser.statistics.mean

    @property
    def _std(self) -> np.ndarray:
        assert self.normaliser.statistics is not None
        return self.normaliser.statistics.std

    def ours(self, turn: int) -> Frames:
        """Packed columns, derived and normalised."""
        raw = torch.from_numpy(np.array(self.memory[turn % 2 * BATCH :][:BATCH]))
        return self.normaliser.apply(parts.derive(raw, self.lengths))

    def step(self, model: nn.Module, owner: torch.optim.Optimizer, frames: Frames, stride: int) -> None:
        """Forward, backward, update."""
        logits = model(frames, torch.arange(BATCH))
        lengths = (self.lengths + stride - 1) // stride
        owner.zero_grad()
        ctc.losses(logits.log_softmax(-1), lengths, self.targets).sum().backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        owner.step()


def arms(bench: Bench) -> dict[str, Callable[[int], None]]:
    """What is timed, by name."""
    drawn, bounded = (Student(preset, WORDS, LAYOUT, 0.3) for preset in ("drawn", "bounded"))
    teacher = I3DTeacher("teacher-7.29m", WORDS, LAYOUT, 0.2)
    owners = {m: torch.optim.AdamW(m.parameters(), 3e-4) for m in (drawn, bounded, teacher)}

    def unpacked(turn: int) -> None:
        bench.step(drawn, owners[drawn], Frames(bench.full(turn), bench.lengths, "by hand"), 1)

    return {
        "drawn student, full-width files": unpacked,
        "bounded student, packed": lambda turn: bench.step(bounded, owners[bounded], bench.ours(turn), 1),
        "drawn student, packed": lambda turn: bench.step(drawn, owners[drawn], bench.ours(turn), 1),
        "teacher-7.29m, packed": lambda turn: bench.step(teacher, owners[teacher], bench.ours(turn), 4),
    }


def word_errors() -> int:
    """Of 1,000 random pairs, those whose WER is not jiwer's."""
    draw, different = random.Random(0), 0
    for _ in range(1000):
        reference, said = ([draw.choice("ABCDEFGH") for _ in range(draw.randint(1, 15))] for _ in range(2))
        different += wer.errors(reference, said).rate != jiwer.wer(" ".join(reference), " ".join(said))
    return different


def main() -> None:
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(Path(folder))
        asked = arms(bench)
        samples: dict[str, list[float]] = {name: [] for name in asked}
        for turn in range(TRIALS + 1):
            for name, arm in asked.items():  # interleaved, so that a busy moment meets all of them
                start = time.process_time()
                arm(turn)
                if turn:
                    samples[name].append(time.process_time() - start)
        before = sum(path.stat().st_size for path in bench.files)
        after = bench.packed.stat().st_size
    floor = samples["drawn student, full-width files"]
    sys.stdout.write(f"load {os.getloadavg()[0]:.1f}, B {BATCH}, T {STEPS}, V {WORDS}, median of {TRIALS}\n")
    for name, values in samples.items():
        ratios = [a / b for a, b in zip(floor, values, strict=True)]
        middle, low = statistics.median(ratios), min(ratios)
        sys.stdout.write(
            f"{name:34} {statistics.median(values):6.3f} s   {middle:5.2f}x (least {low:.2f}x)\n"
        )
    sys.stdout.write(f"bytes an epoch reads: {before:,} and {after:,}, {before / after:.1f}x fewer\n")
    sys.stdout.write(f"WER differs from jiwer's on {word_errors()} of 1000 pairs\n")


if __name__ == "__main__":
    main()
