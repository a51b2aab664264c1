"""Sample data for the teacher."""

from trainers.data.sign.sample import SIZE, write

__all__ = ["SIZE", "write"]
