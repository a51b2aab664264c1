"""What the trainer is called, which data it needs, and its options. Standard library only."""

from dataclasses import dataclass

from trainers.blendshapes import names
from trainers.engine import health
from trainers.engine.config import ClassifierConfig, option
from trainers.engine.health import Finding

TITLE = "emotion from MediaPipe's blendshapes of a face, dense or LSTM, beside a logistic regression"

DATA = {
    "blendshapes": "CSV or NPZ files of named blendshapes and a label; split by folder or file name, or here",
}
"""Folder name to what it holds."""

SOURCES = {
    "images": "a folder of pictures, one folder an emotion (or train/ val/ test/ with such folders)",
    "model": "the file face_landmarker.task of MediaPipe",
}
"""What `prepare` reads, with MediaPipe installed."""


@dataclass(frozen=True)
class Config(ClassifierConfig):
    """The options of blendshapes, the engine's first."""

    epochs: int = option(60, "at most", low=1)
    batch_size: int = option(128, "samples of one optimizer step, over all processes", low=1)
    learning_rate: float = option(3e-3, "the peak", low=0.0)
    weight_decay: float = option(1e-2, "AdamW, on weights of two dimensions and more", low=0.0)
    warmup_epochs: float = option(2.0, "from a tenth of the rate up to it", low=0.0)
    patience: int = option(15, "epochs without a better value; 0 never stops early", low=0)
    label_smoothing: float = option(0.05, "share of the target spread evenly", low=0.0, high=0.9)
    num_workers: int = option(0, "loader processes", low=0, harmless=True)
    classes: tuple[str, ...] = option(
        ("happy", "sad", "neutral"), "the emotions to tell apart", choices=names.LABELS
    )
    others: str = option("drop", "rows with another emotion", choices=("drop", names.OTHER))
    columns: int = option(33, "blendshapes that the model reads", choices=tuple(names.SETS))
    sampling: str = option(
        "natural", "balanced draws each class equally often", choices=("natural", "balanced")
    )
    model: str = option("dense", "what stands on the blendshapes", choices=("dense", "lstm"))
    hidden: tuple[int, ...] = option((64, 32), "units of each layer", low=1)
    dropout: float = option(0.2, "after each layer", low=0.0, high=0.95)
    val_share: float = option(0.15, "of the groups, where files do not say", low=0.0, high=0.5)
    test_share: float = option(0.15, "of the groups, where files do not say", low=0.0, high=0.5)
    max_refused: float = option(0.05, "share of broken rows that is put up with", low=0.0, high=1.0)


def check_options(config: Config) -> list[Finding]:
    """Class sets that make no sense."""
    findings = []
    if len(set(config.classes)) != len(config.classes) or len(config.classes) < 2:
        fix = "name two or more, each once"
        findings.append(health.error("config.choice", f"classes is {list(config.classes)}", fix, "classes"))
    if config.others == names.OTHER and names.OTHER not in config.classes:
        message = f"others is {names.OTHER}, which is none of the classes"
        findings.append(health.error("config.choice", message, f"add {names.OTHER} to classes", "others"))
    return findings
