"""Title, data folders and options of the trainer. Standard library only."""

from dataclasses import dataclass

from trainers.blendshapes import names
from trainers.data import splits
from trainers.engine import health
from trainers.engine.config import ClassifierConfig, option
from trainers.engine.health import Finding

TITLE = "emotion from MediaPipe's blendshapes of a face, dense or LSTM, and logistic regression as baseline"

DATA = {
    "blendshapes": "CSV or NPZ files of named blendshapes and a label; split by folder, file name or seed",
}
"""Maps each data folder's name to a description of its content."""

SOURCES = {
    "images": "a folder of pictures with a subfolder per emotion (or train/ val/ test/ with such folders)",
    "model": "the file face_landmarker.task of MediaPipe",
}
"""Maps each input of `prepare`, which needs MediaPipe, to its description."""

ACTIVATIONS = ("silu", "relu", "leaky-relu", "elu", "gelu", "tanh")
INITIALISERS = ("default", "xavier", "kaiming", "orthogonal")


@dataclass(frozen=True)
class Config(ClassifierConfig):
    """The options of blendshapes, in addition to those of every classifier."""

    epochs: int = option(60, "largest number of epochs", low=1)
    batch_size: int = option(128, "samples of one optimizer step, over all processes", low=1)
    learning_rate: float = option(3e-3, "peak learning rate", low=0.0)
    weight_decay: float = option(1e-2, "AdamW, of parameters with two or more dimensions", low=0.0)
    warmup_epochs: float = option(2.0, "epochs over which the rate rises to its peak", low=0.0)
    patience: int = option(15, "epochs without improvement before stopping; 0 never stops early", low=0)
    label_smoothing: float = option(0.05, "share of the target spread over all classes", low=0.0, high=0.9)
    num_workers: int = option(0, "loader processes", low=0, harmless=True)
    classes: tuple[str, ...] = option(
        ("happy", "sad", "neutral"), "the emotions to classify", choices=names.LABELS
    )
    others: str = option("drop", "what to do with rows of other emotions", choices=("drop", names.OTHER))
    label_numbers: str = option(
        "none", "data set whose numbers the labels are; none: labels are words", choices=tuple(names.NUMBERS)
    )
    columns: int = option(33, "blendshapes that the model reads", choices=tuple(names.SETS))
    normalise: str = option(
        "global",
        "global: mean and std of train, inside the model; sqrt: those of the scores' square roots; none",
        choices=("global", "sqrt", "none"),
    )
    weight_power: float = option(
        1.0,
        "exponent of the class weights; below 1, rare classes gain less and others lose less",
        low=0.0,
        high=1.0,
        when=("class_weights", "true"),
    )
    max_per_class: int = option(
        0, "largest number of training rows of each class, chosen by seed; 0: all", low=0
    )
    sampling: str = option(
        "natural", "balanced draws each class equally often", choices=("natural", "balanced")
    )
    model: str = option("dense", "network that classifies the blendshapes", choices=("dense", "lstm"))
    hidden: tuple[int, ...] = option((64, 32), "units of each layer", low=1)
    activation: str = option(
        "silu", "activation of the dense layers", choices=ACTIVATIONS, when=("model", "dense")
    )
    initialiser: str = option(
        "default", "initial weights; default: those of PyTorch's layers", choices=INITIALISERS
    )
    bidirectional: bool = option(False, "read the blendshapes backwards too", when=("model", "lstm"))
    dropout: float = option(0.2, "dropout rate after each layer", low=0.0, high=0.95)
    recurrent_dropout: float = option(
        0.0,
        "dropout rate of the state between two steps of an LSTM, in training",
        low=0.0,
        high=0.95,
        when=("model", "lstm"),
    )
    named_splits: str = splits.OPTION
    val_share: float = option(0.15, "share of groups, where files name no split", low=0.0, high=0.5)
    test_share: float = option(0.15, "share of groups, where files name no split", low=0.0, high=0.5)
    duplicates: str = option(
        "refuse", "faces in two splits or with two labels; drop: leave them out", choices=("refuse", "drop")
    )
    max_refused: float = option(0.05, "largest accepted share of broken rows", low=0.0, high=1.0)


def check_options(config: Config) -> list[Finding]:
    """Return errors for a class set with duplicates, fewer than two classes, or no class for `others`."""
    findings = []
    if len(set(config.classes)) != len(config.classes) or len(config.classes) < 2:
        fix = "list at least two classes, each once"
        findings.append(health.error("config.choice", f"classes is {list(config.classes)}", fix, "classes"))
    if config.others == names.OTHER and names.OTHER not in config.classes:
        message = f"others is {names.OTHER}, which is not one of the classes"
        findings.append(health.error("config.choice", message, f"add {names.OTHER} to classes", "others"))
    return findings
