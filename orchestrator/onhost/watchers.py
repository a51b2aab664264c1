"""Starts the companions of a run, processes of their own: its alerts, and the copy of its results to S3."""

from __future__ import annotations

from typing import Mapping

from orchestrator.core.layout import Layout
from orchestrator.onhost import alert_watch, mirror
from orchestrator.onhost.records import RunSpec


def start(layout: Layout, spec: RunSpec, secrets: Mapping[str, str]) -> None:
    """Starts those that the run asks for; each takes its own part of the secrets."""
    alert_watch.start(layout, spec, secrets)
    mirror.start(layout, spec, secrets)
