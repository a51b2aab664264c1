"""`python -m trainers`: the commands of the trainers. docs/contract.md lists output and exit codes."""

import argparse
import gc
import importlib
import json
import os
import sys
import tempfile
import traceback
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from trainers import preflight, registry
from trainers.engine import sources
from trainers.engine.check import FULL
from trainers.engine.events import VERSION, Events, complain, jsonable, say
from trainers.engine.health import DataUnusable

FAILED, USAGE, REFUSED, NO_DATA = 1, 2, 64, 65
OPTIMIZERS = ("torch._dynamo",)  # which the first optimizer imports


def parser() -> argparse.ArgumentParser:
    """Build the argument parser of `python -m trainers`."""
    top = argparse.ArgumentParser(prog="python -m trainers", description=__doc__)
    top.add_argument(
        "-C", dest="base", type=Path, default=Path(), metavar="DIR", help="folder that paths are relative to"
    )
    commands = top.add_subparsers(dest="command", required=True)
    commands.add_parser("list", help="print the trainers, one JSON object a line")
    check = commands.add_parser("check", help="check the request on stdin")
    check.add_argument("name")
    check.add_argument("--list", action="store_true", help="print code, tier and meaning of each check")
    commands.add_parser("train", help="train in $GPUJOB_RUN_DIR").add_argument("name")
    prepare = commands.add_parser(
        "prepare", help="write sample data, or convert sources to data", allow_abbrev=False
    )
    prepare.add_argument("name")
    prepare.add_argument("--sample", type=Path, metavar="DIR")
    prepare.add_argument("--seed", type=int, default=0)
    prepare.add_argument(
        "--size", "--videos", type=int, help="number of samples, about (default: the trainer's own)"
    )
    prepare.add_argument("--from", dest="sources", action="append", default=[], metavar="NAME=PATH")
    prepare.add_argument(
        "--to", type=Path, metavar="DIR", help="folder for data made of sources (default: NAME-data)"
    )
    prepare.add_argument(
        "--augment",
        type=int,
        metavar="N",
        help="add changed copies of training pictures until each class has N faces (default: none)",
    )
    prepare.add_argument("--data", action="append", default=[], metavar="[NAME=]PATH")
    prepare.add_argument("--work", type=Path, default=Path())
    evaluate = commands.add_parser("evaluate", help="print metrics of a checkpoint")
    evaluate.add_argument("checkpoint", type=Path)
    evaluate.add_argument("--data", action="append", default=[], metavar="[NAME=]PATH")
    evaluate.add_argument("--split", default="test", choices=("train", "val", "test", "all"))
    evaluate.add_argument("--plots", type=Path, metavar="DIR", help="folder for figures (SVG)")
    evaluate.add_argument(
        "--pictures", type=Path, metavar="DIR", help="folder of the pictures of the samples"
    )
    predict = commands.add_parser("predict", help="print a checkpoint's answers to files")
    predict.add_argument("checkpoint", type=Path)
    predict.add_argument("files", type=Path, nargs="+", metavar="FILE")
    export = commands.add_parser("export", help="write a torch.export program and its description")
    export.add_argument("checkpoint", type=Path)
    export.add_argument("--to", type=Path, required=True, metavar="FILE-OR-DIR")
    commands.add_parser("verify", help="load a checkpoint strictly and describe it").add_argument(
        "checkpoint", type=Path
    )
    return top


def _json(value: Any) -> None:
    say(json.dumps(jsonable(value), ensure_ascii=False))


def _folders(arguments: argparse.Namespace, trainer: str) -> dict[str, str]:
    """The folder of each data name in `--data`. Raises BadSource for an unknown name or a missing folder."""
    described = registry.describe(trainer)
    folders = sources.folders(described.data, arguments.data, arguments.base)
    for finding in preflight.check_folders(described, folders, exist=True):
        raise sources.BadSource(f"--data: {finding.message}; {finding.fix}")
    return folders


def _resolve_paths(arguments: argparse.Namespace) -> None:
    """Join every path argument to the folder given with -C."""
    for name, value in vars(arguments).items():
        if isinstance(value, Path) and name != "base":
            setattr(arguments, name, arguments.base / value)
    arguments.files = [arguments.base / file for file in getattr(arguments, "files", ())]


def _list(arguments: argparse.Namespace) -> int:
    for entry in registry.listing():
        _json(entry)
    return 0


def _check(arguments: argparse.Namespace) -> int:
    if arguments.list:
        return _list_checks(arguments.name)
    try:
        request = preflight.Request.parse(json.load(sys.stdin))
    except (ValueError, preflight.BadRequest) as fault:
        complain(f"the request on stdin cannot be read: {fault}")
        return USAGE
    if request.tier == FULL:
        _import_torch(*OPTIMIZERS)
    report, code = preflight.check(arguments.name, request, Events(None))
    _json(report)
    return code


def _list_checks(name: str) -> int:
    """Print the trainer's checks; those of the tier `full` are left out if PyTorch is not installed."""
    checks = registry.file_checks(name)
    if find_spec("torch") and find_spec("numpy"):
        checks = registry.checks(name)
    else:
        say("PyTorch is not installed: the checks of the tier `full` are not listed")
    for check in checks:
        _json({"code": check.code, "tier": check.tier, "line": check.line})
    return 0


def _import_torch(*more: str) -> None:
    """Import PyTorch, where it is installed, and further modules with the garbage collector off.

    The collector would go through the objects of these modules again and again, a fifth of the time that
    their import takes; they are never freed, so it leaves them out from then on.
    """
    if find_spec("torch") is None:
        return
    gc.disable()
    try:
        for name in ("torch", *more):
            importlib.import_module(name)
    finally:
        gc.freeze()
        gc.enable()


def _train(arguments: argparse.Namespace) -> int:
    _import_torch(*OPTIMIZERS)
    from trainers import run  # noqa: PLC0415 - imports torch
    from trainers.engine import workers  # noqa: PLC0415

    registry.describe(arguments.name)
    try:
        return run.train(arguments.name)
    except BaseException:
        traceback.print_exc()
        workers.end_at_once(FAILED)


def _prepare(arguments: argparse.Namespace) -> int:
    described = registry.describe(arguments.name)
    declared = described.sources
    paths = sources.read(declared, arguments.sources, arguments.words, arguments.base)
    if arguments.sample is not None:
        if paths:
            raise sources.BadSource(f"--sample and --{next(iter(paths))} exclude each other")
        writer = registry.require_part(arguments.name, "sample")
        written = writer.write(
            arguments.sample.absolute(), arguments.size or writer.SIZE, arguments.seed, Events(None)
        )
        _json({"v": VERSION, "event": "prepared", **written})
        return 0
    if paths:
        to = (arguments.to or arguments.base / f"{arguments.name}-data").absolute()
        module, more = registry.require_part(arguments.name, "prepare"), {}
        if arguments.augment is not None:
            if "augment" not in getattr(module, "OPTIONS", ()) or arguments.augment < 1:
                raise sources.BadSource(f"prepare {arguments.name} takes no --augment {arguments.augment}")
            more = {"augment": arguments.augment}
        made = module.run(paths, to, arguments.seed, Events(None), **more)
        _json({"v": VERSION, "event": "prepared", **made})
        return 0
    if not arguments.data:
        raise sources.BadSource(f"prepare {arguments.name}: no input is given: {sources.listed(declared)}")
    request = preflight.Request({}, _folders(arguments, arguments.name), "full", arguments.work)
    report, code = preflight.prepare(arguments.name, request, Events(None))
    _json(report)
    return code


def _evaluate(arguments: argparse.Namespace) -> int:
    from trainers.engine import contact_sheet, plots  # noqa: PLC0415 - imports numpy

    if arguments.pictures is not None and (arguments.plots is None or not arguments.pictures.is_dir()):
        raise sources.BadSource(f"--pictures {arguments.pictures} must be a folder, and needs --plots DIR")
    if arguments.plots is not None:
        plots.require()
    saved, trainer = _open(arguments.checkpoint)
    folders = {name: Path(path) for name, path in _folders(arguments, saved.manifest["trainer"]).items()}
    with tempfile.TemporaryDirectory(prefix="gpujob-evaluate-") as work:
        report = trainer.evaluate(saved, folders, arguments.split, Path(work))
    if arguments.plots is not None:
        columns = trainer.columns(trainer.evaluated)
        run = saved.path.parent.parent
        wrong = contact_sheet.cells(trainer, report, arguments.pictures)
        report = {**report, "plots": plots.write(arguments.plots.absolute(), report, run, columns, wrong)}
    if "warning" in report:
        complain(f"warning: {report['warning']}")
    _json(report)
    return 0


def _predict(arguments: argparse.Namespace) -> int:
    _, trainer = _open(arguments.checkpoint)
    failed = False
    for answer in trainer.predict(arguments.files):
        failed = failed or "error" in answer
        _json(answer)
    return FAILED if failed else 0


def _export(arguments: argparse.Namespace) -> int:
    saved, trainer = _open(arguments.checkpoint)
    from trainers.engine import export  # noqa: PLC0415 - imports torch, as `_open` does

    name, step = saved.manifest["trainer"], saved.manifest["step"]
    try:
        files = export.write(saved, trainer.exportable(saved), arguments.to.absolute())
    except export.NoExport as fault:
        complain(str(fault))
        return USAGE
    _json({"checkpoint": str(saved.path), "trainer": name, "step": step, **files})
    return 0


def _verify(arguments: argparse.Namespace) -> int:
    saved, trainer = _open(arguments.checkpoint)
    saved.trainer_state()
    names = ("trainer", "step", "epoch", "metrics", "code_tree", "data", "parent", "created")
    parameters = sum(p.numel() for p in trainer.network.parameters())
    facts = {name: saved.manifest[name] for name in names}
    classes = list(trainer.classes)
    _json({"checkpoint": str(saved.path), **facts, "parameters": parameters, "classes": classes})
    return 0


def _open(path: Path) -> tuple[Any, Any]:
    """Load a checkpoint and restore its trainer. `path` may also be the file `last` or `best`."""
    _import_torch()
    from trainers.engine import checkpoint  # noqa: PLC0415 - imports torch

    if path.is_file():
        path = checkpoint.find(path)
    saved = checkpoint.read(path)
    return saved, registry.trainer(saved.manifest.get("trainer", "")).restore(saved)


def main(words: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # before torch: spinning threads stop other programs
    top = parser()
    arguments, rest = top.parse_known_args(words)
    arguments.words = rest
    _resolve_paths(arguments)
    if rest and arguments.command != "prepare":
        top.error(f"unrecognized arguments: {' '.join(rest)}")
    commands = {
        "list": _list,
        "check": _check,
        "train": _train,
        "prepare": _prepare,
        "evaluate": _evaluate,
        "predict": _predict,
        "export": _export,
        "verify": _verify,
    }
    try:
        return commands[arguments.command](arguments)
    except (registry.Unknown, sources.BadSource) as fault:
        complain(str(fault))
        return USAGE
    except DataUnusable as fault:
        complain(str(fault))
        return NO_DATA
    except Exception as fault:
        if type(fault).__name__ != "Damaged":
            raise
        complain(f"the checkpoint cannot be used: {fault}")
        return FAILED


if __name__ == "__main__":
    sys.exit(main())
