#!/usr/bin/env python3
"""A program that stands in for docker: it takes the documented options, and runs commands on this machine.

Its state is in the folder $FAKE_DOCKER or, since engines are called without a run's variables, beside it:
`images` (names of those that are here), `registry` (of those that `pull` finds), `calls` (what was called),
`containers/NAME` (pid). `info` holds what `docker info` fails with, `security` its security options.
"""

import contextlib
import hashlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

STATE = Path(__file__).resolve().parent
FLAGS = ("--rm", "--init", "--interactive", "--tty")


def lines(name: str) -> list[str]:
    return (STATE / name).read_text().split() if (STATE / name).exists() else []


def image_id(name: str) -> str:
    for one in lines("images"):
        identity = "sha256:" + hashlib.sha256(one.encode()).hexdigest()
        if name in (one, identity):
            return identity
    return ""


def say(text: object) -> None:
    sys.stdout.write(f"{text}\n")


def fail(text: str, code: int = 1) -> int:
    sys.stderr.write(text + "\n")
    return code


def info() -> int:
    if (STATE / "info").exists():
        say(json.dumps({"ServerVersion": "", "ServerErrors": None}))
        return fail((STATE / "info").read_text())
    runtimes = {"runc": {}, **({"nvidia": {}} if (STATE / "nvidia").exists() else {})}
    say(
        json.dumps(
            {
                "ServerVersion": "28.2.2",
                "Runtimes": runtimes,
                "SecurityOptions": ["name=seccomp", *lines("security")],
            }
        )
    )
    return 0


def pid_of(name: str) -> int:
    path = STATE / "containers" / name
    return int(path.read_text()) if path.exists() else 0


def variables(path: str) -> dict[str, str]:
    found = {}
    for line in Path(path).read_text().split("\n"):
        name, equals, value = line.partition("=")
        if equals and not line.startswith("#"):
            found[name] = value
    return found


def run(words: list[str]) -> int:
    options: dict[str, list[str]] = {}
    while words[0].startswith("--"):
        word = words.pop(0)
        options.setdefault(word, [])
        if word not in FLAGS:
            options[word].append(words.pop(0))
    image, *arguments = words
    if not image_id(image):
        return fail(f"docker: Error response from daemon: No such image: {image}", 125)
    name = options.get("--name", [f"unnamed-{os.getpid()}"])[0]
    if pid_of(name):
        return fail(
            f'docker: Error response from daemon: Conflict. The container name "/{name}" is in use', 125
        )
    environment = {"PATH": os.environ["PATH"], "HOSTNAME": "container"}
    for path in options.get("--env-file", []):
        environment |= variables(path)
    environment |= {one: os.environ[one] for one in options.get("--env", [])}
    stdin = None if "--interactive" in options else subprocess.DEVNULL
    try:
        child = subprocess.Popen(
            [*options["--entrypoint"], *arguments],
            cwd=options["--workdir"][0],
            env=environment,
            stdin=stdin,
            start_new_session=True,
        )
    except OSError as error:
        return fail(f"docker: Error response from daemon: {error}", 127)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda number, _: child.send_signal(number))
    (STATE / "containers").mkdir(exist_ok=True)
    path = STATE / "containers" / name
    path.write_text(str(child.pid))
    code = child.wait()
    path.unlink(missing_ok=True)
    return code if code >= 0 else 128 - code


def main(words: list[str]) -> int:
    with (STATE / "calls").open("a") as calls:
        calls.write(json.dumps(words) + "\n")
    command, rest = words[0], words[1:]
    if command == "info":
        return info()
    if command == "run":
        return run(rest)
    if words[:2] == ["image", "inspect"]:
        found = image_id(words[-1])
        say(found)
        return 0 if found else fail(f"Error response from daemon: No such image: {words[-1]}")
    if command == "pull":
        if rest[0] not in lines("registry"):
            return fail(
                f"Error response from daemon: pull access denied for {rest[0]}, repository does not exist"
            )
        with (STATE / "images").open("a") as images:
            images.write(rest[0] + "\n")
        say(f"latest: Pulling from {rest[0]}\nStatus: Downloaded newer image for {rest[0]}")
        return 0
    pid = pid_of(words[-1])
    if command == "inspect":
        say(pid or "")
        return 0 if pid else fail(f"Error: No such object: {words[-1]}")
    if command in ("kill", "rm"):
        if not pid:
            return fail(f"Error response from daemon: No such container: {words[-1]}")
        number = (
            signal.SIGKILL if command == "rm" else getattr(signal, "SIG" + words[words.index("--signal") + 1])
        )
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)
        if command == "rm":
            (STATE / "containers" / words[-1]).unlink(missing_ok=True)
        return 0
    return fail(f"unknown command: docker {command}", 125)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
