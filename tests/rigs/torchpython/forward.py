"""Installed in the Python of the tests' hosts: hands `python -m MODULE …` to the TorchServer.

The process stays and stands for the forked one: it passes signals on, ends with its exit status, and the
forked one is killed when it ends first. Where no server listens, Python goes on as usual. Only the standard
library's core is imported, since this runs at every start.
"""

import os
import sys

MODULES = ("trainers", "torch.distributed.run")


def _words(arguments: list[str]) -> list[str]:
    """Those after the interpreter's options; torchrun starts processes with -u."""
    return arguments[2:] if arguments[1:2] == ["-u"] else arguments[1:]


def is_known(arguments: list[str]) -> bool:
    """Whether the server carries out this command line of Python."""
    words = _words(arguments)
    return words[:1] == ["-m"] and len(words) > 1 and words[1] in MODULES


def forward(address: str) -> None:
    """Forward this process to the server; return only if no server listens."""
    _, module, *words = _words(sys.orig_argv)
    hand_over(address, {"module": module, "words": words})


def hand_over(address: str, request: dict[str, object]) -> None:
    """End as the process that the server forks for the request; return only if no server listens."""
    import json  # noqa: PLC0415
    import signal  # noqa: PLC0415
    import socket  # noqa: PLC0415

    line = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        line.connect("\0" + address)
    except OSError:
        return
    request |= {"env": dict(os.environ), "cwd": os.getcwd(), "python": sys.executable}  # noqa: PTH109
    socket.send_fds(line, [json.dumps(request).encode() + b"\n"], [0, 1, 2])
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2):
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, lambda which, _: line.send(b"%d\n" % which))
    answers = line.makefile("r")
    answers.readline()  # the forked process's number, which is of no use in another namespace
    answer = answers.readline()
    status = int(answer) if answer else 1 << 8
    if os.WIFSIGNALED(status):
        signal.signal(os.WTERMSIG(status), signal.SIG_DFL)
        os.kill(os.getpid(), os.WTERMSIG(status))
    os._exit(os.WEXITSTATUS(status))
