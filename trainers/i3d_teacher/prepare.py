"""A corpus and its feature files as a packed data folder."""

from trainers.data.sign.pack import run

__all__ = ["run"]
