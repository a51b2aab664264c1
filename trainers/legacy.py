"""Trainers that are not one class yet, as `preflight`, `run` and the commands want them; goes away."""

from importlib import import_module
from types import SimpleNamespace
from typing import Any

from trainers.engine import health
from trainers.engine.health import DataUnusable


def module(name: str, part: str) -> Any:
    return import_module(f"trainers.{name.replace('-', '_')}.{part}")


class Kind:
    """In place of a class."""

    def __init__(self, name: str) -> None:
        self.name = name

    def load(self, config: Any, folders: Any, cache: Any, events: Any) -> Any:
        task = module(self.name, "task").open_task(config, folders, cache, events)
        return SimpleNamespace(task=task, splits={"train": [1], "val": [1]}, listing=task)

    def __call__(self, config: Any, data: Any) -> Any:
        return data.task

    def checks(self, standard: Any) -> Any:
        return []

    def run_findings(self, task: Any) -> Any:
        return module(self.name, "task").run_rules(task)

    def restore(self, saved: Any) -> Any:
        task = module(self.name, "task")
        restored = task.restore(saved)
        other = SimpleNamespace(network=restored.model, restored=restored)
        other.predict = lambda paths: task.predict(saved, paths)
        other.evaluate = lambda held, folders, split, work: task.evaluate(held, folders, split, work)
        other.exportable = lambda held: task.exportable(held)
        other.classes = tuple(saved.manifest["preprocessing"]["classes"])
        return other


def check_files(name: str, request: Any, config: Any, verdict: Any) -> None:
    rules = module(name, "rules")
    try:
        findings, verdict.usable, verdict.data = rules.check_files(request.data, config)
    except DataUnusable as fault:
        findings, verdict.usable = fault.findings, False
    verdict.add(rules.CODES, findings)


def check_all(name: str, task: Any, request: Any, config: Any, verdict: Any, events: Any) -> None:
    probes = module(name, "probes")
    try:
        opened, findings, verdict.data = probes.inspect(config, request.data, request.work, events, task)
    except DataUnusable as fault:
        opened, findings = None, fault.findings
    verdict.add(probes.DATA_CODES, findings)
    verdict.usable = opened is not None
    if health.has_error(verdict.findings) or opened is None:
        verdict.skipped = list(probes.PROBE_CODES)
        return
    opened.work, opened.job_options = request.work, tuple(request.config)
    asked = probes.probes(opened, config, request)
    for place, (code, probe) in enumerate(asked, 1):
        verdict.add((code,), ask(code, probe))
        events("progress", phase="check", step=place, of=len(asked))


def ask(code: str, probe: Any) -> Any:
    try:
        return probe()
    except DataUnusable as fault:
        return fault.findings
    except Exception as fault:
        return [health.error(code, f"{type(fault).__name__}: {fault}", "the trainer's own code raises here")]
