"""What each of the five trainers does with its sample: one row a trainer, for a quiet machine with a CPU.

    python -m benchmarks.trainers DIR [TRAINER...]

DIR takes samples, runs and figures. Each trainer is checked, trained, and trained once more with a stop and a
resume under another OMP_NUM_THREADS, whose weights must be those of the first run. Its best checkpoint is
exported, answers a file and is evaluated with figures. Last, one epoch is timed with each number of threads.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

TRAINERS = {  # the options that keep each training below a few minutes, and a file that predict answers
    "blendshapes": ({"epochs": 20}, "blendshapes/test.csv"),
    "facenet-lstm": ({"epochs": 6}, "*/**/*.npz"),
    "i3d-teacher": ({"epochs": 4, "preset": "small"}, "phoenix/features/test/*.npz"),
    "mobilenet-v3": (
        {"epochs": 14, "flat_start": 6, "warmup_epochs": 1.0, "learning_rate": 1e-3},
        "phoenix/features/test/*.npz",
    ),
    "slowfast": ({"epochs": 2, "size": 64, "frames": 16}, "crema/**/*.flv"),
}
CORES = len(os.sched_getaffinity(0))
Line = dict[str, Any]


@dataclass
class Row:
    """What a trainer showed: each column's text."""

    trainer: str
    cells: dict[str, str] = field(default_factory=dict)


def call(
    words: Sequence[str], stdin: str = "", env: Mapping[str, str] | None = None
) -> tuple[int, list[Line]]:
    """Run `python -m trainers`; the exit code, and the JSON lines of its output."""
    line = [sys.executable, "-m", "trainers", *words]
    done = subprocess.run(
        line, input=stdin, capture_output=True, text=True, check=False, env={**os.environ, **(env or {})}
    )
    if done.returncode not in (0, 1, 75):
        raise SystemExit(f"{' '.join(words)}: exit {done.returncode}\n{done.stderr[-2000:]}")
    return done.returncode, [json.loads(text) for text in done.stdout.splitlines() if text.startswith("{")]


class Run:
    """A training in a folder of its own; runs of one DIR share the cache."""

    def __init__(self, trainer: str, folder: Path, data: Path, options: Mapping[str, object]) -> None:
        self.trainer, self.folder = trainer, folder
        folders = {
            path.name: str(path)
            for path in sorted(data.iterdir())
            if path.is_dir() and path.name != "teacher"
        }
        self.env = {
            **os.environ,
            "GPUJOB_RUN_DIR": str(folder),
            "GPUJOB_CONFIG": json.dumps({"device": "cpu", "progress_seconds": 0.0, **options}),
            "GPUJOB_DATA": json.dumps(folders),
        }
        self.env.pop("OMP_NUM_THREADS", None)

    def train(self, stop_at: int | None = None, **more: str) -> int:
        """Train, or train to a step and stop; the exit code."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / "log").open("a") as log:
            line = [sys.executable, "-m", "trainers", "train", self.trainer]
            process = subprocess.Popen(line, env={**self.env, **more}, stdout=log, stderr=log)
            while stop_at is not None and process.poll() is None:
                if any(entry["step"] >= stop_at for entry in self.progress()):
                    process.send_signal(signal.SIGTERM)
                    break
                time.sleep(0.02)
            return process.wait()

    def events(self, kind: str) -> list[Line]:
        path = self.folder / "events.jsonl"
        lines = path.read_text().splitlines(keepends=True) if path.exists() else []
        found = [json.loads(line) for line in lines if line.endswith("\n")]
        return [entry for entry in found if entry["event"] == kind]

    def progress(self) -> list[Line]:
        return [entry for entry in self.events("progress") if entry["phase"] == "train"]

    def checkpoint(self, name: str) -> Path:
        root = self.folder / "checkpoints"
        return root / (root / name).read_text().strip()

    def rate(self) -> float:
        """Samples per second of the later half of the steps."""
        rates = sorted(float(entry["rate"]) for entry in self.progress() if entry.get("rate"))
        return rates[len(rates) // 2] if rates else 0.0


def measure(trainer: str, root: Path) -> Row:
    """Do with a trainer all that the table shows."""
    options, pattern = TRAINERS[trainer]
    row, data = Row(trainer), root / "samples" / trainer
    call(["prepare", trainer, "--sample", str(data)])
    straight = Run(trainer, root / "runs" / f"{trainer}-straight", data, options)
    folders = json.loads(straight.env["GPUJOB_DATA"])
    request = {"config": options, "data": folders, "tier": "full", "work": str(root / "cache")}
    code, _ = call(["check", trainer], json.dumps(request))
    row.cells["check"] = "passes" if code == 0 else f"exit {code}"
    start = time.monotonic()
    code = straight.train()
    row.cells["train"] = f"exit {code}, {time.monotonic() - start:.0f} s"
    row.cells["result"] = straight.events("end")[-1]["message"].split(" (")[0]
    row.cells["resume"] = resume(trainer, root, data, options, straight)
    best = str(straight.checkpoint("best"))
    _, (exported,) = call(["export", best, "--to", str(root / "exported" / trainer)])
    row.cells["export"] = f"logits off by {exported['logits_off']:.1g}"
    files = [str(path) for path in sorted(data.glob(pattern))[:3]]
    code, answers = call(["predict", best, *files])
    row.cells["predict"] = f"{sum('error' not in answer for answer in answers)} of {len(answers)} answered"
    named = [f"{name}={path}" for name, path in folders.items()]
    words = ["evaluate", best, *(word for item in named for word in ("--data", item))]
    _, (report,) = call([*words, "--plots", str(root / "figures" / trainer)])
    row.cells["plots"] = f"{len(report['plots'])} figures"
    row.cells["threads"] = threads(trainer, root, data, options, straight)
    return row


def resume(trainer: str, root: Path, data: Path, options: Mapping[str, object], straight: Run) -> str:
    """Stop a run half way and resume it under another number of threads; compare the last weights."""
    run = Run(trainer, root / "runs" / f"{trainer}-resumed", data, options)
    chosen = int(straight.events("start")[0]["threads"])
    run.env["GPUJOB_CONFIG"] = json.dumps({**json.loads(run.env["GPUJOB_CONFIG"]), "threads": chosen})
    half = int(straight.events("start")[0]["steps"]) // 2
    codes = run.train(stop_at=half), run.train(OMP_NUM_THREADS=str(chosen % CORES + 1))
    files = [one.checkpoint("last") / "model.safetensors" for one in (straight, run)]
    same = files[0].read_bytes() == files[1].read_bytes()
    used = [start["threads"] for start in run.events("start")]
    return f"exits {codes[0]} and {codes[1]}, threads {used}, weights {'equal' if same else 'DIFFER'}"


def threads(trainer: str, root: Path, data: Path, options: Mapping[str, object], straight: Run) -> str:
    """The chosen number of threads, and the rate with it as a share of the best fixed number's."""
    rates: dict[int, float] = {}
    chosen = int(straight.events("start")[0]["threads"])
    for count in sorted({1, *(CORES >> shift for shift in range(CORES.bit_length())), chosen} - {0}):
        run = Run(
            trainer,
            root / "runs" / f"{trainer}-{count}",
            data,
            {**options, "epochs": 1, "warmup_epochs": 0.0, "threads": count},
        )
        run.train()
        rates[count] = run.rate()
    best = max(rates.values())
    listed = ", ".join(f"{count}: {rate:.0f}/s" for count, rate in rates.items())
    return f"{chosen} of {CORES} chosen, {rates[chosen] / best:.0%} of the best ({listed})"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("trainers", nargs="*", choices=[*TRAINERS, []], default=[])
    arguments = parser.parse_args()
    sys.stdout.write(f"load {os.getloadavg()[0]:.1f}, {CORES} cores\n")
    for number, trainer in enumerate(arguments.trainers or TRAINERS):
        row = measure(trainer, arguments.folder.absolute())
        if not number:
            names = ["trainer", *row.cells]
            sys.stdout.write(f"| {' | '.join(names)} |\n|{'---|' * len(names)}\n")
        sys.stdout.write(f"| {' | '.join([row.trainer, *row.cells.values()])} |\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
