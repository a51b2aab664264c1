"""What each of the five trainers does with its sample, as a Markdown table: one row a trainer, on a CPU.

    python -m benchmarks.trainers DIR [TRAINER...] [--whole]

DIR takes samples, runs and figures. Each trainer is checked, trained, and trained once more with a stop and a
resume under another OMP_NUM_THREADS, whose weights must be those of the first run. Its best checkpoint is
exported, answers files and is evaluated with figures. Last, steps are timed with each number of threads in
turns (benchmarks/thread_rates.py), and the number is chosen three times more.

The samples and networks are small: a trainer takes a minute or two, most of it the start of processes.
--whole takes the trainers' own samples and larger networks, some 15 minutes on a quiet machine. What fails is
shown in its cell, and the other cells are filled. Times are meaningful on a quiet machine only.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

FACES, SIGNS = "*/**/*.npz", "phoenix/features/test/*.npz"


class Recipe(NamedTuple):
    """How a trainer is shown: size of its sample, options, files that predict answers; and for --whole."""

    size: int
    options: Mapping[str, object]
    pattern: str
    whole: Mapping[str, object]


FLAT = {"learning_rate": 1e-3, "warmup_epochs": 1.0}
TRAINERS = {
    "blendshapes": Recipe(900, {"epochs": 10}, "blendshapes/test.csv", {"epochs": 20}),
    "facenet-lstm": Recipe(
        240, {"epochs": 4, "hidden": [64], "dense": [64], "warmup_epochs": 1.0}, FACES, {"epochs": 6}
    ),
    "i3d-teacher": Recipe(
        48, {"epochs": 2, "preset": "small", **FLAT}, SIGNS, {"epochs": 4, "preset": "small"}
    ),
    "mobilenet-v3": Recipe(
        48, {"epochs": 4, "flat_start": 2, **FLAT}, SIGNS, {"epochs": 14, "flat_start": 6, **FLAT}
    ),
    "slowfast": Recipe(
        48,
        {"epochs": 2, "size": 32, "cache_size": 32, "frames": 8, "depths": [1, 1, 1, 1], "width": 16}
        | {"clips_per_video": 1, "test_clips": 1},
        "crema/**/*.flv",
        {"epochs": 2, "size": 64, "frames": 16},
    ),
}
CORES = len(os.sched_getaffinity(0))
Line = dict[str, Any]
CODES = (0, 1, 64, 65, 75)
"""Exit codes of a command that did its work: success, findings, refused data, stopped."""


def call(
    words: Sequence[str], stdin: str = "", env: Mapping[str, str] | None = None
) -> tuple[int, list[Line]]:
    """Run `python -m trainers`; the exit code, and the JSON lines of its output."""
    line = [sys.executable, "-m", "trainers", *words]
    done = subprocess.run(
        line, input=stdin, capture_output=True, text=True, check=False, env={**os.environ, **(env or {})}
    )
    if done.returncode not in CODES:
        why = (done.stderr.strip() or "no message").splitlines()[-1]
        raise RuntimeError(f"{words[0]}: exit {done.returncode}, {why[:120]}")
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


class Row:
    """The cells of a trainer: each is filled by a function of the same name, in this order."""

    COLUMNS = ("check", "train", "result", "resume", "export", "predict", "plots", "threads")

    def __init__(self, trainer: str, root: Path, whole: bool) -> None:
        recipe = TRAINERS[trainer]
        self.trainer, self.root, self.pattern = trainer, root, recipe.pattern
        self.options = recipe.whole if whole else recipe.options
        self.data = root / "samples" / trainer
        size = () if whole else ("--size", str(recipe.size))
        call(["prepare", trainer, "--sample", str(self.data), *size])
        self.straight = self.run("straight")

    def cells(self) -> list[str]:
        """All cells; one that fails says why."""
        start, used = time.monotonic(), cpu_seconds()
        cells = [self._cell(name) for name in self.COLUMNS]
        return [*cells, f"{time.monotonic() - start:.0f} s, {cpu_seconds() - used:.0f} s of CPU"]

    def _cell(self, name: str) -> str:
        try:
            return str(getattr(self, name)()).replace("|", "/")
        except Exception as fault:
            return f"FAILS: {type(fault).__name__}: {fault}".replace("|", "/")

    def run(self, name: str, **more: object) -> Run:
        """A training of the sample in a folder of its own."""
        folder = self.root / "runs" / f"{self.trainer}-{name}"
        return Run(self.trainer, folder, self.data, {**self.options, **more})

    @property
    def folders(self) -> dict[str, str]:
        folders: dict[str, str] = json.loads(self.straight.env["GPUJOB_DATA"])
        return folders

    @property
    def best(self) -> str:
        return str(self.straight.checkpoint("best"))

    @property
    def chosen(self) -> int:
        """The number of threads that the training chose."""
        return int(self.straight.events("start")[0]["threads"])

    def check(self) -> str:
        work = str(self.root / "cache")
        request = {"config": self.options, "data": self.folders, "tier": "full", "work": work}
        code, lines = call(["check", self.trainer], json.dumps(request))
        errors = [f["code"] for f in lines[-1]["findings"] if f["severity"] == "error"]
        return "passes" if code == 0 else f"exit {code}: {', '.join(errors)}"

    def train(self) -> str:
        start = time.monotonic()
        code = self.straight.train()
        return f"exit {code}, {time.monotonic() - start:.0f} s"

    def result(self) -> str:
        return str(self.straight.events("end")[-1]["message"]).split(" (")[0]

    def resume(self) -> str:
        """Stop a run half way and resume it under another number of threads; compare the last weights."""
        run = self.run("resumed", threads=self.chosen)
        half = int(self.straight.events("start")[0]["steps"]) // 2
        codes = run.train(stop_at=half), run.train(OMP_NUM_THREADS=str(self.chosen % CORES + 1))
        files = [one.checkpoint("last") / "model.safetensors" for one in (self.straight, run)]
        same = files[0].read_bytes() == files[1].read_bytes()
        used = [start["threads"] for start in run.events("start")]
        return f"exits {codes[0]} and {codes[1]}, threads {used}, weights {'equal' if same else 'DIFFER'}"

    def export(self) -> str:
        _, (exported,) = call(["export", self.best, "--to", str(self.root / "exported" / self.trainer)])
        return f"logits off by {exported['logits_off']:.1g}"

    def predict(self) -> str:
        files = [str(path) for path in sorted(self.data.glob(self.pattern))[:3]]
        _, answers = call(["predict", self.best, *files])
        return f"{sum('error' not in answer for answer in answers)} of {len(answers)} answered"

    def plots(self) -> str:
        words = [word for name, path in self.folders.items() for word in ("--data", f"{name}={path}")]
        figures = str(self.root / "figures" / self.trainer)
        _, (report,) = call(["evaluate", self.best, *words, "--plots", figures])
        return f"{len(report['plots'])} figures"

    def threads(self) -> str:
        """The numbers of threads that were chosen, and the lowest rate with one as a share of the best's."""
        run = self.run("threads", **self._without_flat_start())
        line = [sys.executable, "-m", "benchmarks.thread_rates", self.trainer]
        env = {**run.env, "OMP_WAIT_POLICY": "PASSIVE"}  # as `python -m trainers` sets it
        done = subprocess.run(line, env=env, stdout=subprocess.PIPE, text=True, check=True)
        measured = json.loads(done.stdout)
        rates = {int(count): rate for count, rate in measured["rates"].items()}
        choices = [self.chosen, *measured["choices"]]
        share = min(rates[count] for count in choices) / max(rates.values())
        listed = ", ".join(f"{count}: {rate:.0f}/s" for count, rate in sorted(rates.items()))
        names = ", ".join(map(str, choices))
        return f"{names} of {CORES} chosen, {share:.0%} of the best ({listed})"

    def _without_flat_start(self) -> dict[str, object]:
        return {"flat_start": 0} if "flat_start" in self.options else {}


def cpu_seconds() -> float:
    """CPU time of all processes that ended."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("trainers", nargs="*", metavar="TRAINER", help=f"default: {', '.join(TRAINERS)}")
    parser.add_argument("--whole", action="store_true", help="whole samples, larger networks, more epochs")
    arguments = parser.parse_args()
    if strange := [name for name in arguments.trainers if name not in TRAINERS]:
        parser.error(f"{strange[0]} is none of {', '.join(TRAINERS)}")
    say(f"load {os.getloadavg()[0]:.1f}, {CORES} cores\n")
    names = ["trainer", *Row.COLUMNS, "time"]
    say(f"| {' | '.join(names)} |")
    say(f"|{'---|' * len(names)}")
    for trainer in arguments.trainers or TRAINERS:
        row = Row(trainer, arguments.folder.absolute(), arguments.whole)
        say(f"| {' | '.join([trainer, *row.cells()])} |")


def say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
