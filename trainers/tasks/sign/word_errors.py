"""Word error counts, the metrics computed from them, and decoding as the options say."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from trainers.data.sign.config import SignConfig
from trainers.data.sign.files import Record
from trainers.engine import health, metrics
from trainers.engine.health import Finding
from trainers.engine.output import Summary
from trainers.tasks import decode, wer
from trainers.tasks.vocabulary import Vocabulary

NAMES = (
    *("substitutions", "deletions", "insertions", "words"),
    *("official_substitutions", "official_deletions", "official_insertions", "official_words"),
    *("sentences", "empty", "frames", "emitting"),
)
"""Names of Output.counts; `empty`: empty hypotheses, `emitting`: frames whose best word is not a blank."""

SILENT_AFTER, STOP_AFTER, STOP_STEPS = 5, 15, 2000
"""A model that outputs only blanks gives a warning SILENT_AFTER epochs after warm-up and flat start, and ends
the run after STOP_AFTER epochs and STOP_STEPS steps; at first every CTC model outputs only blanks."""


class WordErrors(Summary):
    """The metrics of a CTC trainer: word error rates."""

    def plateau(self, best: float, epoch: int, settled: int, step: int) -> list[Finding]:
        """A warning, later an error, if every frame of val is a blank."""
        if settled < SILENT_AFTER or self.values["emitting"] > 0.0:
            return []
        message = f"after {epoch} epochs every frame of val is a blank, WER {self.values['wer']:.2f}"
        fix = "run check; begin with a flat_start, lower learning_rate, or give it a longer warmup_epochs"
        if settled >= STOP_AFTER and step >= STOP_STEPS:
            return [health.error("ctc.blank", message, fix)]
        return [health.warning("ctc.blank", message, fix)] if settled == SILENT_AFTER else []

    def conclude(self, correct: Sequence[float], records: Sequence[Any], seed: int) -> str:
        """Add the WER's 95 % interval over signers to `values`; returns the closing sentence of the run."""
        values = self.values
        low, high = interval(correct, records, seed)
        unit = resampled(records)
        values.update(wer_low=low, wer_high=high)
        return (
            f"WER {100 * values['wer']:.1f} % (95 % {100 * low:.1f} to {100 * high:.1f}, {unit} resampled; "
            f"{values['substitutions']:.0f} substitutions, {values['deletions']:.0f} deletions, "
            f"{values['insertions']:.0f} insertions of {values['words']:.0f} words), official "
            f"{100 * values['wer_official']:.1f} %"
        )


def interval(edits: Sequence[float], records: Sequence[Record], seed: int) -> tuple[float, float]:
    """The 95 % bootstrap interval of the WER; resamples signers, or sentences if there is one signer."""
    signers = [record.signer for record in records]
    words = [float(len(record.words)) for record in records]
    return metrics.bootstrap_interval(edits, signers, seed, weights=words)


def resampled(records: Sequence[Record]) -> str:
    """The word for the unit that `interval` resamples: `signers`, or `sentences` if there is one signer."""
    return metrics.resampled([record.signer for record in records], "signers", "sentences")


def count(record: Record, hypothesis: Sequence[str], protocol: str, path: Sequence[int]) -> list[float]:
    """The counts NAMES of one sentence; `path` is the best word id of each frame."""
    plain = wer.errors(record.words, hypothesis)
    cleaned = wer.official_errors(record.annotation, hypothesis, protocol)
    emitting = sum(id != decode.BLANK for id in path)
    return [float(n) for n in (*plain, *cleaned, 1, not hypothesis, len(path), emitting)]


def summarise(counts: Sequence[float]) -> WordErrors:
    """Metrics from summed counts: WER (filtered glosses), official WER (all glosses, cleaned), edits."""
    sums = dict(zip(NAMES, counts, strict=True))
    plain, cleaned = (wer.Errors(*(round(n) for n in counts[at : at + 4])) for at in (0, 4))
    return WordErrors(
        {
            "wer": plain.rate,
            "wer_official": cleaned.rate,
            **{name: sums[name] for name in NAMES[:4]},
            "empty": sums["empty"] / max(1.0, sums["sentences"]),
            "emitting": sums["emitting"] / max(1.0, sums["frames"]),
        }
    )


class Decoder:
    """Decodes log-probabilities to glosses: greedily, or by beam search with an n-gram model."""

    def __init__(self, config: SignConfig, vocabulary: Vocabulary, model: decode.NGrams | None) -> None:
        self.vocabulary, self.model = vocabulary, model
        self.beams = config.beams if config.decode == "beam" else 0
        self.weight = config.lm_weight if self.beams else 0.0

    @classmethod
    def of(cls, config: SignConfig, vocabulary: Vocabulary, train: Sequence[Sequence[str]]) -> "Decoder":
        """Create a decoder from the options; for beam search, count the n-grams of the sentences `train`."""
        if config.decode == "greedy":
            return cls(config, vocabulary, None)
        sentences = [vocabulary.targets(words) for words in train]
        return cls(config, vocabulary, decode.NGrams.of(sentences, config.lm_order, len(vocabulary)))

    def words(self, log_probs: np.ndarray) -> list[str]:
        """Decode log-probabilities (T, V) to glosses."""
        if not self.beams:
            return self.vocabulary.glosses(decode.greedy(log_probs))
        return self.vocabulary.glosses(decode.beam_search(log_probs, self.beams, self.model, self.weight))

    def as_dict(self) -> dict[str, Any] | None:
        """The n-gram model as JSON for the manifest; None if there is none."""
        return None if self.model is None else {"order": self.model.order, "ngrams": self.model.as_list()}

    @classmethod
    def from_dict(cls, config: SignConfig, vocabulary: Vocabulary, value: dict[str, Any] | None) -> "Decoder":
        """Create a decoder from the options and the result of `as_dict`."""
        if value is None:
            return cls(config, vocabulary, None)
        model = decode.NGrams.from_list(value["ngrams"], value["order"], len(vocabulary))
        return cls(config, vocabulary, model)
