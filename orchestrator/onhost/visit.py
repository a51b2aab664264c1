"""Runs a command of a user in the folder and the environment of a run, on the user's own stdin and stdout."""

from __future__ import annotations

import base64
import json
import os
import signal
import sys

from orchestrator.core.layout import Layout
from orchestrator.onhost import containers, run_environment
from orchestrator.onhost.containers import Launch
from orchestrator.onhost.errors import Refused
from orchestrator.onhost.records import RunSpec

_NO_RUN, _NOT_EXECUTABLE, _NOT_FOUND = 125, 126, 127


def run(layout: Layout, run_id: str, encoded: str, umask: int) -> int:
    """Returns the exit code of the command, or 128 and the number of the signal that ended it.

    The command is not of the run: `stop` does not end it, and it has no secrets of the run.
    """
    words = json.loads(base64.urlsafe_b64decode(encoded + "=" * (-len(encoded) % 4)))
    paths = layout.run(run_id)
    spec = RunSpec.load(paths.run_json)
    if spec is None:
        sys.stderr.write("gpujob: there is no run %s on this host\n" % run_id)
        return _NO_RUN
    os.umask(umask)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the terminal sends it to the command too
    variables = run_environment.variables(paths, spec)
    try:
        launch = Launch(words, {**os.environ, **variables})
        if spec.image:
            launch = containers.visit(layout, paths, spec, variables, words, os.isatty(0) and os.isatty(1))
        process = launch.start(cwd=paths.folder, preexec_fn=_restore)
    except Refused as error:
        sys.stderr.write("gpujob: %s\n" % error)
        return _NO_RUN
    except OSError as error:
        sys.stderr.write("gpujob: %s: %s\n" % (words[0], error.strerror))
        return _NOT_FOUND if isinstance(error, FileNotFoundError) else _NOT_EXECUTABLE
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda number, frame: process.send_signal(number))
    code = process.wait()
    return code if code >= 0 else 128 - code


def _restore() -> None:
    signal.signal(signal.SIGINT, signal.SIG_DFL)
