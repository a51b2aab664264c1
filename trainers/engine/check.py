"""A check: one rule that `check` tests before a training starts. Standard library only."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from trainers.engine import health
from trainers.engine.health import DataUnusable, Finding

FILES, FULL = "files", "full"


@dataclass(frozen=True)
class Check:
    """One rule, with a stable code.

    In the tier `files`, `function` takes the listing of the data folders and needs only the standard
    library; in the tier `full` it takes the trainer with its data. It returns findings, or an empty list if
    the check passes. `line` states what is true if it passes. Checks with `on_model` run last, and are
    skipped if the data has an error.
    """

    code: str
    tier: str
    line: str
    function: Callable[[Any], list[Finding]]
    on_model: bool = False

    def ask(self, subject: Any) -> list[Finding]:
        """Run the check and return its findings; an exception of the function becomes a finding."""
        try:
            return self.function(subject)
        except DataUnusable as fault:
            return fault.findings
        except Exception as fault:
            fix = "the trainer's own code raises here: run its tests"
            return [health.error(self.code, f"{type(fault).__name__}: {fault}", fix)]


def on_files(code: str, function: Callable[[Any], list[Finding]], line: str = "") -> Check:
    """Create a check of the tier `files`; `line` defaults to the first line of the function's docstring."""
    return Check(code, FILES, line or first_line(function), function)


def on_data(code: str, function: Callable[[Any], list[Finding]]) -> Check:
    """Create a check of the tier `full` that examines the content of the data."""
    return Check(code, FULL, first_line(function), function)


def on_model(code: str, function: Callable[[Any], list[Finding]]) -> Check:
    """Create a check of the tier `full` that builds the model; it is skipped if the data has an error."""
    return Check(code, FULL, first_line(function), function, on_model=True)


def first_line(function: Callable[..., object]) -> str:
    """The first line of a function's docstring, without the period at its end."""
    return (function.__doc__ or "").strip().split("\n")[0].rstrip(".")


def without(checks: Iterable[Check], *codes: str) -> list[Check]:
    """The checks without those that have one of `codes`. Raises ValueError for a code that no check has."""
    checks = list(checks)
    if missing := set(codes) - {check.code for check in checks}:
        raise ValueError(f"no check has the code {', '.join(sorted(missing))}")
    return [check for check in checks if check.code not in codes]


def findings_of(checks: Sequence[Check], subject: Any) -> list[Finding]:
    """Run all checks and return their findings without duplicates."""
    findings: list[Finding] = []
    for check in checks:
        findings += [finding for finding in check.ask(subject) if finding not in findings]
    return findings
