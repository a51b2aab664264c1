"""Title, data folders and options of the trainer. Standard library only."""

from dataclasses import dataclass

from trainers.data import folds
from trainers.data.recordings import RecordingConfig
from trainers.engine import health
from trainers.engine.config import option
from trainers.engine.health import Finding

TITLE = "emotion from video, by a SlowFast network on actor-independent splits"

DATA = {
    "ravdess": "videos named as RAVDESS names them (02-01-06-01-02-01-12.mp4)",
    "crema": "videos named as CREMA-D names them (1076_MTI_SAD_XX.flv)",
    "splits": "manifest.csv, as written by `prepare`: which videos are used, and the split of each",
    "weights": "one file of SlowFast weights from pytorchvideo or PySlowFast",
}
"""Maps each data folder's name to its content. `ravdess` or `crema` is required; the others are optional."""

OPTIONAL, EITHER = ("splits", "weights"), True

SOURCES = {
    **{name: DATA[name] for name in ("ravdess", "crema")},
    "faces": "MediaPipe's face_landmarker.task: also writes faces.csv, for the option crop: faces",
}
"""Maps each input of `prepare` to its description."""

PACKAGES = ("av", "simplejpeg")
"""Packages that this trainer imports in addition to torch, numpy and safetensors."""

FOLDS = (
    *("none", "crema-mae5", "ravdess-mae6", "ravdess-lj5"),
    *("crema-mae5+ravdess-mae6", "crema-mae5+ravdess-lj5"),
)


@dataclass(frozen=True)
class Config(RecordingConfig):
    """The options of slowfast, in addition to those of every trainer of recordings."""

    epochs: int = option(60, "largest number of epochs", low=1)
    batch_size: int = option(6, "videos of one optimizer step, over all processes", low=1)
    warmup_epochs: float = option(3.0, "epochs over which the rate rises to its peak", low=0.0)
    patience: int = option(12, "epochs without improvement before stopping; 0 never stops early", low=0)
    label_smoothing: float = option(0.05, "share of the target spread over all classes", low=0.0, high=0.9)
    evaluate_batch: int = option(2, "videos per batch in evaluation", low=1, harmless=True)

    frames: int = option(48, "frames per clip; the fast pathway reads all of them", low=2)
    stride: int = option(1, "distance between frames of a clip, in frames of the video", low=1)
    size: int = option(112, "height and width of the network's input, pixels", low=16)
    clips_per_video: int = option(2, "clips drawn from each video in a training step", low=1)
    test_clips: int = option(5, "clips per video in val and test, whose softmax is averaged", low=1)
    test_flip: bool = option(True, "also average over the mirror image of each test clip")

    depths: tuple[int, ...] = option((3, 4, 6, 3), "blocks of each stage; this is R50", low=1)
    width: int = option(64, "channels of the slow stem", low=4)
    alpha: int = option(4, "the slow pathway reads every alpha-th frame", low=1)
    beta: int = option(8, "the fast pathway has a beta-th of the channels", low=1)
    fusion_kernel: int = option(7, "kernel size in time of the lateral connections, in frames", low=1)
    squeeze: bool = option(True, "squeeze-and-excitation in every block")
    dropout: float = option(0.5, "dropout rate before the classifier", low=0.0, high=0.95)
    freeze: int = option(0, "frozen stages: 1 freezes the stems, 2 to 5 all up to that stage", low=0, high=5)
    layer_decay: float = option(
        1.0, "learning rate of each stage as a share of the next stage's", low=0.05, high=1.0
    )

    flip: float = option(0.5, "probability of mirroring a clip", low=0.0, high=1.0)
    rotate: float = option(10.0, "largest rotation in degrees, in either direction", low=0.0, high=45.0)
    zoom: float = option(0.1, "largest change of scale, as a share", low=0.0, high=0.5)
    shift: float = option(0.06, "largest shift, as a share of the size", low=0.0, high=0.5)
    colour: float = option(0.2, "largest change of brightness, contrast and saturation", low=0.0, high=0.9)
    cutout: float = option(0.3, "probability of a grey rectangle, up to 0.4 of the size", low=0.0, high=1.0)
    reverse: float = option(0.1, "probability of playing a clip backwards", low=0.0, high=1.0)
    drop_frames: float = option(0.1, "share of frames replaced by the one before", low=0.0, high=0.9)

    folds: str = option("none", "published actor-independent folds; none: by seed", choices=FOLDS)
    fold: int = option(1, "which fold is the test split", low=1, high=6, when=("folds", "one of them"))
    surprised: str = option(
        "drop", "what RAVDESS `surprised` counts as", choices=("drop", "neutral", "fearful")
    )

    cache_size: int = option(128, "height and width of the cached frames, pixels", low=16)
    cache_format: str = option("jpeg", "raw is larger and faster", choices=("jpeg", "raw"))
    crop: str = option(
        "centre", "faces: crop to the boxes in faces.csv of each data folder", choices=("centre", "faces")
    )


def check_options(config: Config) -> list[Finding]:
    """Return errors for options that contradict each other."""
    findings = []
    if config.cache_size < config.size:
        message = f"the cache holds frames of {config.cache_size} pixels, the network needs {config.size}"
        findings.append(health.error("clip.shape", message, f"set cache_size: {config.size}", "cache_size"))
    if config.frames < config.alpha:
        message = f"a clip of {config.frames} frames gives the slow pathway one: alpha is {config.alpha}"
        findings.append(health.error("clip.shape", message, "set more frames, or a smaller alpha", "frames"))
    if len(config.depths) > 4:
        message = f"{len(config.depths)} stages; a SlowFast has at most 4"
        findings.append(health.error("clip.shape", message, "depths: [3, 4, 6, 3] is R50", "depths"))
    if config.folds != "none" and config.fold > folds.count(config.folds):
        message = f"{config.folds} has {folds.count(config.folds)} folds, fold is {config.fold}"
        findings.append(health.error("clip.shape", message, "choose one of these folds", "fold"))
    return findings
