"""`gpujob export-metrics` and `gpujob tensorboard`: metrics as CSV or as event files of TensorBoard."""

from __future__ import annotations

import csv
import io
import math
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from orchestrator import files
from orchestrator.commands import collect
from orchestrator.commands.collect import RunData
from orchestrator.context import Context
from orchestrator.core import curves
from orchestrator.core.text import counted
from orchestrator.core.values import iso
from orchestrator.errors import Exit, GpujobError
from orchestrator.view import compare_answers as answers

COLUMNS = ("time", "step", "split", "name", "value")
_SUFFIX = ".gpujob"


class Value(NamedTuple):
    """One number that a run recorded; `t` in seconds since 1970, None for a line of a log."""

    t: float | None
    step: int
    split: str
    name: str
    value: float


def export(ctx: Context, word: str, on: str | None, kind: str, out: str | None) -> int:
    """`kind`: csv or tensorboard. Every value is exported as it was recorded, in the order of the events."""
    exports: list[answers.ExportedRun] = []
    if kind == "tensorboard":
        _require_tensorboard("export-metrics")
    base = ctx.path(out) if out else None

    def use(data: RunData) -> None:
        if kind == "csv":
            path = base or ctx.cwd
            exports.append(_write_csv(ctx, data, path / f"{data.id}.csv" if path.is_dir() else path))
        else:
            exports.append(_write_events(data, base or ctx.cwd / "tensorboard" / data.id))

    collect.visit(ctx, [word], on, use)
    return _report(ctx, exports)


def tensorboard(ctx: Context, words: Sequence[str], on: str | None, to: str | None, port: int) -> int:
    """Writes event files below ./tensorboard or the folder `to`, and replaces itself by TensorBoard."""
    _require_tensorboard("tensorboard")
    folder = ctx.path(to or "tensorboard")
    exports: list[answers.ExportedRun] = []
    collect.visit(
        ctx, words or [None], on, lambda data: exports.append(_write_events(data, folder / data.id))
    )
    code = _report(ctx, exports)
    if ctx.json:
        return code
    line = [ctx.python, "-m", "tensorboard.main", "--logdir", str(folder), "--port", str(port)]
    ctx.talk(f"TensorBoard: http://localhost:{port}/ (Ctrl-C ends it)")
    os.execvpe(line[0], line, dict(ctx.env))
    return code


def values(data: RunData) -> Iterator[Value]:
    """Each number of the progress of a training and of its metrics."""
    axis = curves.Axis()
    for line in collect.lines(data.events()):
        for row in curves.rows(line):
            step = axis.step_of(row)
            last = int(step) if step is not None and math.isfinite(step) else 0
            for split, name, value in curves.numbers(row):
                yield Value(row.t or None, last, split, name, value)


def _write_csv(ctx: Context, data: RunData, path: Path) -> answers.ExportedRun:
    text, count = io.StringIO(), 0
    writer = csv.writer(text)
    writer.writerow(COLUMNS)
    for value in values(data):
        writer.writerow([iso(value.t) or "", value.step, _cell(value.split), _cell(value.name), value.value])
        count += 1
    content = text.getvalue().encode("utf-8", errors="replace")
    next_step = f"gpujob export-metrics {data.id} --to csv --out FILE.csv"
    files.write_result(path, content, ctx.short(path), next_step)
    return answers.ExportedRun(run=data.id, path=str(path), values=count)


def _cell(text: str) -> str:
    """A name that a spreadsheet would take for a formula is made a text."""
    return f"'{text}" if text.startswith(("=", "+", "-", "@", "\t", "\r")) else text


def _write_events(data: RunData, folder: Path) -> answers.ExportedRun:
    """With TensorBoard's own writer. Files of an earlier export are replaced."""
    from tensorboard.compat.proto.event_pb2 import Event  # noqa: PLC0415
    from tensorboard.compat.proto.summary_pb2 import Summary  # noqa: PLC0415
    from tensorboard.summary.writer.event_file_writer import EventFileWriter  # noqa: PLC0415

    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.glob(f"events.out.tfevents.*{_SUFFIX}"):
        old.unlink()
    began = data.facts.created or 0.0  # stands for the times of lines of a log
    writer, count = EventFileWriter(str(folder), filename_suffix=_SUFFIX), 0
    for value in values(data):
        summary = Summary(value=[Summary.Value(tag=f"{value.split}/{value.name}", simple_value=value.value)])
        t = began if value.t is None else value.t
        writer.add_event(Event(wall_time=t, step=value.step, summary=summary))
        count += 1
    writer.close()
    return answers.ExportedRun(run=data.id, path=str(folder), values=count)


def _require_tensorboard(command: str) -> None:
    """GpujobError that names the extra where TensorBoard is not installed."""
    try:
        import tensorboard.summary.writer.event_file_writer  # noqa: F401, PLC0415
    except ImportError:
        what, why = f"gpujob {command} needs TensorBoard", "the extra `tensorboard` is not installed"
        raise GpujobError(what, why, "python -m pip install 'tensorboard>=2.16'") from None


def _report(ctx: Context, exports: Sequence[answers.ExportedRun]) -> int:
    if ctx.json:
        ctx.answer(answers.Exported(runs=tuple(exports)))
        return Exit.DONE
    for one in exports:
        ctx.out(ctx.short(Path(one.path)))
        note = "" if one.values else "; neither its events.jsonl nor its log has progress or metrics"
        ctx.talk(f"{one.run}: {counted(one.values, 'value')}{note}")
    return Exit.DONE
