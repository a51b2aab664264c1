"""What `check` asks of corpus, names and splits. Standard library only."""

from trainers.tasks.sign.rules import CODES, check_files

__all__ = ["CODES", "check_files"]
