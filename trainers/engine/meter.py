"""Reports the progress of a training: samples per second and the remaining time."""

import math
import time
from collections.abc import Callable

from trainers.engine.config import LoopConfig
from trainers.engine.events import Events, say


def duration(seconds: float) -> str:
    """Format a number of seconds as `3h 12m`, `4m 05s` or `9s`."""
    seconds = int(seconds)
    if seconds >= 3600:
        return f"{seconds // 3600}h {seconds % 3600 // 60:02d}m"
    return f"{seconds // 60}m {seconds % 60:02d}s" if seconds >= 60 else f"{seconds}s"


class Meter:
    """Counts steps; every `progress_seconds` it writes a progress event and prints a progress line."""

    def __init__(
        self,
        events: Events,
        config: LoopConfig,
        steps: int,
        talk: bool = True,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._events, self._clock, self._talk = events, clock, talk
        self._every, self._epochs, self._steps = config.progress_seconds, config.epochs, steps
        self._since = self._start = clock()
        self._samples = self._count = self._done = 0
        self._loss = 0.0
        self._norms: list[float] = []

    def step(self, step: int, epoch: int, samples: int, loss: float, rate: float, norm: float) -> None:
        """Record a finished optimizer step: its mean loss, its learning rate, and its gradient's norm before
        clipping."""
        self._samples += samples
        self._count += 1
        self._done += 1
        self._loss += loss
        if math.isfinite(norm):  # fp16 skips a step whose gradient overflows
            self._norms.append(norm)
        if self._clock() - self._since >= self._every or step == self._steps:
            self._write(step, epoch, rate)

    def _write(self, step: int, epoch: int, lr: float) -> None:
        now = self._clock()
        speed = self._samples / max(now - self._since, 1e-9)
        loss = self._loss / self._count
        norm = sum(self._norms) / len(self._norms) if self._norms else math.nan
        left = (now - self._start) / self._done * (self._steps - step)
        self._events(
            "progress",
            phase="train",
            epoch=epoch,
            epochs=self._epochs,
            step=step,
            of=self._steps,
            rate=round(speed, 3),
            loss=loss,
            lr=lr,
            grad_norm=norm,
        )
        if self._talk:
            say(
                f"epoch {epoch}/{self._epochs}  step {step}/{self._steps}"
                f"  {100 * step / self._steps:.0f}%  loss {loss:.4f}  lr {lr:.2e}"
                f"  gradient norm {norm:.3g}"
                f"  {speed:.{0 if speed >= 10 else 2}f} samples/s  ETA {duration(left)}"
            )
        self._since, self._samples, self._count, self._loss = now, 0, 0, 0.0
        self._norms = []
