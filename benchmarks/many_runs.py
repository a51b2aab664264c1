"""CPU time of `gpujob status` of a host with many runs, the client's and the helper's together.

The bare start is `gpujob --version`.

python -m benchmarks.many_runs [RUNS...]      (from the repository's root; default 3 30 300)
"""

from __future__ import annotations

import resource
import statistics
import subprocess
import sys

from tests.rigs.odd_runs import complete
from tests.support import GPUJOB, Client, new_client

TRIALS = 5


def seconds(client: Client, word: str) -> float:
    """CPU seconds of a command of gpujob and of the processes that it waits for."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([*GPUJOB, word], cwd=client.project, env=client.env, capture_output=True, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main() -> None:
    with new_client() as client:
        made = 0
        for count in map(int, sys.argv[1:] or (3, 30, 300)):
            for number in range(made, count):
                complete(client.root / "runs" / f"job-20261121T{number:06d}-1a2b")
            made = count
            trials = [(seconds(client, "--version"), seconds(client, "status")) for _ in range(TRIALS)]
            start, status = map(statistics.median, zip(*trials, strict=True))
            sys.stdout.write(
                f"status of {count} runs: {status:.2f} CPU s, {status - start:.2f} beyond a bare start, "
                f"median of {TRIALS}\n"
            )


if __name__ == "__main__":
    main()
