"""The teacher as the engine's task, and its use from a checkpoint alone."""

from functools import partial
from typing import Any

from trainers.data.landmarks import Layout
from trainers.i3d_teacher.config import Config
from trainers.i3d_teacher.model import PARAMETERS, STRIDE, I3DTeacher
from trainers.tasks.sign import task as sign
from trainers.tasks.sign import use
from trainers.tasks.sign.task import SignTask


class TeacherTask(SignTask):
    """See trainers.engine.task.Task."""

    name = "i3d-teacher"
    options = Config
    stride = STRIDE

    @classmethod
    def make(cls, config: Any, words: int, layout: Layout) -> I3DTeacher:
        """The model of a preset."""
        return I3DTeacher(config.preset, words, layout, config.dropout)

    @classmethod
    def parameters(cls, config: Any, words: int) -> int:
        """By PARAMETERS."""
        fixed, each = PARAMETERS[config.preset]
        return fixed + each * words


open_task = partial(sign.open_task, TeacherTask)
run_rules = sign.run_rules
restore = partial(use.restore, TeacherTask)
predict = partial(use.predict, TeacherTask)
evaluate = partial(use.evaluate, TeacherTask)
