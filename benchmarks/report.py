"""A report of 20 runs and a million points: how long it takes, how large it is, how fast a browser opens it.

python -m benchmarks.report      (from the repository's root; needs the extra `report` and Chromium)

The time to open is the CPU time of a headless Chromium that draws the page into a picture, less that for an
empty page: a busy machine changes it little.
"""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.rigs import fetched
from tests.rigs.needs import browser
from tests.support import GPUJOB, REPOSITORY

RUNS, STEPS = 20, 12_500
PER_STEP = 4  # loss, learning rate, gradient norm, samples per second


def write(folder: Path) -> list[str]:
    """Fetched runs; the folders of them."""
    words = []
    for number in range(1, RUNS + 1):
        events = fetched.story(STEPS)
        for event in events:
            if event.get("event") == "progress":
                event["rate"] = 500 + event["step"] % 7
        words.append(str(fetched.write(folder, number, events=events)))
    return words


def cpu_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def seconds_to_open(profile: Path, url: str) -> float:
    """The lesser of two CPU times."""
    words = [browser() or "chromium", "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"]
    words += [f"--user-data-dir={profile}", "--window-size=1280,4000", f"--screenshot={profile}.png", url]
    times = []
    for _ in range(2):
        started = cpu_seconds()
        subprocess.run(words, check=True, capture_output=True)
        times.append(cpu_seconds() - started)
    return min(times)


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        home = Path(name)
        page, words = home / "report.html", write(home / "fetched")
        env = {"HOME": name, "PATH": os.environ["PATH"], "PYTHONPATH": str(REPOSITORY), "LANG": "C.UTF-8"}
        started = cpu_seconds()
        subprocess.run([*GPUJOB, "report", *words, "--to", str(page)], env=env, cwd=home, check=True)
        took = cpu_seconds() - started
        opened = seconds_to_open(home / "profile", page.as_uri())
        empty = seconds_to_open(home / "profile", "about:blank")
        sys.stdout.write(
            f"{RUNS} runs, {RUNS * STEPS * PER_STEP:,} points: written in {took:.1f} CPU s, "
            f"{page.stat().st_size / 1e6:.2f} MB, opened in {max(0.0, opened - empty):.2f} CPU s   "
            f"load {os.getloadavg()[0]:.1f}\n"
        )


if __name__ == "__main__":
    main()
