"""CPU seconds that gpujob needs to start, as multiples of a bare Python. Prints a table.

python benchmarks/startup.py
"""

from __future__ import annotations

import os
import resource
import statistics
import subprocess
import sys
import tempfile

GPUJOB = "from orchestrator.cli import script; script()"
ROWS = {
    "bare python": ["-c", "pass"],
    "gpujob --version": ["-c", GPUJOB, "--version"],
    "gpujob --help": ["-c", GPUJOB, "--help"],
    "gpujob status --cached": ["-c", GPUJOB, "status", "--cached"],
    "gpujob status": ["-c", GPUJOB, "status"],
}
TRIALS = 15


def cpu_seconds(words: list[str], env: dict[str, str]) -> float:
    """User and system time of the process and of those it waited for."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, *words], env=env, capture_output=True, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main() -> None:
    with tempfile.TemporaryDirectory() as home:
        env = {**os.environ, "HOME": home, "GPUJOB_ROOT": f"{home}/root", "XDG_STATE_HOME": f"{home}/state"}
        env.pop("PYTHONDONTWRITEBYTECODE", None)
        for words in ROWS.values():
            cpu_seconds(words, env)  # compiles the modules, as an installation does
        samples: dict[str, list[float]] = {name: [] for name in ROWS}
        for _ in range(TRIALS):
            for name, words in ROWS.items():  # interleaved, so that a busy moment meets all of them
                samples[name].append(cpu_seconds(words, env))
    floor = statistics.median(samples["bare python"])
    sys.stdout.write(f"load {os.getloadavg()[0]:.1f}, median of {TRIALS}, CPU seconds\n")
    for name, values in samples.items():
        middle = statistics.median(values)
        sys.stdout.write(f"{name:24} {middle:.3f}   {middle / floor:4.1f}x bare python\n")


if __name__ == "__main__":
    main()
