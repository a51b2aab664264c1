"""The trainer blendshapes on RAF-DB's blendshapes, beside a balanced support vector machine.

    python benchmarks/rafdb.py FOLDER [--workers 2] [--final NAME]

FOLDER holds train_blendshapes.npz and test_blendshapes.npz of the repository pazipazil/BLS_EMOTION (X, y).
Every setting is trained on a part of train with two seeds, and judged by the sum of balanced accuracy and
macro-F1 on the rest; the test split is not read. The best setting, or `--final`, is trained with five seeds,
and each checkpoint is scored on the test split once. Needs torch; the comparison needs scikit-learn.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
EMOTIONS = ["surprise", "fear", "disgust", "happy", "sad", "angry", "neutral"]
COMMON = {
    "classes": sorted(EMOTIONS),
    "label_numbers": "raf-db",
    "columns": 52,
    "duplicates": "drop",
    "threads": 1,
    "device": "cpu",
    "patience": 0,
    "epochs": 40,
}
WIDE = {"hidden": [256, 128], "dropout": 0.4}
SETTINGS: dict[str, dict[str, object]] = {
    "defaults": {},
    "no class weights": {"class_weights": False},
    "sqrt": {"normalise": "sqrt"},
    "sqrt, power 0.5": {"normalise": "sqrt", "weight_power": 0.5},
    "wide, power 0.5": {**WIDE, "weight_power": 0.5},
    "wide, sqrt, power 0.5": {**WIDE, "normalise": "sqrt", "weight_power": 0.5},
    "wide, sqrt, power 0.7": {**WIDE, "normalise": "sqrt", "weight_power": 0.7},
    "wide, sqrt": {**WIDE, "normalise": "sqrt"},
}


def say(line: str) -> None:
    """Print a line."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


METRICS = ("accuracy", "balanced_accuracy", "macro_f1")
Rows = tuple[np.ndarray, np.ndarray]


def divided(rows: Rows, share: float = 0.15) -> tuple[Rows, Rows]:
    """The rows without and those of a validation part, of equal shares of each class."""
    values, labels = rows
    draw, held = np.random.default_rng(0), np.zeros(len(labels), dtype=bool)
    for label in np.unique(labels):
        places = draw.permutation(np.flatnonzero(labels == label))
        held[places[: round(share * len(places))]] = True
    return (values[~held], labels[~held]), (values[held], labels[held])


def write(folder: Path, **parts: Rows) -> Path:
    """Write one NPZ file per split; rows of train that occur in another split, too, are left out."""
    folder.mkdir(parents=True)
    others = {row.tobytes() for name, (values, _) in parts.items() if name != "train" for row in values}
    for name, (values, labels) in parts.items():
        kept = [name != "train" or row.tobytes() not in others for row in values]
        np.savez(folder / f"{name}.npz", X=values[kept], y=labels[kept])
    return folder


def train(data: Path, work: Path, options: dict[str, object]) -> dict[str, float]:
    """Train once; the metrics of the best checkpoint on test, or on val where there is no test."""
    work.mkdir(parents=True)
    run = {
        "GPUJOB_RUN_DIR": str(work),
        "GPUJOB_CONFIG": json.dumps({**COMMON, **options}),
        "GPUJOB_DATA": json.dumps({"blendshapes": str(data)}),
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": str(ROOT),
    }
    words = [sys.executable, "-m", "trainers", "train", "blendshapes"]
    done = subprocess.run(
        words, env={**os.environ, **run}, cwd=ROOT, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise SystemExit(done.stdout[-1000:] + done.stderr[-1000:])
    events = [json.loads(line) for line in (work / "events.jsonl").read_text().splitlines()]
    last = next(event for event in reversed(events) if event["event"] == "results")
    return {name: last["values"][name] for name in METRICS}


def show(name: str, results: list[dict[str, float]]) -> None:
    """Print mean and range of each metric."""
    cells = []
    for metric in METRICS:
        values = [result[metric] for result in results]
        cells.append(f"{metric} {statistics.mean(values):.3f} ({min(values):.3f} to {max(values):.3f})")
    say(f"{name:24}  {'  '.join(cells)}")


def machine(train_rows: Rows, test: Rows) -> None:
    """Print the metrics of a support vector machine with balanced class weights."""
    try:
        from sklearn.metrics import accuracy_score, balanced_accuracy_score, f1_score  # noqa: PLC0415
        from sklearn.pipeline import make_pipeline  # noqa: PLC0415
        from sklearn.preprocessing import StandardScaler  # noqa: PLC0415
        from sklearn.svm import SVC  # noqa: PLC0415
    except ImportError:
        say("scikit-learn is not installed: no comparison")
        return
    model = make_pipeline(StandardScaler(), SVC(class_weight="balanced")).fit(*train_rows)
    answers, truth = model.predict(test[0]), test[1]
    f1 = float(f1_score(truth, answers, average="macro"))
    values = (accuracy_score(truth, answers), balanced_accuracy_score(truth, answers), f1)
    show("balanced SVC", [dict(zip(METRICS, values, strict=True))])


def main() -> None:
    """Select on val, then score test."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--final", choices=sorted(SETTINGS), help="skip the selection")
    arguments = parser.parse_args()
    files = {name: np.load(arguments.folder / f"{name}_blendshapes.npz") for name in ("train", "test")}
    rows = {name: (file["X"], file["y"] + 1) for name, file in files.items()}  # RAF-DB counts from 1
    part, val = divided(rows["train"])
    with tempfile.TemporaryDirectory() as work, ThreadPoolExecutor(arguments.workers) as pool:
        root = Path(work)
        best = arguments.final or select(root, pool, part, val)
        data = write(root / "final", train=part, val=val, test=rows["test"])
        runs = [
            pool.submit(train, data, root / f"seed-{seed}" / "run", {**SETTINGS[best], "seed": seed})
            for seed in range(5)
        ]
        say(f"test split, {best}, five seeds:")
        show(best, [run.result() for run in runs])
    machine(rows["train"], rows["test"])


def select(root: Path, pool: ThreadPoolExecutor, part: Rows, val: Rows) -> str:
    """The setting with the best sum of balanced accuracy and macro-F1 on val; prints all."""
    data = write(root / "select", train=part, val=val)
    runs = {
        name: [
            pool.submit(train, data, root / f"{number}-{seed}" / "run", {**options, "seed": seed})
            for seed in range(2)
        ]
        for number, (name, options) in enumerate(SETTINGS.items())
    }
    totals = {}
    say("validation part, two seeds:")
    for name, each in runs.items():
        results = [run.result() for run in each]
        show(name, results)
        totals[name] = statistics.mean(r["balanced_accuracy"] + r["macro_f1"] for r in results)
    return max(totals, key=lambda name: totals[name])


if __name__ == "__main__":
    main()
