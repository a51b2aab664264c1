"""Options and data of every trainer that turns landmarks into glosses. Standard library only."""

from dataclasses import dataclass

from trainers.data.landmarks import ORDERS
from trainers.engine.config import LoopConfig, option

DATA = {
    "phoenix": "PHOENIX corpus files (train, dev, test), and features/<split>/<id>.npz or .npy of "
    "MediaPipe landmarks (T, 6516) or (T, 1629); or the folder that `gpujob prepare` packed",
}
SOURCES = {"phoenix": "a folder like the data folder `phoenix`; packed to an eighth of its size"}


@dataclass(frozen=True)
class SignConfig(LoopConfig):
    """The options of the training loop, corpus, features, decoding and augmentation."""

    epochs: int = option(100, "maximum number of epochs", low=1)
    batch_size: int = option(4, "samples of one optimizer step, over all processes", low=1)
    evaluate_batch: int = option(8, "batch size of evaluation", low=1, harmless=True)
    select: str = option(
        "wer", "validation metric that selects the best checkpoint", choices=("wer", "wer_official", "loss")
    )
    loss_per: str = option("gloss", "unit over which the loss is averaged", choices=("gloss", "sequence"))
    flat_start: int = option(
        0, "first epochs, which train on glosses spread evenly over the frames, not with CTC", low=0
    )
    protocol: str = option(
        "auto",
        "protocol of the corpus files; auto: the only one present",
        choices=("auto", "si5", "multisigner", "14t"),
    )
    gloss_filter: str = option(
        "signs", "signs: without markers, pointing, classifiers and letters", choices=("signs", "none")
    )
    oov: str = option(
        "drop", "glosses of val and test that are not in train: omit, or <unk>", choices=("drop", "unk")
    )
    layout: str = option(
        "auto",
        "order of the column groups; auto: layout.json, else pose-face-hands",
        choices=("auto", *ORDERS),
    )
    normalise: str = option(
        "global",
        "normalise with statistics of train, of each sample, or not",
        choices=("global", "per-sample", "none"),
    )
    pack: bool = option(
        True,
        "cache raw columns in a memory-mapped file; else read the files each time",
        harmless=True,
        when=("data.phoenix", "files that are not packed yet"),
    )
    min_frames: int = option(8, "minimum frames of a sentence", low=1)
    max_refused: float = option(0.05, "maximum fraction of broken files", low=0.0, high=1.0)
    decode: str = option("greedy", "decoding in evaluation and prediction", choices=("greedy", "beam"))
    beams: int = option(10, "beam width: prefixes kept at each frame", low=1, when=("decode", "beam"))
    lm_weight: float = option(0.3, "weight of the n-gram model; 0: unused", low=0.0, when=("decode", "beam"))
    lm_order: int = option(2, "order of the n-gram model", low=1, high=5, when=("decode", "beam"))
    augment_speed: float = option(0.1, "maximum relative change of speed", low=0.0, high=0.5)
    augment_mask: float = option(0.05, "maximum fraction of hidden frames", low=0.0, high=0.5)
    augment_noise: float = option(
        0.001, "standard deviation of noise added to coordinates", low=0.0, high=0.1
    )
    augment_landmarks: float = option(
        0.02, "maximum relative change of scale, and maximum shift", low=0.0, high=0.3
    )

    @property
    def settling(self) -> int:
        """Epochs before a plateau is meaningful; the flat start counts, because blanks follow it."""
        return max(super().settling, self.flat_start)
