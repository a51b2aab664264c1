"""Sample data for the teacher."""

from trainers.common.sign.sample import SIZE, write

__all__ = ["SIZE", "write"]
