"""The command `train`: trains as the environment variables of docs/contract.md say."""

import json
import os
import signal
import textwrap
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trainers import preflight, registry
from trainers.engine import config as options
from trainers.engine import distributed, health
from trainers.engine.checkpoint import Damaged
from trainers.engine.distributed import Group
from trainers.engine.events import Events, Silent, complain, say
from trainers.engine.health import DataUnusable, Finding
from trainers.engine.loop import Diverged, TrainingLoop
from trainers.engine.resume import Refused
from trainers.engine.state import Outcome
from trainers.engine.trainer import Trainer

DONE, REFUSED, NO_DATA, DIVERGED, STOPPED = 0, 64, 65, 66, 75


class NotARun(Exception):
    """A required variable is missing, or one is not valid JSON."""


@dataclass(frozen=True)
class Run:
    """The settings of a run, read from its environment variables."""

    folder: Path
    checkpoints: Path
    events: Path
    config: dict[str, Any]
    data: dict[str, str]
    code_tree: str | None

    @classmethod
    def parse(cls, environment: Mapping[str, str]) -> "Run":
        """Parse the variables listed in docs/contract.md. Raises NotARun."""
        if "GPUJOB_RUN_DIR" not in environment:
            raise NotARun("GPUJOB_RUN_DIR is not set: it names the folder to train in")
        folder = Path(environment["GPUJOB_RUN_DIR"]).absolute()
        try:
            config = json.loads(environment.get("GPUJOB_CONFIG") or "{}")
            data = json.loads(environment.get("GPUJOB_DATA") or "{}")
        except ValueError as fault:
            raise NotARun(f"GPUJOB_CONFIG and GPUJOB_DATA are JSON objects: {fault}") from fault
        return cls(
            folder,
            Path(environment.get("GPUJOB_CHECKPOINTS") or folder / "checkpoints"),
            Path(environment.get("GPUJOB_EVENTS") or folder / "events.jsonl"),
            config,
            data,
            environment.get("GPUJOB_CODE_TREE") or None,
        )

    @property
    def cache(self) -> Path:
        """The cache folder, next to `runs`, so that all runs of the host share it."""
        return self.folder.parent.parent / "cache"


class Stop:
    """Installs a SIGTERM handler; calling the object returns whether the signal was received."""

    def __init__(self) -> None:
        self.requested = False
        signal.signal(signal.SIGTERM, self._request)

    def _request(self, number: int, frame: Any) -> None:
        self.requested = True

    def __call__(self, step: int) -> bool:
        return self.requested


def train(name: str) -> int:
    """Run a training and return its exit code. Errors of options and data are printed on stderr."""
    described = registry.describe(name)
    try:
        run = Run.parse(os.environ)
    except NotARun as fault:
        complain(str(fault))
        return REFUSED
    stop = Stop()
    run.folder.mkdir(parents=True, exist_ok=True)
    config, findings = options.parse(described.config, run.config)
    findings += preflight.check_config(described, config, run.data, exist=True)
    findings += distributed.missing(config.device)
    group = distributed.join("cpu" if health.has_error(findings) else config.device)
    events = Events(run.events) if group.is_main else Silent()
    code, outcome = _guarded(name, run, config, findings, events, group, stop)
    events("end", status=outcome.status, step=outcome.step, message=outcome.message, code=code)
    if group.is_main:
        (say if code in (DONE, STOPPED) else complain)(outcome.message)
    group.shutdown(code)
    return code


def _guarded(
    name: str,
    run: Run,
    config: Any,
    findings: list[Finding],
    events: Events,
    group: Group,
    stop: Stop,
) -> tuple[int, Outcome]:
    """Train, and turn expected exceptions into an exit code and an outcome. Other exceptions are raised."""
    loop = None
    try:
        if health.has_error(findings):
            raise Refused("; ".join(f"{f.message}: {f.fix}" for f in findings))
        trainer = _open(name, run, config, events, group)
        trainer.initial = preflight.initial_of(config, run.data)
        loop = TrainingLoop(trainer, run.checkpoints, events, group, halted=stop, code_tree=run.code_tree)
        outcome = loop.run()
        return (DONE if outcome.status == "done" else STOPPED), outcome
    except (Refused, Damaged) as fault:
        return REFUSED, Outcome("failed", 0, f"refused: {fault}")
    except DataUnusable as fault:
        return NO_DATA, Outcome("failed", 0, f"the data cannot be used: {fault}")
    except Diverged as fault:
        assert loop
        return DIVERGED, Outcome("failed", loop.state.step, f"diverged: {fault}")
    except Exception as fault:
        # Unexpected: the traceback goes to the log, and the events end properly.
        step = loop.state.step if loop else 0
        events("end", status="failed", step=step, message=f"{type(fault).__name__}: {fault}")
        raise


def _open(name: str, run: Run, config: Any, events: Events, group: Group) -> Trainer:
    """Build the trainer and read its data; the main process fills the cache before the others read it.

    Raises DataUnusable if train or val is empty, and Refused if a check of the tier `files` finds an error.
    """
    kind = registry.trainer(name)
    folders = preflight.folders_of(registry.describe(name), run.data)
    if not group.is_main:
        group.barrier()
    try:
        data = kind.load(config, folders, run.cache, events)
        findings = preflight.findings_of_files(name, data.listing)
        if not all(data.splits[split] for split in ("train", "val")):
            empty = [finding for finding in findings if finding.code == "labels.nonempty"]
            raise DataUnusable(empty or [health.error("labels.nonempty", *preflight.EMPTY_SPLIT)])
        trainer = kind(config, data)
    finally:
        if group.is_main:
            group.barrier()
    if group.is_main:
        for line in summary(data.listing.report(), getattr(data.listing, "noun", "samples")):
            say(line)
    _report(findings, events, group.is_main)
    return trainer


def summary(report: Mapping[str, Any], noun: str) -> list[str]:
    """The lines with which a log begins: how many samples were found and used, and the first table."""
    lines = [f"data: {report['samples']} {noun} found, {report['used']} used"]
    for name, *cells in report["tables"][0]["rows"] if report["tables"] else ():
        columns = zip(report["tables"][0]["columns"][1:], cells, strict=True)
        lines.append(f"  {name}: " + ", ".join(f"{column} {cell}" for column, cell in columns))
    return lines


def _report(findings: list[Finding], events: Events, talk: bool) -> None:
    for f in findings:
        action = "refused" if f.severity == "error" else "continues"
        events("health", rule=f.code, severity=f.severity, message=f.message, action=action)
        if talk:
            say(f"{f.severity}: {f.code}: {textwrap.shorten(f.message, 160, placeholder=' …')}")
    if health.has_error(findings):
        raise Refused("; ".join(f"{f.message}: {f.fix}" for f in findings if f.severity == "error"))
