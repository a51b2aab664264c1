"""Trains the included jobs on sample data on this machine's GPU, and prints what each one showed.

    python -m benchmarks.gpu DIR [JOB...] [--precision bf16]

Needs an NVIDIA GPU, tmux, and a Python with PyTorch for CUDA that runs this script. DIR takes the samples,
the runs and the fetched checkpoints. Each job is deployed with `gpujob deploy`, watched with
`gpujob status --json`, stopped once it has written a checkpoint, resumed to its end, fetched and verified.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

JOBS = {  # and the options that keep each under a minute or two on a data-centre GPU
    "blendshapes": {"epochs": "400", "patience": "400"},
    "facenet-lstm": {"epochs": "60", "patience": "60"},
    "slowfast": {"epochs": "6"},
    "i3d-teacher": {"epochs": "12"},
    "mobilenet-v3": {"epochs": "12", "flat_start": "4"},
}
LIMIT = 400.0
"""Seconds until a job is given up."""
LIVE = ("preparing", "starting", "running", "stopping")
Status = dict[str, Any]


@dataclass
class Outcome:
    """What a job showed. `gpu`: its name; `use`: the highest share of it in percent; `mib`: of its memory."""

    job: str
    gpu: str = ""
    use: float = 0.0
    mib: float = 0.0
    stopped_at: int | None = None
    seconds: float = 0.0
    state: str = ""
    metrics: dict[str, Any] = field(default_factory=dict)
    verified: bool = False


class Gpujob:
    """Runs commands of gpujob with all its files below one folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.env = {
            **os.environ,
            "GPUJOB_ROOT": str(folder / "root"),
            "XDG_STATE_HOME": str(folder / "state"),
        }
        self.env["PYTHONPATH"] = os.pathsep.join(
            [str(Path.cwd()), *filter(None, [os.environ.get("PYTHONPATH")])]
        )

    def run(self, *words: str) -> str:
        line = [sys.executable, "-m", "gpujob", *words]
        done = subprocess.run(
            line, cwd=self.folder, env=self.env, capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise SystemExit(
                f"{' '.join(words)}: exit {done.returncode}\n{done.stdout[-2000:]}{done.stderr[-3000:]}"
            )
        return done.stdout + (done.stderr if words[0] == "fetch" else "")

    def statuses(self, outcome: Outcome) -> Iterator[Status]:
        """Yield the status of the last run until it has ended; note what its GPU does."""
        end = time.monotonic() + LIMIT
        while time.monotonic() < end:
            answer = json.loads(self.run("status", "--json"))
            for machine in answer["hosts"]:
                for gpu in machine["gpus"] or []:
                    outcome.gpu = gpu["name"]
                    outcome.use = max(outcome.use, gpu["use_percent"] or 0)
                    outcome.mib = max(outcome.mib, gpu["used_mib"] or 0)
            run = answer["runs"][-1]
            outcome.state = run["state"]
            yield run
            if run["state"] not in LIVE:
                return
            time.sleep(0.5)
        raise SystemExit(f"{outcome.job} did not end in {LIMIT:.0f} s; its last state was {outcome.state}")


def train(gpujob: Gpujob, job: str, precision: str) -> Outcome:
    outcome = Outcome(job)
    trainer, sample = job, gpujob.folder / f"sample-{job}"
    gpujob.run("prepare", trainer, "--sample", str(sample))
    options = [f"config.{key}={value}" for key, value in {**JOBS[job], "precision": precision}.items()]
    sets = [word for option in options for word in ("--set", option)]
    gpujob.run("deploy", job, "--data", str(sample), *sets, "--yes")
    start = time.monotonic()
    for status in gpujob.statuses(outcome):
        if status["checkpoints"]["last"]:
            gpujob.run("stop", "--yes")
            break
    run = json.loads(gpujob.run("status", "--json"))["runs"][-1]
    outcome.stopped_at = run["checkpoints"]["last"]
    if run["state"] not in ("succeeded",):
        gpujob.run("deploy", "--resume", run["id"], "--yes")
        for status in gpujob.statuses(outcome):
            run = status
    outcome.seconds = time.monotonic() - start
    outcome.metrics = run["metrics"]
    outcome.verified = "verified" in gpujob.run("fetch", run["id"])
    return outcome


def describe(outcome: Outcome) -> str:
    split = "test" if "test" in outcome.metrics else "val"
    shown = ("wer", "accuracy", "balanced_accuracy")
    values = outcome.metrics.get(split) or {}
    metrics = ", ".join(f"{split} {key} {values[key]:.3f}" for key in shown if values.get(key) is not None)
    return (
        f"{outcome.job:14} {outcome.state:10} {outcome.seconds:5.0f} s  stopped and resumed at step "
        f"{outcome.stopped_at}  {outcome.gpu} {outcome.use:3.0f} %, {outcome.mib:6.0f} MiB  "
        f"{'verified' if outcome.verified else 'NOT VERIFIED'}  {metrics}"
    )


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("jobs", nargs="*", default=list(JOBS))
    parser.add_argument("--precision", default="bf16")
    words = parser.parse_args()
    words.folder.mkdir(parents=True, exist_ok=True)
    for job in words.jobs:
        sys.stdout.write(describe(train(Gpujob(words.folder.resolve()), job, words.precision)) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
