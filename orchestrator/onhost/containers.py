"""Runs the command of a run in a container of docker or podman, and finds and ends that container.

The container has the run's ID as its name, sees the files of the run at their paths on the host, and runs as
this user, so that its processes are found and signalled as those of any run.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
from typing import IO, Any, Mapping, NamedTuple, Sequence

from orchestrator.core.layout import Layout, RunPaths, scratch
from orchestrator.onhost import engines, gpus, processes
from orchestrator.onhost.engines import Engine
from orchestrator.onhost.errors import Refused
from orchestrator.onhost.records import RunSpec

INHERITED = ("CUDA_VISIBLE_DEVICES", "LANG", "LOGNAME", "OMP_NUM_THREADS", "TZ", "USER")
"""Variables that a run in a container gets of the host's user: none that names a path of the host."""
_LABEL = "gpujob.run"
_INIT = ("/usr/libexec/podman/catatonit", "/usr/bin/catatonit")  # what podman needs for --init
_LONGEST_LINE = 60_000  # bytes; docker reads lines of an environment file up to 64 KiB


class Launch(NamedTuple):
    """A command to start. `variables`: the open file of a container's variables, which has no name."""

    words: Sequence[str]
    environment: Mapping[str, str]
    variables: IO[bytes] | None = None

    def start(self, **options: Any) -> subprocess.Popen[bytes]:
        """Starts the command with `options` of Popen; closes `variables`, which the command has inherited."""
        with self.variables or contextlib.nullcontext() as handle:
            inherited = (handle.fileno(),) if handle else ()
            return subprocess.Popen(self.words, env=self.environment, pass_fds=inherited, **options)


class Container:
    """The container of a run, which may not exist."""

    def __init__(self, engine: Engine, run_id: str) -> None:
        self._engine = engine
        self._name = run_id
        self._process: processes.Identity | None = None

    def launch(self, layout: Layout, paths: RunPaths, spec: RunSpec, variables: Mapping[str, str]) -> Launch:
        """Returns the command that starts it, after removing one that an earlier attempt left."""
        self.remove()
        self._process = None
        options = ["--name", self._name, "--label", "%s=%s" % (_LABEL, self._name)]
        own = {name: variables[name] for name in ("GPUJOB_MARK", "GPUJOB_RUN_ID") if name in variables}
        return _launch(self._engine, layout, paths, spec, variables, spec.argv, paths.work, options, own)

    def identities(self) -> list[processes.Identity]:
        """Returns its first process, by `processes.identity`; empty until it has started."""
        if self._process is None:
            pid = engines.ask(self._engine, "inspect", "--format", "{{.State.Pid}}", self._name).out.strip()
            if pid.isdigit() and int(pid):
                self._process = processes.identity(int(pid))
        return [self._process] if self._process and self._process["ticks"] else []

    def signal(self, name: str) -> bool:
        """Sends a signal such as TERM to its first process; returns whether there was one."""
        return engines.ask(self._engine, "kill", "--signal", name, self._name).code == 0

    def remove(self) -> None:
        """Kills and removes it, if it exists."""
        engines.ask(self._engine, "rm", "--force", self._name)


def find(spec: RunSpec | None) -> Container | None:
    """Returns the container of a run, which may have ended; None for a run without an image or an engine."""
    if spec is None or not spec.image:
        return None
    try:
        return Container(engines.find(), spec.id)
    except Refused:
        return None


def visit(
    layout: Layout,
    paths: RunPaths,
    spec: RunSpec,
    variables: Mapping[str, str],
    words: Sequence[str],
    has_terminal: bool,
) -> Launch:
    """Returns the command that runs a user's `words` in another container like the run's."""
    options = ["--interactive", *(["--tty"] if has_terminal else [])]
    return _launch(engines.find(), layout, paths, spec, variables, words, paths.folder, options, {})


def _launch(
    engine: Engine,
    layout: Layout,
    paths: RunPaths,
    spec: RunSpec,
    variables: Mapping[str, str],
    argv: Sequence[str],
    cwd: str,
    options: list[str],
    own: dict[str, str],
) -> Launch:
    """`own`: variables of the engine's command itself, by which it is found."""
    home = os.path.join(layout.cache, "home")
    os.makedirs(home, mode=0o700, exist_ok=True)
    inside = {"HOME": home, **{name: text for name, text in variables.items() if name not in _OUTSIDE}}
    handle, separate = _variables_file(inside)
    words = [engine.program, "run", "--rm", "--pull", "never", "--log-driver", "none", *options]
    words += ["--network", "host", "--ipc", "host", "--security-opt", "label=disable", "--workdir", cwd]
    words += [*_user(engine), *_init(engine), *_gpus(engine, spec, variables.get("CUDA_VISIBLE_DEVICES"))]
    for path in (paths.folder, scratch(spec.mark), layout.cache):
        words += ["--mount", _mount(path)]
    for path in spec.data.values():
        words += ["--mount", _mount(path) + ",readonly"]
    words += ["--env-file", "/dev/fd/%d" % handle.fileno()]
    for name in separate:
        words += ["--env", name]
    words += ["--entrypoint", argv[0], spec.image_id or spec.image or "", *argv[1:]]
    return Launch(words, {**os.environ, **separate, **own}, handle)


_OUTSIDE = ("CUDA_VISIBLE_DEVICES", "PATH")  # the GPUs of a container are numbered anew


def _variables_file(variables: Mapping[str, str]) -> tuple[IO[bytes], dict[str, str]]:
    """Returns a file for --env-file, without a name, and the variables that such a file cannot hold."""
    separate = {name: text for name, text in variables.items() if not _fits_on_a_line(text)}
    lines = ["%s=%s\n" % (name, text) for name, text in variables.items() if name not in separate]
    import tempfile  # noqa: PLC0415 - only runs with an image need it

    handle = tempfile.TemporaryFile()  # noqa: SIM115 - Launch.start closes it
    handle.write("".join(lines).encode())
    handle.flush()
    return handle, separate


def _fits_on_a_line(text: str) -> bool:
    """Returns whether docker reads a value back from a line of an environment file as it is."""
    if "\n" in text or "\r" in text or len(text) > _LONGEST_LINE // 4:
        return False
    try:
        text.encode()
    except UnicodeEncodeError:  # bytes that are no UTF-8
        return False
    return True


def _user(engine: Engine) -> list[str]:
    """Makes the container's user the one of the run, with the groups that open its data."""
    if engine.is_rootless and engine.kind == "docker":
        return ["--user", "0:0"]  # which is this user outside of the container
    words = ["--user", "%d:%d" % (os.getuid(), os.getgid())]
    if engine.is_rootless:
        return [*words, "--userns", "keep-id"]
    if engine.is_remapped:
        words += ["--userns", "host"]
    others = [group for group in os.getgroups() if group != os.getgid()]
    return words + [word for group in others for word in ("--group-add", str(group))]


def _init(engine: Engine) -> list[str]:
    """A first process that passes signals on: as the first one, many programs would not end at SIGTERM."""
    has_one = engine.kind == "docker" or any(os.path.exists(path) for path in _INIT)
    return ["--init"] if has_one else []


def _gpus(engine: Engine, spec: RunSpec, visible: str | None) -> list[str]:
    """`visible`: as in CUDA_VISIBLE_DEVICES, None for all."""
    if not spec.gpus or visible in ("", "-1", "NoDevFiles") or not gpus.sample():
        return []
    if engine.kind == "docker":
        return ["--gpus", "all" if visible is None else '"device=%s"' % visible]
    names = ["all"] if visible is None else visible.split(",")
    return [word for name in names for word in ("--device", "nvidia.com/gpu=" + name.strip())]


def _mount(path: str) -> str:
    """A bind mount to the same path; the fields are CSV, in which a name may have commas and quotes."""
    fields = ["type=bind", "source=" + path, "target=" + path]
    return ",".join('"%s"' % f.replace('"', '""') if set(f) & set(',"\n') else f for f in fields)
