"""Scripts for the tests of runs, and the two steps that most of them start with."""

from __future__ import annotations

from tests.support import Client

SLOW = "import time\nprint('begun', flush=True)\ntime.sleep(120)\n"
TRAPS_TERM = """
import os, signal, sys, time
def leave(*_):
    os.makedirs(os.environ['GPUJOB_CHECKPOINTS'] + '/7')
    open(os.environ['GPUJOB_CHECKPOINTS'] + '/last', 'w').write('7')
    print('checkpoint written', flush=True); sys.exit(75)
signal.signal(signal.SIGTERM, leave)
print('begun', flush=True)
time.sleep(120)
"""


def deployed(client: Client, *words: str) -> str:
    result = client.run("deploy", "job", *words)
    assert result.code == 0, result.err
    return result.out.strip().splitlines()[-1]


def wait_for_output(client: Client, run_id: str) -> None:
    client.until(lambda status: (status["log_bytes"] or 0) > 0)
