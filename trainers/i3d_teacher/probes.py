"""What `check` asks of the content of the files, and of this trainer's task."""

from functools import partial

from trainers.common.sign import probes as sign
from trainers.common.sign.probes import DATA_CODES, PROBE_CODES, probes
from trainers.i3d_teacher.task import TeacherTask

__all__ = ["DATA_CODES", "PROBE_CODES", "inspect", "probes"]

inspect = partial(sign.inspect, TeacherTask, sign.plain)
