"""Decodes CTC output to word ids: best path, or prefix beam search with an n-gram model."""

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import groupby

import numpy as np

BLANK = 0
START = -1
CANDIDATES = 20
"""Number of most probable words that beam search considers at each frame."""


def collapse(path: Iterable[int]) -> list[int]:
    """The word ids of a path (one id per frame): repeats merged, blanks removed."""
    return [id for id, _ in groupby(path) if id != BLANK]


def greedy(log_probs: np.ndarray) -> list[int]:
    """The word ids of the best path of `log_probs` (T, V)."""
    return collapse(log_probs.argmax(1).tolist())


@dataclass
class NGrams:
    """An interpolated n-gram model with Witten-Bell smoothing (Witten and Bell 1991) over word ids.

    P(w|h) = (c(hw) + n(h) P(w|h')) / (c(h) + n(h)), where n(h) is the number of different words seen after h
    and h' is h without its first word; below order 1, P is uniform.
    """

    order: int
    words: int
    counts: dict[tuple[int, ...], Counter[int]] = field(default_factory=lambda: defaultdict(Counter))

    @classmethod
    def of(cls, sentences: Iterable[Sequence[int]], order: int, words: int) -> "NGrams":
        """Count the n-grams of sentences of word ids; `words` is the size of the vocabulary."""
        model = cls(order, words)
        for sentence in sentences:
            padded = [*[START] * (order - 1), *sentence]
            for position in range(order - 1, len(padded)):
                for length in range(order):
                    model.counts[tuple(padded[position - length : position])][padded[position]] += 1
        return model

    def log_prob(self, word: int, before: Sequence[int]) -> float:
        """ln P of a word, given all words before it in the sentence."""
        padded = [*[START] * (self.order - 1), *before]
        probability = 1.0 / max(1, self.words - 1)
        for length in range(self.order):
            counts = self.counts.get(tuple(padded[len(padded) - length :]))
            if counts:
                total, kinds = counts.total(), len(counts)
                probability = (counts[word] + kinds * probability) / (total + kinds)
        return math.log(probability)

    def as_list(self) -> list[list[int]]:
        """The model as JSON for the manifest: [word, count, history…] for each n-gram."""
        return [
            [word, count, *history]
            for history, counts in sorted(self.counts.items())
            for word, count in sorted(counts.items())
        ]

    @classmethod
    def from_list(cls, rows: Iterable[Sequence[int]], order: int, words: int) -> "NGrams":
        """Create a model from the result of `as_list`."""
        model = cls(order, words)
        for word, count, *history in rows:
            model.counts[tuple(history)][word] = count
        return model


Prefix = tuple[int, ...]


def _plus(a: float, b: float) -> float:
    if a < b:
        a, b = b, a
    return a if b == -math.inf else a + math.log1p(math.exp(b - a))


def beam_search(
    log_probs: np.ndarray, beams: int, model: NGrams | None = None, weight: float = 0.0
) -> list[int]:
    """The best word ids by prefix beam search (Hannun et al. 2014) over `log_probs` (T, V).

    The score is ln P(prefix) + weight * ln P(words). Each prefix has two log sums over its paths: those that
    end in a blank and those that do not.
    """
    beam: dict[Prefix, tuple[float, float]] = {(): (0.0, -math.inf)}
    spoken: dict[Prefix, float] = {(): 0.0}
    for frame in log_probs:
        some = np.argpartition(frame, -min(CANDIDATES, len(frame)))[-min(CANDIDATES, len(frame)) :]
        following: dict[Prefix, list[float]] = defaultdict(lambda: [-math.inf, -math.inf])
        for prefix, (blank, word) in beam.items():
            _follow(following, prefix, blank, word, frame, some.tolist())
        for prefix in following:
            if prefix not in spoken:
                score = weight * model.log_prob(prefix[-1], prefix[:-1]) if model and weight else 0.0
                spoken[prefix] = spoken[prefix[:-1]] + score
        best = sorted(following, key=lambda p: _plus(*following[p]) + spoken[p], reverse=True)[:beams]
        beam = {prefix: (following[prefix][0], following[prefix][1]) for prefix in best}
    return list(next(iter(beam)))


def _follow(
    following: dict[Prefix, list[float]],
    prefix: Prefix,
    blank: float,
    word: float,
    frame: np.ndarray,
    some: Sequence[int],
) -> None:
    """Extend a prefix by one frame, and add the probabilities to `following`."""
    both = _plus(blank, word)
    for id in some:
        chance = float(frame[id])
        if id == BLANK:
            following[prefix][0] = _plus(following[prefix][0], both + chance)
            continue
        longer = (*prefix, id)
        if prefix and prefix[-1] == id:
            following[prefix][1] = _plus(following[prefix][1], word + chance)
            following[longer][1] = _plus(following[longer][1], blank + chance)
        else:
            following[longer][1] = _plus(following[longer][1], both + chance)
