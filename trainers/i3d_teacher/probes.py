"""What `check` asks of the content of the files, and of this trainer's task."""

from functools import partial

from trainers.i3d_teacher.task import TeacherTask
from trainers.tasks.sign import probes as sign
from trainers.tasks.sign.probes import DATA_CODES, PROBE_CODES, probes

__all__ = ["DATA_CODES", "PROBE_CODES", "inspect", "probes"]

inspect = partial(sign.inspect, TeacherTask, sign.plain)
