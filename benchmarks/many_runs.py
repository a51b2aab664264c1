"""CPU time of `gpujob status` of a host with many runs, the client's and the helper's together.

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


def seconds(client: Client) -> float:
    """CPU seconds of `gpujob status` and of the processes that it waits for."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([*GPUJOB, "status"], cwd=client.project, env=client.env, capture_output=True, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main() -> None:
    with new_client() as client:
        made = 0
        for count in map(int, sys.argv[1:] or (3, 30, 300)):
            for number in range(made, count):
                complete(client.root / "runs" / f"job-20261121T{number:06d}-1a2b")
            made = count
            median = statistics.median(seconds(client) for _ in range(TRIALS))
            sys.stdout.write(f"status of {count} runs: {median:.2f} CPU s, median of {TRIALS}\n")


if __name__ == "__main__":
    main()
