"""The container engine of this host, docker or podman, and the images that it has."""

from __future__ import annotations

import glob
import os
import shutil
import subprocess
from typing import Mapping, NamedTuple

from orchestrator.core import jsontext
from orchestrator.core.layout import Layout
from orchestrator.onhost import files
from orchestrator.onhost.errors import Refused

_PROGRAMS = ("docker", "podman")
_SECONDS = 30.0  # for the engine to answer
_CDI = ("/etc/cdi/*nvidia*", "/var/run/cdi/*nvidia*")  # where podman finds the GPUs


class Engine(NamedTuple):
    """A container engine that this user may use.

    `kind`: docker or podman, whatever the `program` is called. `gives_gpus`: containers can use NVIDIA GPUs.
    `is_remapped`: users of a container are others than those of the host, unless it is asked otherwise.
    """

    program: str
    kind: str
    version: str
    is_rootless: bool
    gives_gpus: bool
    is_remapped: bool = False


def find() -> Engine:
    """Returns docker, or podman where docker cannot be used. Raises Refused, with the reason, if neither can.

    Its `kind` is no-engine, or engine-denied, engine-stopped or engine-failed for one that does not answer.
    """
    problems = []
    for program in filter(None, map(shutil.which, _PROGRAMS)):
        try:
            return _engine(program)
        except Refused as error:
            problems.append(error)
    raise problems[0] if problems else Refused("no-engine", "neither docker nor podman is on the PATH")


def facts(image: str) -> Mapping[str, object]:
    """Returns the engine of this host as a JSON object, and the id of an `image`, None if it is not here.

    `problem`: the kind of a refusal where no engine can be used, with its `detail`.
    """
    try:
        engine = find()
    except Refused as error:
        return {"problem": error.kind, "detail": str(error)}
    return {**engine._asdict(), "image_id": image_id(engine, image) if image else None}


def ensure_image(layout: Layout, key: str, image: str) -> str:
    """Pulls an image unless the host has it; returns its id. The output goes to `env/<key>.log`."""
    engine = find()
    with files.lock(layout.environment(key) + ".lock"):
        if not image_id(engine, image):
            with open(layout.environment_log(key), "w+b", buffering=0) as log:
                words = [engine.program, "pull", image]
                code = subprocess.call(words, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT)
            if code:
                output = files.last_bytes(layout.environment_log(key), 4096).decode(errors="replace")
                reason = (output.strip().splitlines() or ["it printed nothing"])[-1]
                raise Refused("image", "the image %s could not be pulled: %s" % (image, reason))
    return require_image(image)


def require_image(image: str) -> str:
    """Returns the id of an image, given by name or id. Raises Refused if the host does not have it."""
    digest = image_id(find(), image)
    if not digest:
        raise Refused("image", "the image %s is not on the host" % image)
    return digest


class Answer(NamedTuple):
    code: int
    out: str
    err: str


def _engine(program: str) -> Engine:
    """Returns the engine that a program is, as it says itself. Raises Refused if it cannot be used."""
    answered = _run([program, "info", "--format", "{{json .}}"])
    try:
        about = jsontext.read_object(answered.out)
    except jsontext.BadJson:
        about = jsontext.Object()
    if about.get("host", dict) is not None:  # podman, perhaps under the name docker
        is_rootless = about.child("host").child("security").flag("rootless")
        number = about.child("version").text("Version") or ""
        return Engine(program, "podman", number, is_rootless, any(glob.glob(path) for path in _CDI))
    if version := about.text("ServerVersion"):
        options = about.texts("SecurityOptions")
        is_rootless, is_remapped = (any(word in one for one in options) for word in ("rootless", "userns"))
        has_hook = bool(shutil.which("nvidia-container-runtime-hook"))
        gives_gpus = has_hook or "nvidia" in about.child("Runtimes")
        return Engine(program, "docker", version, is_rootless, gives_gpus, is_remapped)
    text = (" ".join(answered.err.split()) or " ".join(about.texts("ServerErrors")) or "it gave no answer")[
        :300
    ]
    kind = "denied" if "permission denied" in text else "stopped" if "Cannot connect" in text else "failed"
    raise Refused("engine-" + kind, "%s: %s" % (os.path.basename(program), text))


def image_id(engine: Engine, image: str) -> str:
    """Returns the id, `sha256:…`, which podman has without that word; empty if it is not on the host."""
    return ask(engine, "image", "inspect", "--format", "{{.Id}}", image).out.strip()


def ask(engine: Engine, *words: str) -> Answer:
    return _run([engine.program, *words])


def _run(words: list[str]) -> Answer:
    try:
        done = subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, timeout=_SECONDS)
    except (OSError, subprocess.TimeoutExpired) as error:
        return Answer(-1, "", str(error))
    return Answer(done.returncode, done.stdout.decode(errors="replace"), done.stderr.decode(errors="replace"))
