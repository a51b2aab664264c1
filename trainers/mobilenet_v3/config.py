"""Title, data folders and options of the trainer mobilenet-v3. Standard library only."""

from dataclasses import dataclass

from trainers.data.sign import config as sign
from trainers.data.sign.config import SOURCES, SignConfig
from trainers.engine.config import option

TITLE = "sign language glosses by a small student: 1-D MobileNetV3, BiLSTM, CTC, a teacher where there is one"

DATA = {**sign.DATA, "teacher": "a checkpoint to learn from; only for distillation"}
"""Name of each data folder to its content; `teacher` is optional."""

OPTIONAL = ("teacher",)

PATHS = ("teacher",)
"""Options whose value is a folder; the client sends it as the data folder of the same name."""

__all__ = ["DATA", "OPTIONAL", "PATHS", "SHARED", "SOURCES", "TITLE", "Config"]

SHARED = {
    "file_checks": "trainers.tasks.sign.file_checks",
    "prepare": "trainers.data.sign.pack",
}
"""Optional modules shared by the sign language trainers."""

PRESETS = ("bounded", "drawn", "small", "tiny")


@dataclass(frozen=True)
class Config(SignConfig):
    """The options of mobilenet-v3, added to those of sign language trainers."""

    preset: str = option(
        "bounded",
        "size of the model; bounded: encoders of at most 256 units, drawn: 14.5 M parameters",
        choices=PRESETS,
    )
    lstm_layers: int = option(1, "layers of the BiLSTM", low=1, high=2)
    cross_attention: bool = option(
        False, "at each frame, every modality attends to the others before they are joined"
    )
    dropout: float = option(0.3, "dropout rate in the encoders and after the projection", low=0.0, high=0.95)
    teacher: str = option("", "checkpoint of the teacher; empty: none", harmless=True)
    temperature: float = option(
        2.0,
        "temperature of teacher's and student's distributions",
        low=0.1,
        high=20.0,
        when=("teacher", "PATH"),
    )
    distill: float = option(
        0.5, "weight of the distillation loss; CTC has the rest", low=0.0, high=1.0, when=("teacher", "PATH")
    )
