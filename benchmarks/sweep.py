"""A sweep of 40 trials of blendshapes-sweep on its sample, killed five times, and its pruned trials repeated.

python -m benchmarks.sweep [TRIALS]      (from the repository's root; needs tmux and the development tools)

Prints how many trials ended how, the default's and the best value, and the best value that a pruned trial
reaches when it is not stopped. Fails if a trial has no run or two, or if a pruned trial would have won.
"""

from __future__ import annotations

import json
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

from orchestrator.commands import study
from tests.rigs.torchpython import environment as torchpython
from tests.support import Client, Result, new_client

KILLS = 5
PARALLEL = 6  # so that a training lasts for several looks at it: one of its own takes two seconds
SHORT = ("--set", "config.epochs=40", "--set", "config.patience=0")
DATA = ("--data", "faces")


def require(result: Result) -> Result:
    if result.code:
        raise SystemExit(result.err)
    return result


def runs_of_trials(client: Client) -> Counter[str]:
    """Count the runs of each trial."""
    records = (client.root / "runs").glob("*/run.json")
    return Counter(json.loads(record.read_text())["job"] for record in records)


def killed_sweep(client: Client, trials: int) -> dict[str, Any]:
    """Run the sweep, killed with SIGKILL at evenly spread numbers of started trials."""
    words = (
        "sweep",
        "blendshapes-sweep",
        *DATA,
        *SHORT,
        "--trials",
        str(trials),
        "--parallel",
        str(PARALLEL),
    )
    for kill in range(1, KILLS + 1):
        process = client.spawn(*words)
        while len(runs_of_trials(client)) < trials * kill // (KILLS + 1) and process.poll() is None:
            time.sleep(0.5)
        process.kill()
        process.communicate()
        sys.stderr.write(f"killed with {len(runs_of_trials(client))} trials started\n")
    answer: dict[str, Any] = require(client.run(*words, "--json")).json
    return answer


def best_without_pruning(client: Client, trial: dict[str, Any]) -> float:
    """The best value of the trial's metric when it is run to its end."""
    name = f"again-{trial['number']}"
    values = [word for pair in study.sets(trial["params"]) for word in ("--set", pair)]
    require(client.run("deploy", "blendshapes-sweep", *DATA, *SHORT, *values, "--name", name, "--follow"))
    (events,) = (client.root / "runs").glob(f"{name}-*/events.jsonl")
    lines = [json.loads(line) for line in events.read_text().splitlines()]
    return max(
        line["values"]["balanced_accuracy"]
        for line in lines
        if line["event"] == "metrics" and line["split"] == "val"
    )


def measure(client: Client, trials: int) -> None:
    require(client.run("prepare", "blendshapes", "--sample", "faces"))
    answer = killed_sweep(client, trials)
    runs = runs_of_trials(client)
    doubled = [name for name, count in runs.items() if count != 1]
    if len(answer["trials"]) != trials or len(runs) != trials or doubled:
        raise SystemExit(f"{len(answer['trials'])} trials, {len(runs)} with runs, several runs: {doubled}")
    states = Counter(trial["state"] for trial in answer["trials"])
    default, best = answer["trials"][0]["value"], answer["trials"][answer["best"]]["value"]
    sys.stdout.write(f"{dict(states)}; killed {KILLS} times; the default {default:.4f}, best {best:.4f}\n")
    pruned = [trial for trial in answer["trials"] if trial["state"] == "pruned"]
    values = [best_without_pruning(client, trial) for trial in pruned]
    if values:
        sys.stdout.write(f"the best of {len(values)} pruned trials, run to its end: {max(values):.4f}\n")
    if best <= default or max(values, default=0.0) > best:
        raise SystemExit("the sweep is not better than the default, or stopped the best trial")


def main() -> None:
    trials = int(sys.argv[1]) if len(sys.argv) > 1 else 40
    with torchpython.TorchServer() as server, new_client(server.python) as client:
        client.env["PATH"] = f"{Path(sys.executable).parent}:{client.env['PATH']}"
        measure(client, trials)


if __name__ == "__main__":
    main()
