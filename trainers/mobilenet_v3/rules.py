"""What `check` asks of corpus, names and splits. Standard library only."""

from functools import partial

from trainers.mobilenet_v3.config import DATA
from trainers.tasks.sign import rules
from trainers.tasks.sign.rules import CODES, check_files

__all__ = ["CODES", "check_files", "folders"]

folders = partial(rules.folders, known=DATA)
