"""`check`: everything that can be known to be wrong before a training is paid for.

Standard library only, up to the tier `full`, which asks the trainer's task and the engine's probes.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

from trainers import registry
from trainers.engine import config as options
from trainers.engine import health
from trainers.engine.events import VERSION, Events, jsonable
from trainers.engine.health import DataUnusable, Finding

TIERS = ("config", "files", "full")
OK, REFUSED, NO_DATA = 0, 64, 65

CONFIG_CODES = ("config.unknown", "config.type", "config.range", "config.choice", "data.folders")

Probe = tuple[str, Callable[[], list[Finding]]]
"""The code of a rule and what asks it."""


class BadRequest(Exception):
    """The request itself cannot be read."""


@dataclass(frozen=True)
class Request:
    """What to check, from stdin."""

    config: dict[str, Any]
    data: dict[str, str]
    tier: str
    work: Path

    @classmethod
    def read(cls, held: Any) -> "Request":
        """From JSON. Raises BadRequest."""
        if not isinstance(held, dict) or held.get("tier", "full") not in TIERS:
            raise BadRequest(f"a request is an object with a tier of {', '.join(TIERS)}")
        config, data = held.get("config") or {}, held.get("data") or {}
        if not isinstance(config, dict) or not isinstance(data, dict):
            raise BadRequest("`config` and `data` are objects")
        paths = {str(name): str(path) for name, path in data.items()}
        return cls(config, paths, held.get("tier", "full"), Path(held.get("work") or "."))


@dataclass
class Verdict:
    """What has been found so far, and what has been looked at."""

    findings: list[Finding] = field(default_factory=list)
    checked: list[str] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)
    data: dict[str, Any] = field(default_factory=lambda: {"found": 0, "used": 0, "refused": [], "tables": []})
    usable: bool = True

    def add(self, codes: tuple[str, ...], findings: list[Finding]) -> None:
        """Rules that were asked, and their answer."""
        self.checked += [code for code in codes if code not in self.checked]
        self.findings += [finding for finding in findings if finding not in self.findings]

    @property
    def exit_code(self) -> int:
        """As the contract has it."""
        if not self.usable:
            return NO_DATA
        return REFUSED if health.has_error(self.findings) else OK


def check(
    name: str, request: Request, events: Events, task: type | None = None
) -> tuple[dict[str, Any], int]:
    """The report and the exit code. `task` stands in for the trainer's own task class."""
    start = time.monotonic()
    verdict = Verdict()
    config, findings = options.parse(registry.describe(name).Config, request.config)
    rules = registry.rules(name)
    findings += refused_options(rules, config)
    findings += rules.folders(request.data, look=request.tier != "config")
    verdict.add(CONFIG_CODES, findings)
    sound = not any(f.code.startswith("config.") for f in findings)
    if request.tier == "files" and sound:
        _files(rules, request, config, verdict)
    if request.tier == "full" and sound:
        _full(registry.probes(name), task, request, config, verdict, events)
    report = {
        "v": VERSION,
        "event": "report",
        "trainer": name,
        "packages": list(getattr(registry.describe(name), "PACKAGES", ())),
        "tier": request.tier,
        "seconds": round(time.monotonic() - start, 2),
        "config": config.as_dict(),
        "paths": list(getattr(registry.describe(name), "PATHS", ())),
        "findings": [finding.as_dict() for finding in verdict.findings],
        "checked": verdict.checked,
        "skipped": verdict.skipped,
        "data": verdict.data,
    }
    return jsonable(report), verdict.exit_code


def refused_options(rules: ModuleType, config: options.Config) -> list[Finding]:
    """What a trainer refuses of options that are sound one by one: `options(config)` of its `rules`."""
    own = getattr(rules, "options", None)
    findings: list[Finding] = own(config) if own else []
    return findings


def _files(rules: ModuleType, request: Request, config: options.Config, verdict: Verdict) -> None:
    """Names, labels and splits."""
    try:
        findings, verdict.usable, verdict.data = rules.check_files(request.data, config)
    except DataUnusable as fault:
        findings, verdict.usable = fault.findings, False
    verdict.add(rules.CODES, findings)


def _full(
    probes: ModuleType,
    task: type | None,
    request: Request,
    config: options.Config,
    verdict: Verdict,
    events: Events,
) -> None:
    """The content of the files, then the model on it, which needs sound data."""
    from trainers.engine import distributed  # noqa: PLC0415 - imports torch

    try:
        opened, findings, verdict.data = probes.inspect(config, request.data, request.work, events, task)
    except DataUnusable as fault:
        opened, findings = None, fault.findings
    verdict.add(probes.DATA_CODES, findings)
    findings = [*findings, *distributed.missing(config.device)]
    verdict.add((), findings)
    verdict.usable = opened is not None
    asked = probes.probes(opened, config, request) if opened is not None else []
    if health.has_error(findings) or opened is None:
        verdict.skipped = list(probes.PROBE_CODES)
        return
    for place, (code, probe) in enumerate(asked, 1):
        verdict.add((code,), ask(code, probe))
        events("progress", phase="check", step=place, of=len(asked))


def prepare(name: str, request: Request, events: Events) -> tuple[dict[str, Any], int]:
    """Read the data in, so that a training finds it so; its report."""
    verdict = Verdict()
    config = registry.describe(name).Config()
    probes = registry.probes(name)
    opened, findings, verdict.data = probes.inspect(config, request.data, request.work, events)
    verdict.add(probes.DATA_CODES, findings)
    verdict.usable = opened is not None
    listed = [finding.as_dict() for finding in findings]
    report = {"v": VERSION, "event": "prepared", "findings": listed, "data": verdict.data}
    return jsonable(report), verdict.exit_code


def ask(code: str, probe: Callable[[], list[Finding]]) -> list[Finding]:
    """What a probe finds; one that raises has found something."""
    try:
        return probe()
    except DataUnusable as fault:
        return fault.findings
    except Exception as fault:
        fix = "the trainer's own code raises here: run its tests"
        return [health.error(code, f"{type(fault).__name__}: {fault}", fix)]
