"""`gpujob prepare`, `evaluate`, `predict`, `export`: the trainer's own, by a Python that has PyTorch."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from orchestrator import process
from orchestrator.commands import jobs, preflight, verify
from orchestrator.context import Context
from orchestrator.core import hostfacts, interpreters, report
from orchestrator.errors import Exit, GpujobError, NotFound, UsageError
from orchestrator.onhost import host_facts
from orchestrator.targets.local import pythons
from orchestrator.view import findings, results
from orchestrator.view.console import columns, harmless


def prepare(ctx: Context, word: str, words: list[str]) -> int:
    """Passes `words` on (--sample DIR and the like); progress on stderr, what was made on stdout."""
    if word.startswith("-"):
        raise UsageError(f"the trainer comes before {word}", "", "gpujob prepare TRAINER --sample DIR")
    jobs.must_be_trainer(word)
    said = _call(ctx, ["prepare", word, *words])
    for line in said:
        _say(ctx, line, results.line)
        prepared = report.parse(line)
        if prepared and prepared.data and not ctx.json:
            findings.print_report(ctx, prepared, cached=False)
    if not ctx.json:
        ctx.talk(
            f"next: gpujob check {word} --data DIR, gpujob deploy {word} --data DIR (the folder just made)"
        )
    return 0


def list_checks(ctx: Context, trainer: str) -> int:
    """Each check of a trainer: its code, its tier, and what holds where it passes."""
    rows = []
    for line in _call(ctx, ["check", "--list", trainer], _python(ctx, required=False)):
        if "message" in line:
            ctx.warn(line["message"])
        elif ctx.json:
            ctx.answer(line)
        else:
            rows.append([line["code"], line["tier"], line["line"]])
    for text in columns(rows):
        ctx.out(harmless(text))
    return 0


def evaluate(ctx: Context, place: str, data: list[str], split: str) -> int:
    """The checkpoint on data of the user's: one JSON object, or a table of it."""
    folder = _checkpoint(ctx, place)
    if not data:
        raise UsageError("evaluate needs data", "", f"gpujob evaluate {place} --data NAME=PATH")
    words = ["evaluate", folder, *[word for item in data for word in ("--data", _absolute(ctx, item))]]
    for line in _call(ctx, [*words, "--split", split]):
        if "warning" in line:
            ctx.warn(f"warning: {line['warning']}")
        _say(ctx, line, results.evaluation)
    return 0


def predict(ctx: Context, place: str, files: list[str]) -> int:
    """One line a file; 1 when a file could not be used."""
    folder, bad = _checkpoint(ctx, place), 0
    absent = [file for file in files if not ctx.path(file).exists()]
    if absent:
        raise NotFound(f"there is no file {absent[0]}", "; ".join(absent[1:4]))
    for line in _call(ctx, ["predict", folder, *[str(ctx.path(f)) for f in files]], may_fail=True):
        bad += "error" in line
        _say(ctx, line, results.prediction)
    return 1 if bad else 0


def export(ctx: Context, place: str, to: str | None) -> int:
    """The program, and beside it what an application must know; says where they are."""
    folder = _checkpoint(ctx, place)
    manifest = verify.require_intact(Path(folder))
    target = str(ctx.path(to or f"exported/{manifest.trainer}-{manifest.step}"))
    for line in _call(ctx, ["export", folder, "--to", target]):
        _say(ctx, line, lambda told: results.exported(told, ctx.short))
    return 0


def _checkpoint(ctx: Context, place: str) -> str:
    """A verified checkpoint: the folder itself, or the best of the fetched run in it."""
    folder = verify.resolve(ctx.path(place))
    if not (folder / verify.MANIFEST).is_file():
        raise NotFound(f"{place} is no checkpoint", "there is no manifest.json in it", "gpujob fetch")
    verify.require_intact(folder)
    return str(folder)


def _say(ctx: Context, line: dict[str, Any], shown: Callable[[dict[str, Any]], str]) -> None:
    """An answer of the trainers', as JSON or for a person."""
    if ctx.json:
        ctx.answer(line)
    else:
        ctx.out(shown(line))


def _absolute(ctx: Context, item: str) -> str:
    """NAME=PATH; or a PATH alone, in which the trainer finds its folders by their names."""
    name, equals, path = item.partition("=")
    return f"{name}={ctx.path(path)}" if equals else str(ctx.path(item))


def _call(
    ctx: Context, words: list[str], python: str | None = None, may_fail: bool = False
) -> list[dict[str, Any]]:
    """The JSON lines that the trainer printed, progress apart."""
    found: list[dict[str, Any]] = []
    verb, progress = words[0], findings.Progress(ctx)
    with progress:
        words = ["-C", str(ctx.cwd), *words]
        done = process.trainers(python or _python(ctx), words, ctx.env, on_line=_taker(found, progress))
    if done.code and not (may_fail and found):
        why = jobs.last_line(done.err)
        if done.code == Exit.USAGE:
            raise UsageError(why, "", f"gpujob {verb} --help")
        if done.code == preflight.NO_USABLE_DATA:
            raise GpujobError(f"the data gives nothing to {verb}", why)
        raise GpujobError(f"{verb} failed: {why}", _why(done.code), "gpujob doctor")
    return found


def _taker(found: list[dict[str, Any]], progress: findings.Progress) -> Callable[[str], None]:
    def take(line: str) -> None:
        progress.line(line)
        try:
            value = json.loads(line)
        except ValueError:
            value = {"message": line}
        if isinstance(value, dict) and value.get("event") != "progress":
            found.append(value)

    return take


def _python(ctx: Context, required: bool = True) -> str:
    """A Python that has PyTorch; without one the client's own, unless it is required."""
    for word in pythons(ctx):
        answer = host_facts.python_facts(word)
        if answer and interpreters.has_torch(python := hostfacts.parse_python(answer)):
            return python.path
    if not required:
        return ctx.python
    raise GpujobError(
        "no Python on this machine has PyTorch", "the trainers need it", "pip install torch numpy safetensors"
    )


def _why(code: int) -> str:
    return f"killed by signal {-code if code < 0 else code - 128}" if code < 0 or code > 128 else ""
