"""`gpujob init [SCRIPT]`: writes a commented job file for the user's own script."""

from __future__ import annotations

import json
import math
import re
import shlex
from pathlib import Path

import msgspec

from orchestrator import files
from orchestrator.context import Context
from orchestrator.core import spec
from orchestrator.errors import GpujobError, UsageError
from orchestrator.onhost.files import write

_RUNNERS = {".py": "python", ".sh": "bash"}
_USUAL = ("train.py", "main.py", "run.py", "train.sh")


class Answers(msgspec.Struct, frozen=True):
    """What a job file is written from. `data`: a folder or file as typed; empty for none."""

    script: str
    data: str = ""
    max_hours: float | None = None

    @property
    def command(self) -> list[str]:
        """The words of a command as typed; a script is run by its interpreter."""
        first, *rest = shlex.split(self.script) if self.is_command else [self.script]
        runner = _RUNNERS.get(Path(first).suffix)
        if self.is_command or runner:
            return [*([runner] if runner else []), first, *rest]
        return [f"./{first}"]

    @property
    def is_command(self) -> bool:
        """Whether it has words after the script, as `train.py --epochs 3` and `python train.py` do."""
        return " " in self.script and Path(self.script).suffix not in _RUNNERS

    @property
    def path(self) -> str:
        """The script: the first word of the command that names one."""
        return next((word for word in self.command if Path(word).suffix in _RUNNERS), self.command[0])

    @property
    def name(self) -> str:
        return _name(Path(self.path).stem) or "job"


def init(ctx: Context, script: str | None) -> int:
    """Writes NAME.yaml to the current folder; never replaces a file."""
    answers = _ask_for_answers(ctx) if script is None and ctx.can_ask else _answers(script)
    target = ctx.cwd / f"{answers.name}.yaml"
    if target.exists():
        what = f"{target.name} exists already"
        raise UsageError(what, "it is not replaced", f"gpujob deploy {answers.name} --dry-run")
    text = _text(answers)
    spec.parse(text, target.name)
    _write(target, text)
    ctx.out(target.name)
    if not ctx.path(answers.path).exists():
        ctx.talk(
            f"{answers.path} does not exist yet; set `command` in {target.name} to your training command"
        )
    ctx.talk(f"next: gpujob check {answers.name}, then gpujob deploy {answers.name} --dry-run")
    return 0


def _answers(script: str | None) -> Answers:
    if script is None:
        return Answers(_USUAL[0])
    if not _can_split(script):
        what = f"{script}: a quotation mark is not closed" if script.strip() else "SCRIPT has no word"
        raise UsageError(what, "nothing was written", "gpujob init 'train.py --lr 0.1'")
    return Answers(script.strip())


def _write(target: Path, text: str) -> None:
    """All of it or nothing: a file that is there is not replaced by the next attempt."""
    try:
        write(str(target), text.encode(), 0o666)
    except OSError as error:
        step = f"df -h {shlex.quote(str(target.parent))}"
        raise GpujobError(f"{target.name} cannot be written", error.strerror or "", step) from None


def _ask_for_answers(ctx: Context) -> Answers:
    """Three questions, each with an answer for Enter."""
    usual = next((name for name in _USUAL if (ctx.cwd / name).is_file()), _USUAL[0])
    script = ctx.ask("Script or command that trains:", usual)
    while not _can_split(script):
        ctx.warn("a quotation mark is not closed")
        script = ctx.ask("Script or command that trains:", usual)
    data = ctx.ask("Folder or file with its data:", "")
    while data and not ctx.path(data).exists():
        ctx.warn(f"there is no {data}")
        data = ctx.ask("Folder or file with its data:", "")
    hours = ctx.ask("Stop the run after how many hours:", "")
    while hours and not _hours(hours):
        ctx.warn(f"{hours} is no number above 0")
        hours = ctx.ask("Stop the run after how many hours:", "")
    return Answers(script, data, _hours(hours))


def _can_split(text: str) -> bool:
    try:
        return bool(shlex.split(text))
    except ValueError:
        return False


def _hours(text: str) -> float | None:
    """A number above 0; None for any other text."""
    try:
        value = float(text)
    except ValueError:
        return None
    return value if 0 < value < math.inf else None


def _text(answers: Answers) -> str:
    text = (files.folder("templates") / "job.yaml").read_text("utf-8")
    command = json.dumps(answers.command, ensure_ascii=False)
    text = text.replace("@NAME@", answers.name).replace("@COMMAND@", command)
    if answers.data:
        path = json.dumps(answers.data, ensure_ascii=False)
        text = text.replace(
            "data: {}\n", f"data: {{{_name(Path(answers.data).stem) or 'data'}: {path}}}\n", 1
        )
    if answers.max_hours is not None:
        text = text.replace(
            "# limits:\n#   max_hours: 12 ", f"limits:\n  max_hours: {answers.max_hours:g} ", 1
        )
    return text


def _name(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9_-]+", "-", text).strip("-_")[:40]
