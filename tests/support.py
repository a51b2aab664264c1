"""Shared by the tests: a client that runs commands, and a host whose answers are scripted."""

from __future__ import annotations

import contextlib
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from orchestrator.cli import main
from orchestrator.context import Context
from orchestrator.core.logquery import EVERYTHING, LogQuery
from orchestrator.onhost import elsewhere, processes
from orchestrator.process import Done
from orchestrator.targets.base import Host
from tests.rigs import answers, awsmodels, bytecode, forkedhelper
from tests.rigs.patience import PATIENCE, pauses

REPOSITORY = Path(__file__).parent.parent
GPUJOB = [sys.executable, "-c", "from orchestrator.cli import script; script()"]


@dataclass
class Result:
    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


@dataclass
class Client:
    """A user's machine: a project folder, a home, a root for local runs, environment variables."""

    home: Path
    project: Path
    root: Path
    env: dict[str, str] = field(default_factory=dict)
    python: str = sys.executable

    @property
    def state_dir(self) -> Path:
        """The folder where commands started by `run` and `spawn` store their state."""
        return self.home / "cache" / "gpujob"

    @property
    def tmux_socket(self) -> Path:
        """The socket of local runs; in a container its name has the container's."""
        return Path(elsewhere.layout(str(self.root)).tmux_socket)

    def context(self, **changes: Any) -> Context:
        defaults: dict[str, Any] = {
            "env": self.env,
            "cwd": self.project,
            "stdin": io.StringIO(),
            "stdout": io.StringIO(),
            "stderr": io.StringIO(),
            "state_dir": self.state_dir,
            "python": self.python,
            "config_file": self.home / "settings" / "gpujob" / "settings.yaml",
        }
        return Context(**{**defaults, **changes})

    def run(self, *words: str, **changes: Any) -> Result:
        """Run `gpujob WORDS` in this process."""
        ctx = self.context(**changes)
        code = main(list(words), ctx)
        if "--json" in words and isinstance(ctx.stdout, io.StringIO):
            answers.validate(words, ctx.stdout.getvalue())
        if isinstance(ctx.stderr, io.StringIO):
            answers.require_progress(words, code, ctx.stderr.getvalue())
        return Result(code, ctx.stdout.getvalue(), ctx.stderr.getvalue())  # type: ignore[attr-defined]

    def spawn(self, *words: str, code: str | None = None, **more: Any) -> subprocess.Popen[bytes]:
        """Start `gpujob WORDS` in a new process, which runs `code` first."""
        # Tests that were started in the background ignore Ctrl-C, and their children would too.
        restore_sigint = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)"
        script = f"{code or ''}\n{restore_sigint}\nfrom orchestrator.cli import script; script()"
        return subprocess.Popen(
            [sys.executable, "-c", script, *words],
            cwd=self.project,
            env=self.env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            **more,
        )

    def state(self, run: str | None = None) -> dict[str, Any]:
        """Return the run `run`, else the last one, as `status --json` shows it."""
        result = self.run("status", *([run] if run else []), "--json")
        assert result.code == 0, result.err + result.out
        run_status: dict[str, Any] = result.json["runs"][-1]
        return run_status

    def until(self, goal: str | Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """Wait until the run is in a state, or `goal(status)` is true; return its status."""
        reached = goal if callable(goal) else lambda status: status["state"] == goal
        end = time.monotonic() + PATIENCE
        for seconds in pauses():
            if reached(status := self.state()):
                break
            assert time.monotonic() < end, f"not reached: {goal}; the last status was {status}"
            time.sleep(seconds)
        return status

    def folder(self, run_id: str) -> Path:
        return self.root / "runs" / run_id

    def write(self, name: str, text: str) -> Path:
        path = self.project / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "utf-8")
        return path

    def shadow(self) -> None:
        """Write files that a Python started in the project would import instead of its own modules."""
        for name in ("random.py", "trainers/__init__.py"):
            self.write(name, "raise SystemExit('a file of the user stood in for a module')\n")

    def job(self, body: str, name: str = "job", **keys: Any) -> None:
        """Write a job file whose command is a Python script with this body."""
        self.write("train.py", body)
        lines = [f"name: {name}", f"command: {json.dumps([sys.executable, 'train.py'])}"]
        self.write(f"{name}.yaml", "\n".join(lines + [f"{k}: {json.dumps(v)}" for k, v in keys.items()]))


def tiny_wheel(folder: Path, name: str, version: str) -> Path:
    """Write a wheel into `folder`, for pip's --find-links; the module has VERSION. Return the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    about = f"{name}-{version}.dist-info"
    with zipfile.ZipFile(folder / f"{name}-{version}-py3-none-any.whl", "w") as wheel:
        wheel.writestr(f"{name}.py", f"VERSION = {version!r}\n")
        wheel.writestr(f"{about}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        wheel.writestr(f"{about}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr(f"{about}/RECORD", f"{name}.py,,\n{about}/RECORD,,\n")
    return folder


@contextlib.contextmanager
def new_client(python: str = sys.executable) -> Iterator[Client]:
    """A client in a temporary folder with a short path (for its sockets); ends all its runs at exit."""
    folder = Path(tempfile.mkdtemp(prefix="gj-"))
    client = Client(folder, folder / "project", folder / "root", python=python)
    client.project.mkdir()
    client.env = {
        "HOME": str(folder),
        "PATH": os.environ["PATH"],
        "LANG": "C.UTF-8",
        "USER": "tester",
        "GPUJOB_ROOT": str(client.root),
        "XDG_STATE_HOME": str(folder / "cache"),
        "XDG_CONFIG_HOME": str(folder / "settings"),
        "OMP_NUM_THREADS": "1",
    }
    try:
        with pytest.MonkeyPatch.context() as patch:
            bytecode.use(patch)
            forkedhelper.use(patch)
            awsmodels.use(patch)
            yield client
    finally:
        end_all(client)
        shutil.rmtree(folder, ignore_errors=True)


def end_all(client: Client) -> None:
    if (socket := client.tmux_socket).exists():
        subprocess.run(["tmux", "-S", str(socket), "kill-server"], capture_output=True, check=False)
    for spec in client.root.glob("runs/*/run.json"):
        run = json.loads(spec.read_text())
        state = spec.with_name("state.json")
        if state.exists():
            who = json.loads(state.read_text())
            if processes.is_alive(who["supervisor"], who["boot"]):
                os.kill(who["supervisor"]["pid"], signal.SIGKILL)
        processes.kill_marked(run["mark"])
        shutil.rmtree(f"/tmp/gpujob-{run['mark'][:16]}", ignore_errors=True)


class ScriptedHost(Host):
    """A Host that answers each operation from `answers` and records them in `requests`."""

    label = "scripted"
    is_local = True
    lease: float | None = None

    def __init__(self, answers: Mapping[str, Any], files: Mapping[str, bytes] | None = None) -> None:
        self.answers = dict(answers)
        self.files = dict(files or {})
        self.requests: list[tuple[str, dict[str, Any]]] = []
        self.sent: list[str] = []

    def ask(self, op: str, **fields: Any) -> dict[str, Any]:
        self.requests.append((op, fields))
        answer = self.answers[op]
        if isinstance(answer, list):
            answer = answer.pop(0) if len(answer) > 1 else answer[0]
        if callable(answer):
            answer = answer(**fields)
        if isinstance(answer, Exception):
            raise answer
        reply: dict[str, Any] = answer
        return reply

    def follow(self, run_id: str, name: str, query: LogQuery = EVERYTHING) -> Iterator[bytes]:
        yield self.files[name]

    def send_tree(self, source: Any) -> None:
        self.sent.append(source.tree.hash)

    def send_data(self, name: str, fingerprint: str, source: Path, moved: Callable[[int], None]) -> None:
        self.requests.append(("send_data", {"name": name}))

    def receive(self, folder: str, names: list[str], to: Path, on_bytes: Callable[[int], None]) -> None:
        for name in names:
            content, part = self.files[f"{folder}/{name}"], to / name
            have = part.stat().st_size if part.exists() else 0
            with part.open("ab") as target:
                target.write(content[have:])
            on_bytes(len(content) - have)

    def run(
        self,
        words: Sequence[str],
        stdin: bytes,
        env: Mapping[str, str],
        on_line: Callable[[str], None],
        cwd: str | None = None,
    ) -> Done:
        self.requests.append(("run", {"words": list(words), "stdin": stdin, "env": dict(env), "cwd": cwd}))
        lines, result = self.answers["run"]
        for line in lines:
            on_line(line)
        return result  # type: ignore[no-any-return]

    def pythons(self) -> list[str]:
        return ["python3"]

    def tree_folder(self, tree: str) -> str:
        return f"/r/code/{tree}"

    def attach(self, run_id: str) -> tuple[list[str], dict[str, str]]:
        return ["true"], {}

    def shell(self, run_id: str | None) -> tuple[list[str], dict[str, str]]:
        return ["true", run_id or "home"], {}
