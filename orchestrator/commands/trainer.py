"""`gpujob prepare`, `evaluate`, `predict`, `export`: run by the trainer, with a Python that has PyTorch."""

from __future__ import annotations

from contextlib import nullcontext
from itertools import zip_longest
from pathlib import Path
from typing import Any

import msgspec

from orchestrator import files, process
from orchestrator.commands import execute, jobs, trainer_errors, verify
from orchestrator.context import Context
from orchestrator.core import decode, events, hostchecks, hostfacts, jsontext, shell
from orchestrator.core.results import Check, Evaluation, Export, Prediction
from orchestrator.core.text import meaning
from orchestrator.errors import Exit, GpujobError, NotFound, UsageError
from orchestrator.onhost import host_facts
from orchestrator.targets.local import pythons
from orchestrator.view import plans, results
from orchestrator.view.console import harmless, print_table

Line = dict[str, Any]
"""JSON of a trainer, which --json prints as it is."""


def prepare(ctx: Context, word: str, words: list[str]) -> int:
    """Passes `words` on (--sample DIR and the like); progress on stderr, the result on stdout."""
    if word.startswith("-"):
        raise UsageError(f"the trainer comes before {word}", "", "gpujob prepare TRAINER --sample DIR")
    jobs.require_trainer(word)
    with files.ignored_by_git(_prepared(ctx, word, words)):
        lines = _call(ctx, ["prepare", word, *words])
    for line in lines:
        _print(ctx, line, results.prepared(line))
        prepared = events.parse_report(line)
        if prepared and prepared.data and not ctx.json:
            plans.print_report(ctx, prepared, cached=False)
    if not ctx.json:
        folder = shell.join([ctx.short(_prepared(ctx, word, words))])
        ctx.talk(f"next:\n  gpujob check {word} --data {folder}\n  gpujob deploy {word} --data {folder}")
    return 0


def list_checks(ctx: Context, trainer: str) -> int:
    """Each check of a trainer: its code, its tier, and what holds where it passes."""
    rows = []
    for line in _call(ctx, ["check", "--list", trainer], _python(ctx, required=False)):
        if "message" in line:
            ctx.warn(str(line["message"]))
        elif ctx.json:
            ctx.answer(_complete(line, Check))
        elif check := decode.struct(line, Check):
            rows.append([check.code, check.tier, check.line])
    print_table(ctx, [[harmless(cell) for cell in row] for row in rows])
    return 0


def evaluate(
    ctx: Context,
    checkpoint: str,
    data: list[str],
    split: str,
    plots: str | None = None,
    pictures: str | None = None,
) -> int:
    """The checkpoint on the user's data: one JSON object, or tables; figures in the folder `plots`, with the
    wrong answers' `pictures`."""
    folder = _checkpoint(ctx, checkpoint)
    if not data:
        raise UsageError("evaluate needs data", "", f"gpujob evaluate {checkpoint} --data NAME=PATH")
    for item in data:
        jobs.require_path(item)
    words = ["evaluate", folder, *[word for item in data for word in ("--data", _absolute(ctx, item))]]
    words += ["--split", split, *(["--plots", str(ctx.path(plots))] if plots else [])]
    words += ["--pictures", str(ctx.path(pictures))] if pictures else []
    with files.ignored_by_git(ctx.path(plots)) if plots else nullcontext():
        if plots:
            files.make_folder(ctx.path(plots), "--plots names another folder")
        lines = _call(ctx, words)
    for line in lines:
        result = decode.struct(line, Evaluation) or Evaluation()
        if result.warning:
            ctx.warn(f"warning: {result.warning}")
        _print(ctx, _complete(line, Evaluation), results.evaluation(ctx, result))
    return 0


def predict(ctx: Context, word: str, inputs: list[str]) -> int:
    """One line a file; 1 when a file could not be used."""
    folder, failures = _checkpoint(ctx, word), 0
    absent = [file for file in inputs if not ctx.path(file).exists()]
    if absent:
        raise NotFound(f"there is no file {absent[0]}", "; ".join(absent[1:4]), "gpujob predict --help")
    for line in _call(ctx, ["predict", folder, *[str(ctx.path(file)) for file in inputs]], may_fail=True):
        result = decode.struct(line, Prediction) or Prediction()
        failures += result.error is not None
        _print(ctx, _complete(line, Prediction), results.prediction(result))
    return 1 if failures else 0


def export(ctx: Context, word: str, to: str | None) -> int:
    """The program and a file that describes its preprocessing; prints where they are."""
    folder = _checkpoint(ctx, word)
    manifest = verify.require_intact(Path(folder))
    target = str(ctx.path(to or f"exported/{manifest.trainer}-{manifest.step}"))
    with files.ignored_by_git(Path(target)):
        lines = _call(ctx, ["export", folder, "--to", target])
    for line in lines:
        result = decode.struct(line, Export)
        text = results.exported(result, ctx.short) if result else results.prepared(line)
        _print(ctx, _complete(line, Export) if result else line, text)
    return 0


def _prepared(ctx: Context, trainer: str, words: list[str]) -> Path:
    """The folder that the words for `python -m trainers prepare` name."""
    for option in ("--sample", "--to"):
        for word, value in zip_longest(words, words[1:]):
            if word == option and value:
                return ctx.path(value)
            if word.startswith(f"{option}="):
                return ctx.path(word.partition("=")[2])
    return ctx.path(f"{trainer}-data")


def _complete(line: Line, kind: type[msgspec.Struct]) -> Line:
    """With every key that the schema of this answer has; those that the trainer left out are null."""
    known = {field.encode_name: None for field in msgspec.structs.fields(kind)}
    return {**known, **line}


def _checkpoint(ctx: Context, word: str) -> str:
    """A verified checkpoint: the folder itself, or the best of the fetched run in it."""
    folder = verify.resolve(ctx.path(word))
    if not (folder / verify.MANIFEST).is_file():
        raise verify.not_a_checkpoint(word, ctx.path(word))
    verify.require_intact(folder)
    return str(folder)


def _print(ctx: Context, line: Line, text: str) -> None:
    """A line of the trainer: as JSON, or as `text`."""
    if ctx.json:
        ctx.answer(line)
    else:
        ctx.out(text)


def _absolute(ctx: Context, item: str) -> str:
    """NAME=PATH; or a PATH alone, in which the trainer finds its folders by their names."""
    name, equals, path = item.partition("=")
    return f"{name}={ctx.path(path)}" if equals else str(ctx.path(item))


def _call(ctx: Context, words: list[str], python: str | None = None, may_fail: bool = False) -> list[Line]:
    """The JSON lines that the trainer printed, without its progress."""
    command, words = words[0], ["-C", str(ctx.cwd), *words]
    with plans.Progress(ctx) as progress:
        done = process.trainers(python or _python(ctx), words, ctx.env, on_line=progress.line)
    values = [_parsed(text) for text in progress.lines]
    lines = [one for one in values if isinstance(one, dict) and one.get("event") != "progress"]
    if done.code and not (may_fail and lines):
        why = trainer_errors.reason(done.err)
        if done.code == Exit.USAGE:
            raise UsageError(why, "", f"gpujob {command} --help")
        if done.code == execute.NO_USABLE_DATA:
            raise GpujobError(f"{command} can use none of the data", why)
        step = trainer_errors.next_step(ctx, done.err)
        raise GpujobError(f"{command} failed: {why}", meaning(done.code), step)
    return lines


def _parsed(text: str) -> Any:
    """A line of the trainer; one that is no JSON is its message."""
    try:
        return jsontext.parse(text)
    except jsontext.BadJson:
        return {"message": text}


def _python(ctx: Context, required: bool = True) -> str:
    """A Python that has PyTorch; without one the client's own, unless it is required."""
    for word in pythons(ctx):
        answer = host_facts.python_facts(word)
        if answer and hostchecks.has_torch(python := hostfacts.parse_python(answer)):
            return python.path
    if not required:
        return ctx.python
    raise GpujobError(
        "no Python on this machine has PyTorch", "the trainers need it", "pip install torch numpy safetensors"
    )
