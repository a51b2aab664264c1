"""The report of `python -m trainers check` (docs/contract.md), as it is printed and as it is cached."""

from __future__ import annotations

from typing import Any

import msgspec


class Finding(msgspec.Struct, frozen=True):
    """`code` is stable; `fix` says what to do; `key` names the option at fault."""

    code: str
    severity: str
    message: str
    fix: str = ""
    key: str | None = None


class RefusedFile(msgspec.Struct, frozen=True):
    file: str
    why: str


class Table(msgspec.Struct, frozen=True):
    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Any, ...], ...]


class DataReport(msgspec.Struct, frozen=True):
    """Numbers of samples."""

    samples: int = msgspec.field(default=0, name="found")
    used: int = 0
    refused: tuple[RefusedFile, ...] = ()
    tables: tuple[Table, ...] = ()


class CheckReport(msgspec.Struct, frozen=True, kw_only=True):
    """`tier`: the depth of the check (config, files, full). `packages`: what the trainer imports besides what
    every trainer does. `paths`: its options that are data folders. `unusable`: not one sample can be used."""

    v: int = 1
    event: str = "report"
    trainer: str = ""
    packages: tuple[str, ...] = ()
    tier: str = "full"
    seconds: float = 0.0
    config: dict[str, Any] = {}
    paths: tuple[str, ...] = ()
    findings: tuple[Finding, ...]
    checked: tuple[str, ...] = ()
    skipped: tuple[str, ...] = ()
    data: DataReport | None = None
    unusable: bool = False

    @property
    def errors(self) -> list[Finding]:
        return [finding for finding in self.findings if finding.severity == "error"]


def parse(value: object) -> CheckReport | None:
    """None where any part cannot be read: an error that cannot be read must not pass for none."""
    if not isinstance(value, dict) or not isinstance(value.get("findings"), list):
        return None
    findings = [_current(finding) for finding in value["findings"]]
    try:
        return msgspec.convert({**value, "findings": findings}, CheckReport)
    except (msgspec.ValidationError, RecursionError):
        return None


def _current(finding: object) -> object:
    """Version 1 of the format named a finding's message `seen`."""
    if isinstance(finding, dict) and "seen" in finding:
        return {"message": finding["seen"], **finding}
    return finding


def to_json(report: CheckReport, cached: bool) -> dict[str, Any]:
    """What `gpujob check --json` prints."""
    fields: dict[str, Any] = msgspec.to_builtins(report)
    for finding in fields["findings"]:
        finding["seen"] = finding.pop("message")
    return {**fields, "cached": cached}
