"""The trainer i3d-teacher: modality fusion, 1-D Inception blocks, BiLSTM, CTC."""

from trainers.i3d_teacher.config import Config
from trainers.i3d_teacher.model import PARAMETERS, STRIDE, I3DTeacher
from trainers.tasks.ctc_trainer import CTCTrainer


class TeacherTrainer(CTCTrainer):
    """Trains I3DTeacher with CTC; see CTCTrainer."""

    name = "i3d-teacher"
    options = Config
    stride = STRIDE
    sizes = PARAMETERS
    config: Config

    def model(self) -> I3DTeacher:
        """The model of the option `preset`."""
        return I3DTeacher(self.config.preset, len(self.vocabulary), self.layout, self.config.dropout)
