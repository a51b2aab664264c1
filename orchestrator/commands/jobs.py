"""JOB → a job with its data folders: where the file lies, `--set`, `--data`, what is missing."""

from __future__ import annotations

import json
import shlex
from collections.abc import Sequence
from pathlib import Path

import msgspec
from msgspec.structs import replace

from orchestrator import files, process
from orchestrator.commands import environment, trainer_errors, weights
from orchestrator.commands.environment import JobEnvironment
from orchestrator.commands.weights import HOST
from orchestrator.context import Context
from orchestrator.core import events, groups, s3, spec
from orchestrator.core.events import CheckReport
from orchestrator.core.spec import Env, JobFile, JobSpec
from orchestrator.core.text import closest
from orchestrator.errors import UsageError


class Job(msgspec.Struct, frozen=True):
    """A job that may be planned: its file, and where its data and code stand."""

    file: JobFile
    base: Path
    ours: bool
    data: dict[str, Path]
    on_host: dict[str, str]
    in_s3: dict[str, str]
    missing: list[str]
    env: JobEnvironment
    packages: tuple[str, ...] = ()

    @property
    def spec(self) -> JobSpec:
        return self.file.spec

    @property
    def code_folder(self) -> Path | None:
        """None for a trainer of ours whose job names no code."""
        if self.spec.code is not None:
            return self.base / self.spec.code
        return None if self.spec.trainer else self.base

    def with_spec(self, **changes: object) -> Job:
        """With other values of these keys."""
        return replace(self, file=self.file.with_spec(**changes))


def with_nodes(job: Job, target: str) -> Job:
    """With as many nodes as the target has hosts. UsageError where the two do not fit."""
    spec = groups.require_hosts(job.spec, job.file.where("resources", "nodes"), target)
    return job.with_spec(resources=spec.resources)


def load(
    ctx: Context,
    word: str,
    sets: list[str],
    data: list[str],
    name: str | None = None,
    init_from: str | None = None,
) -> Job:
    """Reads and checks a job file; its trainer and the trainer's options too. Looks at no data yet.

    `init_from`: a checkpoint or weights to start with, or a fetched run.
    """
    path, ours = _find(ctx, word)
    sets = [*sets, *(f"data.{item}" for item in data if f"={s3.SCHEME}" in item)]
    data = [item for item in data if f"={s3.SCHEME}" not in item]
    if init_from is not None:
        sets = [*sets, f"config.{weights.INIT}={weights.find(ctx, init_from)}"]
    shown = ctx.short(path)
    file = spec.parse(files.read_text(path, shown), shown, [_pair(item) for item in sets])
    if name:
        file = _named(file, name)
    if init_from is not None:
        weights.require_trainer(file)
    if file.spec.trainer is not None:
        require_trainer(file.spec.trainer, f"{file.where('trainer')}: ")
    checked = _check_config(ctx, file) if file.spec.trainer else CheckReport(findings=())
    options = checked.paths
    file = _paths_as_data(file, options)
    base = ctx.cwd if ours else path.parent
    fixed = {name for name in options if any(item.startswith(f"config.{name}=") for item in sets)}
    folders = _data_folders(ctx, file, base, data, fixed)
    if checkpoints := [name for name in options if name in folders]:
        folders |= weights.resolve(file, folders, checkpoints)
    replaced = {item.partition("=")[0] for item in data}
    on_host = {
        key: value.removeprefix(HOST)
        for key, value in file.spec.data.items()
        if value.startswith(HOST) and key not in replaced
    }
    in_s3 = {k: v for k, v in file.spec.data.items() if v.startswith(s3.SCHEME) and k not in replaced}
    elsewhere = {*on_host, *in_s3}
    missing = [key for key, folder in folders.items() if key not in elsewhere and not folder.exists()]
    needed = {*replaced, *options}
    optional = {key for key in missing if key not in needed} if ours and data else set[str]()
    if 0 < len(optional) < len(folders):
        # Our jobs name all folders that a trainer can use; its checks know which of them are needed.
        file = file.with_spec(data={k: v for k, v in file.spec.data.items() if k not in optional})
        folders = {k: f for k, f in folders.items() if k not in optional}
        missing = [key for key in missing if key not in optional]
    env = JobEnvironment()
    if file.spec.command or file.spec.setup or file.spec.env != Env():
        env = environment.read(ctx, file, base)
    return Job(file, base, ours, folders, on_host, in_s3, missing, env, checked.packages)


def require_data(job: Job) -> None:
    """Three lines that name what is missing; exit 2."""
    if not job.missing:
        return
    if job.ours:
        folders = ", ".join(f"{key} ({job.data[key]})" for key in job.missing)
        usual = all(job.data[key] == job.base / job.spec.data[key] for key in job.missing)
        usual_folders = ", ".join(job.spec.data.values())
        why = f"without --data it looks for {usual_folders} below the current folder" if usual else ""
        step = (
            f"gpujob prepare {job.spec.trainer} --sample sample, then --data sample; --data DIR for your own"
        )
        raise UsageError(f"{job.spec.name} needs its data: no folder {folders}", why, step)
    key = job.missing[0]
    where = job.file.where("data", key)
    raise UsageError(f"{where}: data.{key}: there is no {job.data[key]}", "", f"--data {key}=PATH")


def _find(ctx: Context, word: str) -> tuple[Path, bool]:
    shipped = files.folder("jobs")
    _require_no_script(ctx, word)
    if "/" in word or word.endswith((".yaml", ".yml")):
        path = ctx.path(word)
        if not path.is_file():
            raise UsageError(f"there is no job file {word}", "", "gpujob init SCRIPT, which writes one")
        return path, _same(path, shipped / path.name)
    for path in (ctx.cwd / f"{word}.yaml", ctx.cwd / "jobs" / f"{word}.yaml"):
        if path.is_file():
            return path, _same(path, shipped / path.name)
    if (shipped / f"{word}.yaml").is_file():
        return shipped / f"{word}.yaml", True
    ours = sorted(path.stem for path in shipped.glob("*.yaml"))
    own = [path.stem for folder in (ctx.cwd, ctx.cwd / "jobs") for path in sorted(folder.glob("*.yaml"))]
    close = closest(word, [*own, *ours])
    guess = f"did you mean {close!r}?" if close else f"included jobs: {', '.join(ours)}"
    why = f"neither ./{word}.yaml nor ./jobs/{word}.yaml exists; {guess}"
    scripts = [name for name in (f"{word}.py", f"{word}.sh") if (ctx.cwd / name).is_file()]
    if scripts:
        next_step = f"gpujob init {shlex.quote(scripts[0])}"
    elif close:
        next_step = f"gpujob check {close}"
    else:
        next_step = "gpujob init SCRIPT, which writes a job file"
    raise UsageError(f"there is no job {word!r}", why, next_step)


def _require_no_script(ctx: Context, word: str) -> None:
    path = ctx.path(word)
    if path.suffix not in (".py", ".sh") or not path.is_file():
        return
    job = f"{path.stem}.yaml"
    has_job = (ctx.cwd / job).is_file()
    next_step = f"gpujob deploy {shlex.quote(job)}" if has_job else f"gpujob init {shlex.quote(word)}"
    raise UsageError(f"{word} is a script, not a job file", "a job file names the command to run", next_step)


def _same(one: Path, other: Path) -> bool:
    return other.is_file() and one.samefile(other)


def _pair(item: str) -> tuple[str, str]:
    key, equals, value = item.partition("=")
    if not equals or not key:
        raise UsageError(f"--set {item}: write it as KEY=VALUE", "", "--set config.epochs=3")
    return key, value


def _named(file: JobFile, name: str) -> JobFile:
    if not spec.NAME.match(name):
        raise UsageError(f"--name {name}: letters, digits, - and _, 40 at most")
    return file.with_spec(name=name)


def require_trainer(name: str, where: str = "") -> None:
    """UsageError with a guess for a name that is no trainer of ours."""
    known = files.trainer_names()
    if name not in known:
        close = closest(name, known)
        guess = f"did you mean {close!r}?" if close else f"known: {', '.join(known)}"
        raise UsageError(f"{where}unknown trainer {name!r}", guess)


def require_path(item: str) -> None:
    """UsageError for `NAME=`, whose path would be the current folder."""
    if item.endswith("="):
        why = "a variable of your shell may not be set"
        raise UsageError(f"--data {item}: the path is empty", why, f"--data {item}PATH")


def _data_folders(
    ctx: Context, file: JobFile, base: Path, options: list[str], fixed: set[str]
) -> dict[str, Path]:
    """The path of each data folder. `--data PATH` without a name replaces none that is `fixed`."""
    folders = {name: base / ctx.expand(value.removeprefix(HOST)) for name, value in file.spec.data.items()}
    if options and not folders:
        step = "name it in the job file: data: {NAME: PATH}; the run finds it in $GPUJOB_DATA"
        raise UsageError(f"--data {options[0]}: the job has no data", "", step)
    for item in options:
        name, equals, path = item.partition("=")
        if equals and "/" not in name:
            require_path(item)
            if name not in folders:
                why = f"it has: {', '.join(folders)}"
                raise UsageError(f"--data {item}: the job has no data {name!r}", why)
            folders[name] = ctx.path(path)
        else:
            names = folders.keys() - fixed
            alone = len(names) == 1 and _is_data_itself(ctx.path(item), next(iter(names)))
            folders |= {key: ctx.path(item) if alone else ctx.path(item) / key for key in names}
    return folders


def _is_data_itself(folder: Path, name: str) -> bool:
    """Not the parent of the data `name`."""
    return folder.exists() and not (folder / name).exists()


def _check_config(ctx: Context, file: JobFile) -> CheckReport:
    """The trainer itself says which options it has; the job file says on which line they stand.

    Its report tells the `packages` that it imports, and the options that are `paths`.
    """
    request = {"config": file.spec.config, "data": {}, "tier": "config"}
    lines: list[str] = []
    words, stdin = ["check", file.spec.trainer or ""], json.dumps(request).encode()
    done = process.trainers(ctx.python, words, ctx.env, stdin=stdin, on_line=lines.append)
    checked = events.find_report(lines)
    if checked is None:
        raise trainer_errors.check_failed(ctx, done.err)
    if errors := checked.errors:
        where = (file.where("config", *([error.key] if error.key else [])) for error in errors)
        lines = [f"{at}: {error.message}" for at, error in zip(where, errors, strict=True)]
        raise UsageError(lines[0], "; ".join([errors[0].fix, *lines[1:]]))
    return checked


def _paths_as_data(file: JobFile, options: Sequence[str]) -> JobFile:
    """`config: {teacher: PATH}` is the data folder `teacher`: it is sent and verified as data is."""
    config, data = dict(file.spec.config), dict(file.spec.data)
    lines = dict(file.lines)
    for name in options:
        if not (path := config.pop(name, "")):
            continue
        if name in data:
            where = file.where("config", name)
            raise UsageError(f"{where}: {name} is in config and in data", "", "keep one of the two")
        data[name] = path
        lines["data", name] = lines.get(("config", name), 0)
    return replace(file.with_spec(config=config, data=data), lines=lines)
