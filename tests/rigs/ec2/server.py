"""The process of one rig. Its argument is Settings as JSON; its first output line is its address."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

from tests.rigs.ec2.images import images
from tests.rigs.ec2.settings import Settings
from tests.rigs.ec2.slots import Slot, take


def main() -> None:
    """Serve until SIGTERM, as PID 1 of its own PID namespace and with mounts of its own (client.py)."""
    slot = take()
    words = ["mount", "-t", "tmpfs", "-o", "mode=755", "tmpfs", str(slot.folder)]
    subprocess.run(words, check=True)
    _configure_moto(slot)
    # moto reads its environment as it is imported.
    from werkzeug.serving import make_server  # noqa: PLC0415

    from tests.rigs.ec2.control import ControlPlane  # noqa: PLC0415
    from tests.rigs.ec2.fleet import Fleet  # noqa: PLC0415
    from tests.rigs.ec2.handler import Handler  # noqa: PLC0415
    from tests.rigs.ec2.lifecycle import install  # noqa: PLC0415

    fleet = Fleet(slot, Settings(**json.loads(sys.argv[2])))
    install(fleet)
    server = make_server("127.0.0.1", 0, ControlPlane(fleet), threaded=True, request_handler=Handler)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: threading.Thread(target=server.shutdown).start())
    sys.stdout.write(json.dumps({"port": server.server_port, "slot": slot.number}) + "\n")
    sys.stdout.flush()
    server.serve_forever(poll_interval=0.05)
    fleet.close()


def _configure_moto(slot: Slot) -> None:
    known = Path(slot.folder, "images.json")
    known.write_text(json.dumps(images()))
    os.environ.update(
        MOTO_AMIS_PATH=str(known),
        MOTO_ENABLE_AMI_VALIDATION="1",
        MOTO_EC2_ENABLE_INSTANCE_TYPE_VALIDATION="1",
        MOTO_IAM_LOAD_MANAGED_POLICIES="0",
    )


if __name__ == "__main__":
    main()
