"""A check: one rule that is asked before a training is paid for. Standard library only."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from trainers.engine import health
from trainers.engine.health import DataUnusable, Finding

FILES, FULL = "files", "full"


@dataclass(frozen=True)
class Check:
    """One rule, with a stable code.

    `tier` `files`: `function` takes the listing of the data folders and needs the standard library alone.
    `tier` `full`: `function` takes the trainer, with its data read. It returns findings, none where all is
    well. `line` says in one sentence what holds if the check passes. Checks `on_model` come last, and are
    skipped where the data has an error.
    """

    code: str
    tier: str
    line: str
    function: Callable[[Any], list[Finding]]
    on_model: bool = False

    def ask(self, subject: Any) -> list[Finding]:
        """The findings; an exception that the function raises is a finding too."""
        try:
            return self.function(subject)
        except DataUnusable as fault:
            return fault.findings
        except Exception as fault:
            fix = "the trainer's own code raises here: run its tests"
            return [health.error(self.code, f"{type(fault).__name__}: {fault}", fix)]


def on_files(code: str, function: Callable[[Any], list[Finding]], line: str = "") -> Check:
    """A check of the tier `files`; its line is the function's docstring unless one is given."""
    return Check(code, FILES, line or first_line(function), function)


def on_data(code: str, function: Callable[[Any], list[Finding]], line: str = "") -> Check:
    """A check of the tier `full` that looks at the content of the data."""
    return Check(code, FULL, line or first_line(function), function)


def on_model(code: str, function: Callable[[Any], list[Finding]], line: str = "") -> Check:
    """A check of the tier `full` that builds the model; skipped where the data has an error."""
    return Check(code, FULL, line or first_line(function), function, on_model=True)


def first_line(function: Callable[..., object]) -> str:
    """The first sentence of a function's docstring."""
    return (function.__doc__ or "").strip().split("\n")[0].rstrip(".")


def without(checks: Iterable[Check], *codes: str) -> list[Check]:
    """The checks but for those of these codes. Raises ValueError for a code that none has."""
    checks = list(checks)
    if missing := set(codes) - {check.code for check in checks}:
        raise ValueError(f"no check has the code {', '.join(sorted(missing))}")
    return [check for check in checks if check.code not in codes]


def findings_of(checks: Sequence[Check], subject: Any) -> list[Finding]:
    """The findings of all checks, each once."""
    findings: list[Finding] = []
    for check in checks:
        findings += [finding for finding in check.ask(subject) if finding not in findings]
    return findings
