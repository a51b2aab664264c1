"""The command line: the one part of the orchestrator that knows Typer."""

from orchestrator.cli.app import main, script

__all__ = ["main", "script"]
