"""What `check` asks of corpus, names and splits. Standard library only."""

from functools import partial

from trainers.common.sign import rules
from trainers.common.sign.rules import CODES, check_files
from trainers.mobilenet_v3.config import DATA

__all__ = ["CODES", "check_files", "folders"]

folders = partial(rules.folders, known=DATA)
