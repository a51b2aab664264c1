"""What the trainer is called, which data it needs, and its options. Standard library only."""

from dataclasses import dataclass

from trainers.data.sign import config as sign
from trainers.data.sign.config import SOURCES, SignConfig
from trainers.engine.config import option

TITLE = "sign language glosses by a small student: 1-D MobileNetV3, BiLSTM, CTC, a teacher where there is one"

DATA = {**sign.DATA, "teacher": "a checkpoint to learn from; only for distillation"}
"""Folder name to what it holds; `teacher` may be left out."""

OPTIONAL = ("teacher",)

PATHS = ("teacher",)
"""Options that name a folder: a client sends it as the data folder of that name."""

__all__ = ["DATA", "OPTIONAL", "PATHS", "SHARED", "SOURCES", "TITLE", "Config"]

SHARED = {
    "file_checks": "trainers.tasks.sign.file_checks",
    "prepare": "trainers.data.sign.pack",
}
"""Optional modules that the trainers of sign language share."""

PRESETS = ("bounded", "drawn", "small", "tiny")


@dataclass(frozen=True)
class Config(SignConfig):
    """The options of mobilenet-v3, the engine's and those of sign language first."""

    preset: str = option(
        "bounded",
        "encoders of at most 256 units; drawn is the first design, with 14.5 M parameters",
        choices=PRESETS,
    )
    dropout: float = option(0.3, "in the encoders and after the projection", low=0.0, high=0.95)
    teacher: str = option("", "a checkpoint to learn from; none without it", harmless=True)
    temperature: float = option(
        2.0, "of both distributions of a frame", low=0.1, high=20.0, when=("teacher", "PATH")
    )
    distill: float = option(
        0.5, "share of the loss that is the teacher's", low=0.0, high=1.0, when=("teacher", "PATH")
    )
