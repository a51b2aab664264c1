"""What `check` asks of the content of the files, of this trainer's task and of its teacher."""

from functools import partial

from trainers.mobilenet_v3.task import StudentTask, with_teacher
from trainers.tasks.sign import probes as sign
from trainers.tasks.sign.probes import PROBE_CODES, probes

__all__ = ["DATA_CODES", "PROBE_CODES", "inspect", "probes"]

DATA_CODES = (*sign.DATA_CODES, "teacher")
inspect = partial(sign.inspect, StudentTask, with_teacher)
