"""The commands of gpujob with all their parsers, which take 0.2 CPU seconds; read-only."""

from __future__ import annotations

from typer.main import get_group

from orchestrator.cli.app import app

ROOT = get_group(app)
