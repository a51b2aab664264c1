"""Title, data folders and options of the trainer i3d-teacher. Standard library only."""

from dataclasses import dataclass

from trainers.data.sign.config import DATA, SOURCES, SignConfig
from trainers.engine.config import option

TITLE = "sign language glosses from MediaPipe landmarks: modality fusion, 1-D Inception, BiLSTM, CTC"

__all__ = ["DATA", "SHARED", "SOURCES", "TITLE", "Config"]

SHARED = {
    "file_checks": "trainers.tasks.sign.file_checks",
    "prepare": "trainers.data.sign.pack",
    "sample": "trainers.data.sign.sample",
}
"""Optional modules shared by the sign language trainers."""

PRESETS = ("teacher-7.29m", "small", "tiny")


@dataclass(frozen=True)
class Config(SignConfig):
    """The options of i3d-teacher, added to those of sign language trainers."""

    loss_per: str = option("sequence", "unit over which the loss is averaged", choices=("gloss", "sequence"))
    preset: str = option(
        "teacher-7.29m",
        "size of the model; teacher-7.29m: 7,287,581 parameters with 1,117 words",
        choices=PRESETS,
    )
    dropout: float = option(
        0.2, "dropout rate after the fusion and before the classifier", low=0.0, high=0.95
    )
