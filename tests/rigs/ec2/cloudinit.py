"""The stages of cloud-init without the start of a Python and its imports, of 0.5 CPU seconds each.

The server of a simulation has imported the real cloud-init; `cloud-init` of its machines lets it fork each
stage, which runs in the machine as the requesting process would.
"""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
import threading
from pathlib import Path

from tests.rigs.process import PATH
from tests.rigs.torchpython import forward, server

PYTHON = "/usr/bin/python3"  # which has cloud-init
REPOSITORY = Path(__file__).parent.parent.parent.parent
START = "import sys; sys.path.insert(0, sys.argv.pop(1)); from tests.rigs.ec2.cloudinit import main; main()"
CONFIGURED = ("bootcmd", "runcmd", "scripts_per_boot", "scripts_user", "final_message")
MODULES = (
    "cloudinit.cmd.main",
    "cloudinit.sources.DataSourceNoCloud",
    "cloudinit.distros.debian",
    *(f"cloudinit.config.cc_{name}" for name in (*CONFIGURED, "write_files", "users_groups", "ssh")),
)
_starting = threading.Lock()
_processes: list[subprocess.Popen[bytes]] = []


def program() -> str:
    """Return the text of `cloud-init` for the machines of this simulation, whose server runs from now on."""
    address = f"gpujob-cloud-init-{os.getpid()}-{Path('/proc/self/ns/pid').readlink()}"
    with _starting:
        if not _processes:
            words = [PYTHON, "-I", "-c", START, str(REPOSITORY), address, str(os.getpid())]
            process = subprocess.Popen(
                words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, env={"PATH": PATH}
            )
            assert process.stdout is not None
            assert process.stdout.readline() == b"ready\n", "the server of cloud-init did not start"
            _processes.append(process)
    text = Path(forward.__file__).read_text()
    return (
        f"#!{PYTHON} -IS\n{text}\nhand_over({address!r}, {{'words': sys.argv[1:]}})\nsys.exit('no server')\n"
    )


def main() -> None:
    """The server: `main ADDRESS OWNER`."""
    sys.path.remove(str(REPOSITORY))
    import yaml  # noqa: PLC0415 - that of PYTHON

    yaml.SafeLoader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # type: ignore[misc]
    for name in MODULES:
        importlib.import_module(name)
    server.serve(sys.argv[1], int(sys.argv[2]), run)


def run(request: server.Request) -> int:
    """Run `cloud-init WORDS` as its program does."""
    sys.path.remove(request["cwd"])
    from cloudinit.cmd.main import main  # type: ignore[import-not-found]  # noqa: PLC0415

    return server.exit_code(lambda: sys.exit(main(["/usr/bin/cloud-init", *request["words"]])))
