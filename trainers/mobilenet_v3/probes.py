"""What `check` asks of the content of the files, of this trainer's task and of its teacher."""

from functools import partial

from trainers.common.sign import probes as sign
from trainers.common.sign.probes import PROBE_CODES, probes
from trainers.mobilenet_v3.task import StudentTask, with_teacher

__all__ = ["DATA_CODES", "PROBE_CODES", "inspect", "probes"]

DATA_CODES = (*sign.DATA_CODES, "teacher")
inspect = partial(sign.inspect, StudentTask, with_teacher)
