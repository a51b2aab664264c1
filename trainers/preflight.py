"""`check`: find faults in options, data and model before a training starts.

The tiers `config` and `files` need the standard library only; the tier `full` reads the data, builds the
trainer and needs PyTorch.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trainers import registry
from trainers.engine import config as options
from trainers.engine import health
from trainers.engine.check import FILES, FULL, Check, findings_of
from trainers.engine.config import LoopConfig
from trainers.engine.events import VERSION, Events, jsonable
from trainers.engine.health import DataUnusable, Finding
from trainers.registry import Description

if TYPE_CHECKING:
    from trainers.engine.trainer import Trainer

TIERS = ("config", FILES, FULL)
OK, REFUSED, NO_DATA = 0, 64, 65

CONFIG_CODES = ("config.unknown", "config.type", "config.range", "config.choice", "data.folders")
EMPTY = {"samples": 0, "used": 0, "refused": [], "tables": []}
"""The value of `data` in a report if no data was read."""


INIT = "init_from"
"""The option, and name of the data, with the weights that a run of any trainer starts from."""

EMPTY_SPLIT = ("train or val holds no sample", "add samples, or choose other shares of the splits", "data")


class BadRequest(Exception):
    """The request is not valid JSON of the documented form."""


@dataclass(frozen=True)
class Request:
    """A request of `check` or `prepare`: options, data folders, tier, and a folder for temporary files."""

    config: dict[str, Any]
    data: dict[str, str]
    tier: str
    work: Path

    @classmethod
    def parse(cls, value: Any) -> "Request":
        """Parse a decoded JSON object. Raises BadRequest."""
        if not isinstance(value, dict) or value.get("tier", FULL) not in TIERS:
            raise BadRequest(f"a request is an object with a tier of {', '.join(TIERS)}")
        config, data = value.get("config") or {}, value.get("data") or {}
        if not isinstance(config, dict) or not isinstance(data, dict):
            raise BadRequest("`config` and `data` are objects")
        paths = {str(name): str(path) for name, path in data.items()}
        return cls(config, paths, value.get("tier", FULL), Path(value.get("work") or "."))


@dataclass(frozen=True)
class _Job:
    """A request with its parsed options; `kind` is the trainer's class, or None for the trainer's own."""

    described: Description
    request: Request
    config: LoopConfig
    events: Events
    kind: "type[Trainer] | None" = None

    @property
    def folders(self) -> dict[str, Path]:
        """The path of each declared data folder that exists, by name."""
        return folders_of(self.described, self.request.data)


@dataclass
class Verdict:
    """The findings so far, with the codes of the checks that were run or skipped."""

    findings: list[Finding] = field(default_factory=list)
    checked: list[str] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)
    data: dict[str, Any] = field(default_factory=lambda: dict(EMPTY))
    usable: bool = True

    def add(self, codes: Sequence[str], findings: Sequence[Finding]) -> None:
        """Record the codes of checks that were run, and their findings, without duplicates."""
        self.checked += [code for code in codes if code not in self.checked]
        self.findings += [finding for finding in findings if finding not in self.findings]

    def ask(self, check: Check, subject: Any) -> None:
        """Run one check and record its findings."""
        self.add((check.code,), check.ask(subject))

    @property
    def exit_code(self) -> int:
        """The exit code defined in docs/contract.md: 0, 64 (a finding is an error) or 65 (no usable data)."""
        if not self.usable:
            return NO_DATA
        return REFUSED if health.has_error(self.findings) else OK


def check(
    name: str, request: Request, events: Events, kind: "type[Trainer] | None" = None
) -> tuple[dict[str, Any], int]:
    """Run the checks of a request; returns the report and the exit code.

    `kind` replaces the trainer's own class (for tests).
    """
    start = time.monotonic()
    described, verdict = registry.describe(name), Verdict()
    config, findings = options.parse(described.config, request.config)
    findings += check_config(described, config, request.data, request.tier != "config")
    verdict.add(CONFIG_CODES, findings)
    if not any(f.code.startswith("config.") for f in findings):
        job = _Job(described, request, config, events, kind)
        if request.tier == FILES:
            _check_files(job, verdict)
        elif request.tier == FULL:
            _check_all(job, verdict)
    report = {
        "v": VERSION,
        "event": "report",
        "trainer": name,
        "packages": list(described.packages),
        "tier": request.tier,
        "seconds": round(time.monotonic() - start, 2),
        "config": config.as_dict(),
        "paths": [*described.paths, INIT],
        "findings": [finding.as_dict() for finding in verdict.findings],
        "checked": verdict.checked,
        "skipped": verdict.skipped,
        "data": verdict.data,
    }
    return jsonable(report), verdict.exit_code


def check_config(
    described: Description, config: LoopConfig, data: Mapping[str, str], exist: bool
) -> list[Finding]:
    """Findings about options that contradict each other and about unknown data folders.

    With `exist`, also about required folders that are not given and paths that are not folders.
    """
    return described.check_options(config) + check_folders(described, data, exist)


def check_folders(described: Description, data: Mapping[str, str], exist: bool) -> list[Finding]:
    """Findings about the names of the data folders and, with `exist`, about missing folders."""
    needed = [name for name in described.data if name not in described.optional]
    fix = f"the data folders are {' and '.join(described.data)}"
    if described.either and len(needed) > 1:
        fix = f"the folders are {' and '.join(needed)}, at least one of them"
    elif len(described.data) == 1:
        fix = f"{needed[0]} is a folder of {described.data[needed[0]]}"
    findings = [
        health.error("data.folders", f"there is no data called `{name}`", fix, f"data.{name}")
        for name in data
        if name not in described.data and name != INIT
    ]
    if not exist:
        return findings
    if INIT in data and not Path(data[INIT]).exists():
        what = "a checkpoint, a fetched run, or a .safetensors file"
        findings.append(health.error("data.folders", f"there is no {data[INIT]}", f"{INIT} is {what}", INIT))
    missing = [name for name in needed if name not in data]
    if missing and not (described.either and len(missing) < len(needed)):
        message = "no data folder is given" if len(missing) == len(needed) else f"no `{missing[0]}` is given"
        findings.append(health.error("data.folders", message, fix, "data"))
    for name, path in data.items():
        if name in described.data and not Path(path).is_dir():
            holds = f"{name} holds {described.data[name]}"
            findings.append(health.error("data.folders", f"{path} is not a folder", holds, f"data.{name}"))
    return findings


def initial_of(config: LoopConfig, data: Mapping[str, str]) -> Path | None:
    """The checkpoint or weights that a run starts from: the data that the client sent, or the option."""
    option = config.init_from
    path = data.get(INIT) or option
    return Path(path) if path else None


def folders_of(described: Description, data: Mapping[str, str]) -> dict[str, Path]:
    """The path of each declared data folder that exists, by name."""
    paths = {name: Path(path) for name, path in data.items() if name in described.data}
    return {name: path for name, path in paths.items() if path.is_dir()}


def _check_files(job: _Job, verdict: Verdict) -> None:
    """Run the checks of the tier `files`: names, labels and splits."""
    module = registry.part(job.described.name, "file_checks")
    if module is None:
        return
    try:
        listing = module.scan(job.folders, job.config)
    except DataUnusable as fault:
        verdict.add((), fault.findings)
        verdict.usable = False
        return
    verdict.usable, verdict.data = bool(listing.records), listing.report()
    for check in module.CHECKS:
        verdict.ask(check, listing)


def _check_all(job: _Job, verdict: Verdict) -> None:
    """Run the checks of the tier `full`: first those of the data, then those of the model."""
    from trainers.engine import distributed  # noqa: PLC0415 - imports torch

    verdict.add((), distributed.missing(job.config.device))
    opened = _open(job, verdict)
    checks = [c for c in registry.checks(job.described.name, job.kind) if c.tier == FULL]
    on_data = [check for check in checks if not check.on_model]
    on_model = [check for check in checks if check.on_model]
    for check in on_data if opened else ():
        verdict.ask(check, opened)
    if opened is None or health.has_error(verdict.findings):
        verdict.skipped = [check.code for check in (on_model if opened else checks)]
        return
    for number, check in enumerate(on_model, 1):
        verdict.ask(check, opened)
        job.events("progress", phase="check", step=number, of=len(on_model))


def _open(job: _Job, verdict: Verdict) -> "Trainer | None":
    """Read the data and build the trainer; None, with findings, if there is nothing to train on."""
    kind, request = job.kind or registry.trainer(job.described.name), job.request
    try:
        data = kind.load(job.config, job.folders, request.work, job.events)
        verdict.data = data.listing.report()
        for check in registry.file_checks(job.described.name):
            verdict.ask(check, data.listing)
        if all(data.splits[split] for split in ("train", "val")):
            trainer = kind(job.config, data)
            trainer.work, trainer.job_options = request.work, tuple(request.config)
            trainer.initial = initial_of(job.config, request.data)
            return trainer
        if not any(finding.code == "labels.nonempty" for finding in verdict.findings):
            verdict.add(("labels.nonempty",), [health.error("labels.nonempty", *EMPTY_SPLIT)])
    except DataUnusable as fault:
        verdict.add((), fault.findings)
    verdict.usable = False
    return None


def prepare(name: str, request: Request, events: Events) -> tuple[dict[str, Any], int]:
    """Build the data's cache before a training; returns the report and the exit code."""
    described, verdict = registry.describe(name), Verdict()
    trainer = _open(_Job(described, request, described.config(), events), verdict)
    if trainer is not None:
        for check in registry.checks(name):
            if check.tier == FULL and not check.on_model:
                verdict.ask(check, trainer)
    listed = [finding.as_dict() for finding in verdict.findings]
    report = {"v": VERSION, "event": "prepared", "findings": listed, "data": verdict.data}
    return jsonable(report), verdict.exit_code


def findings_of_files(name: str, listing: Any) -> list[Finding]:
    """The findings of the tier `files`; a run repeats these checks when it starts."""
    return findings_of(registry.file_checks(name), listing)
