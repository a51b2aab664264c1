"""Options and data of every trainer that turns landmarks into glosses. Standard library only."""

from dataclasses import dataclass

from trainers.data.landmarks import ORDERS
from trainers.engine.config import LoopConfig, option

DATA = {
    "phoenix": "PHOENIX corpus files (train, dev, test), and features/<split>/<id>.npz or .npy of "
    "MediaPipe landmarks (T, 6516) or (T, 1629); or what `gpujob prepare` packed of them",
}
SOURCES = {"phoenix": "a folder as the data folder `phoenix`; packed to an eighth of its bytes"}


@dataclass(frozen=True)
class SignConfig(LoopConfig):
    """The loop's options, then those of corpus, features, decoding and augmentation."""

    epochs: int = option(100, "at most", low=1)
    batch_size: int = option(4, "samples of one optimizer step, over all processes", low=1)
    evaluate_batch: int = option(8, "samples at once when a split is asked", low=1, harmless=True)
    select: str = option(
        "wer", "the validation metric that names the best", choices=("wer", "wer_official", "loss")
    )
    loss_per: str = option("gloss", "what the mean of the loss is over", choices=("gloss", "sequence"))
    flat_start: int = option(
        0, "first epochs that learn from glosses laid evenly over the frames; CTC goes on from there", low=0
    )
    protocol: str = option(
        "auto", "which corpus files; auto is the one there is", choices=("auto", "si5", "multisigner", "14t")
    )
    gloss_filter: str = option(
        "signs", "signs leaves out markers, pointing, classifiers, letters", choices=("signs", "none")
    )
    oov: str = option(
        "drop", "glosses of val and test that train does not have, as targets", choices=("drop", "unk")
    )
    layout: str = option(
        "auto",
        "order of the column groups; auto is layout.json, else pose-face-hands",
        choices=("auto", *ORDERS),
    )
    normalise: str = option(
        "global", "statistics: of train, of each sample, none", choices=("global", "per-sample", "none")
    )
    pack: bool = option(
        True,
        "raw columns in a memory-mapped file; else the files, each time",
        harmless=True,
        when=("data.phoenix", "files that are not packed yet"),
    )
    min_frames: int = option(8, "fewest frames of a sentence", low=1)
    max_refused: float = option(0.05, "share of broken files that is put up with", low=0.0, high=1.0)
    decode: str = option("greedy", "in evaluation and prediction", choices=("greedy", "beam"))
    beams: int = option(10, "prefixes that are followed", low=1, when=("decode", "beam"))
    lm_weight: float = option(0.3, "of the n-gram model; 0 is without", low=0.0, when=("decode", "beam"))
    lm_order: int = option(2, "words of an n-gram", low=1, high=5, when=("decode", "beam"))
    augment_speed: float = option(0.1, "faster or slower by up to this share", low=0.0, high=0.5)
    augment_mask: float = option(0.05, "share of frames hidden, at most", low=0.0, high=0.5)
    augment_noise: float = option(0.001, "std of the noise on a coordinate", low=0.0, high=0.1)
    augment_landmarks: float = option(0.02, "scale and shift of the whole figure, at most", low=0.0, high=0.3)

    @property
    def settling(self) -> int:
        """The flat start counts: CTC may fall back to blanks right after it."""
        return max(super().settling, self.flat_start)
