"""`python -m trainers`: docs/contract.md says what each command takes, prints and exits with."""

import argparse
import json
import sys
import tempfile
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from trainers import preflight, registry
from trainers.engine import sources
from trainers.engine.events import VERSION, Events, complain, jsonable, say
from trainers.engine.health import DataUnusable

FAILED, USAGE, REFUSED, NO_DATA = 1, 2, 64, 65


def parser() -> argparse.ArgumentParser:
    """The command line."""
    top = argparse.ArgumentParser(prog="python -m trainers", description=__doc__)
    top.add_argument(
        "-C", dest="base", type=Path, default=Path(), metavar="DIR", help="what paths are relative to"
    )
    verbs = top.add_subparsers(dest="verb", required=True)
    verbs.add_parser("list", help="the trainers, one JSON object a line")
    verbs.add_parser("check", help="check the request on stdin").add_argument("name")
    verbs.add_parser("train", help="train in $GPUJOB_RUN_DIR").add_argument("name")
    prepare = verbs.add_parser(
        "prepare", help="write sample data, or make data of what the trainer names", allow_abbrev=False
    )
    prepare.add_argument("name")
    prepare.add_argument("--sample", type=Path, metavar="DIR")
    prepare.add_argument("--seed", type=int, default=0)
    prepare.add_argument("--size", "--videos", type=int, help="samples, about; each trainer has its own")
    prepare.add_argument("--from", dest="sources", action="append", default=[], metavar="NAME=PATH")
    prepare.add_argument("--to", type=Path, metavar="DIR", help="where what is made of sources is written")
    prepare.add_argument("--data", action="append", default=[], metavar="[NAME=]PATH")
    prepare.add_argument("--work", type=Path, default=Path())
    evaluate = verbs.add_parser("evaluate", help="metrics of a checkpoint")
    evaluate.add_argument("checkpoint", type=Path)
    evaluate.add_argument("--data", action="append", default=[], metavar="[NAME=]PATH")
    evaluate.add_argument("--split", default="test", choices=("train", "val", "test", "all"))
    predict = verbs.add_parser("predict", help="answers for files")
    predict.add_argument("checkpoint", type=Path)
    predict.add_argument("files", type=Path, nargs="+", metavar="FILE")
    export = verbs.add_parser("export", help="a program of torch.export, and what an application must know")
    export.add_argument("checkpoint", type=Path)
    export.add_argument("--to", type=Path, required=True, metavar="FILE-OR-DIR")
    verbs.add_parser("verify", help="load a checkpoint strictly").add_argument("checkpoint", type=Path)
    return top


def _json(value: Any) -> None:
    say(json.dumps(jsonable(value), ensure_ascii=False))


def _folders(asked: argparse.Namespace, trainer: str) -> dict[str, str]:
    """Data name to folder. Raises BadSource, which names what the trainer wants."""
    described = registry.describe(trainer)
    folders = sources.folders(described.data, asked.data, asked.base)
    for finding in preflight.check_folders(described, folders, exist=True):
        raise sources.BadSource(f"--data: {finding.message}; {finding.fix}")
    return folders


def _place(asked: argparse.Namespace) -> None:
    """Every path as it is from here."""
    for name, value in vars(asked).items():
        if isinstance(value, Path) and name != "base":
            setattr(asked, name, asked.base / value)
    asked.files = [asked.base / file for file in getattr(asked, "files", ())]


def _list(asked: argparse.Namespace) -> int:
    for entry in registry.listing():
        _json(entry)
    return 0


def _check(asked: argparse.Namespace) -> int:
    try:
        request = preflight.Request.parse(json.load(sys.stdin))
    except (ValueError, preflight.BadRequest) as fault:
        complain(f"the request on stdin cannot be read: {fault}")
        return USAGE
    report, code = preflight.check(asked.name, request, Events(None))
    _json(report)
    return code


def _train(asked: argparse.Namespace) -> int:
    from trainers import run  # noqa: PLC0415 - imports torch
    from trainers.engine import workers  # noqa: PLC0415

    registry.describe(asked.name)
    try:
        return run.train(asked.name)
    except BaseException:
        traceback.print_exc()
        workers.end_at_once(FAILED)


def _prepare(asked: argparse.Namespace) -> int:
    described = registry.describe(asked.name)
    declared = described.sources
    given = sources.read(declared, asked.sources, asked.words, asked.base)
    if asked.sample is not None:
        if given:
            raise sources.BadSource(f"--sample and --{next(iter(given))} exclude each other")
        writer = registry.require_part(asked.name, "sample")
        written = writer.write(asked.sample.absolute(), asked.size or writer.SIZE, asked.seed, Events(None))
        _json({"v": VERSION, "event": "prepared", **written})
        return 0
    if given:
        to = (asked.to or asked.base / f"{asked.name}-data").absolute()
        made = registry.require_part(asked.name, "prepare").run(given, to, asked.seed, Events(None))
        _json({"v": VERSION, "event": "prepared", **made})
        return 0
    if not asked.data:
        raise sources.BadSource(f"prepare {asked.name} wants to know of what: {sources.listed(declared)}")
    request = preflight.Request({}, _folders(asked, asked.name), "full", asked.work)
    report, code = preflight.prepare(asked.name, request, Events(None))
    _json(report)
    return code


def _evaluate(asked: argparse.Namespace) -> int:
    saved, trainer = _open(asked.checkpoint)
    folders = {name: Path(path) for name, path in _folders(asked, saved.manifest["trainer"]).items()}
    with tempfile.TemporaryDirectory(prefix="gpujob-evaluate-") as work:
        report = trainer.evaluate(saved, folders, asked.split, Path(work))
    if "warning" in report:
        complain(f"warning: {report['warning']}")
    _json(report)
    return 0


def _predict(asked: argparse.Namespace) -> int:
    _, trainer = _open(asked.checkpoint)
    failed = False
    for answer in trainer.predict(asked.files):
        failed = failed or "error" in answer
        _json(answer)
    return FAILED if failed else 0


def _export(asked: argparse.Namespace) -> int:
    from trainers.engine import export  # noqa: PLC0415 - imports torch

    saved, trainer = _open(asked.checkpoint)
    name, step = saved.manifest["trainer"], saved.manifest["step"]
    try:
        files = export.write(saved, trainer.exportable(saved), asked.to.absolute())
    except export.NoExport as fault:
        complain(str(fault))
        return USAGE
    _json({"checkpoint": str(saved.path), "trainer": name, "step": step, **files})
    return 0


def _verify(asked: argparse.Namespace) -> int:
    saved, trainer = _open(asked.checkpoint)
    saved.trainer_state()
    names = ("trainer", "step", "epoch", "metrics", "code_tree", "data", "parent", "created")
    parameters = sum(p.numel() for p in trainer.network.parameters())
    facts = {name: saved.manifest[name] for name in names}
    classes = list(trainer.classes)
    _json({"checkpoint": str(saved.path), **facts, "parameters": parameters, "classes": classes})
    return 0


def _open(path: Path) -> tuple[Any, Any]:
    """A checkpoint and its restored trainer. `last` and `best` name one in the same folder."""
    from trainers.engine import checkpoint  # noqa: PLC0415 - imports torch

    if path.is_file():
        path = path.parent / path.read_text().strip()
    saved = checkpoint.read(path)
    return saved, registry.trainer(saved.manifest["trainer"]).restore(saved)


def main(words: Sequence[str] | None = None) -> int:
    """Run one command; the exit code."""
    top = parser()
    asked, more = top.parse_known_args(words)
    asked.words = more
    _place(asked)
    if more and asked.verb != "prepare":
        top.error(f"unrecognized arguments: {' '.join(more)}")
    verbs = {
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
        return verbs[asked.verb](asked)
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
