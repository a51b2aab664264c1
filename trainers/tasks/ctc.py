"""Connectionist temporal classification (Graves et al. 2006), with every misuse refused by name.

torch's own loss takes a blank within a target, an id beyond the vocabulary and raw logits without a
word, and gives an infinite loss, or with zero_infinity a silent 0, where nothing can be aligned.
"""

from collections.abc import Hashable, Sequence

import torch
from torch import Tensor
from torch.nn.functional import ctc_loss, nll_loss

from trainers.data.frames import mask

BLANK = 0
MIDDLE = 0.6
"""Share of its part of the frames that a gloss has at a flat start."""


class Misuse(ValueError):
    """Not what CTC is defined for; the message says which rule is broken and where."""


def frames_needed(target: Sequence[Hashable]) -> int:
    """Output frames that a target takes: its length, and a blank between neighbours that repeat."""
    return len(target) + sum(a == b for a, b in zip(target[1:], target, strict=False))


def check(log_probs: Tensor, lengths: Tensor, targets: Sequence[Sequence[int]]) -> None:
    """Raises Misuse unless `log_probs` (B, T, V), `lengths` (B,) and the B targets go together.

    NaN is none: it is what a model that diverged says, and gives a loss that is NaN.
    """
    if log_probs.ndim != 3 or lengths.ndim != 1:
        raise Misuse(f"log-probabilities are (B, T, V) and lengths (B,), not {tuple(log_probs.shape)}")
    batch, steps, words = log_probs.shape
    if batch != len(lengths) or batch != len(targets):
        raise Misuse(
            f"the batch comes first: {batch} rows of log-probabilities, {len(lengths)} lengths, "
            f"{len(targets)} targets"
        )
    if int(lengths.max()) > steps or int(lengths.min()) < 1:
        raise Misuse(f"a length is outside 1 to {steps}: {lengths.tolist()}")
    first = log_probs.detach()[:, 0]
    first = first[(first < torch.inf).all(-1)]
    if not bool(((first.exp().sum(-1) - 1.0).abs() < 1e-3).all()):
        raise Misuse("these are no log-probabilities: they do not add up to 1 (take log_softmax first)")
    for row, target in enumerate(targets):
        _check_target(row, target, int(lengths[row]), words)


def _check_target(row: int, target: Sequence[int], length: int, words: int) -> None:
    if BLANK in target:
        raise Misuse(f"target {row} holds the blank, id {BLANK}: {list(target)}")
    if any(not 0 < id < words for id in target):
        raise Misuse(f"target {row} holds an id outside 1 to {words - 1}: {list(target)}")
    if length < frames_needed(target):
        raise Misuse(
            f"target {row} needs {frames_needed(target)} frames ({len(target)} glosses and their "
            f"repeats), the output has {length}"
        )


def losses(log_probs: Tensor, lengths: Tensor, targets: Sequence[Sequence[int]]) -> Tensor:
    """(B,) float32, nats of each sequence; NaN where the log-probabilities are. Raises Misuse.

    Computed on the CPU: the sums of CUDA's backward pass come in no fixed order, and a resumed run
    must go on bit for bit.
    """
    log_probs_cpu = log_probs.float().cpu()
    check(log_probs_cpu, lengths, targets)
    flat = torch.tensor([id for target in targets for id in target], dtype=torch.long)
    sizes = torch.tensor([len(target) for target in targets])
    losses_cpu: Tensor = ctc_loss(
        log_probs_cpu.transpose(0, 1),
        flat,
        lengths.cpu(),
        sizes,
        blank=BLANK,
        reduction="none",
        zero_infinity=False,
    )
    return losses_cpu.to(log_probs.device)


def flat_targets(lengths: Tensor, targets: Sequence[Sequence[int]], steps: int) -> Tensor:
    """(B, `steps`) ids: each row's glosses over equal parts of its frames, blanks at the edges of each."""
    table = torch.full((len(targets), steps), BLANK)
    edge = (1.0 - MIDDLE) / 2
    for row, (length, target) in enumerate(zip(lengths.tolist(), targets, strict=True)):
        part = length / max(1, len(target))
        for place, id in enumerate(target):
            table[row, int((place + edge) * part) : int((place + 1.0 - edge) * part)] = id
    return table


def flat_losses(log_probs: Tensor, lengths: Tensor, targets: Sequence[Sequence[int]]) -> Tensor:
    """(B,) nats: the mean cross-entropy of a row's frames with `flat_targets`, times its glosses.

    The flat start of hidden Markov models (Young et al., The HTK Book): CTC alone gives each frame so
    little to go by that a network answers blank for many epochs; one that begins with a rough alignment
    does not. Computed on the CPU, as `losses` is. Raises Misuse.
    """
    log_probs_cpu = log_probs.float().cpu()
    check(log_probs_cpu, lengths, targets)
    steps = log_probs_cpu.shape[1]
    aligned = flat_targets(lengths, targets, steps)
    frames = nll_loss(log_probs_cpu.transpose(1, 2), aligned, reduction="none")
    glosses = frames.new_tensor([max(1, len(target)) for target in targets])
    losses_cpu = (frames * mask(lengths, steps, log_probs_cpu.device)).sum(1) / lengths * glosses
    return losses_cpu.to(log_probs.device)


def untrained(lengths: Tensor, targets: Sequence[Sequence[int]], words: int) -> Tensor:
    """(B,) the loss of a model that holds every word equally likely: what an untrained one begins at."""
    steps = int(lengths.max())
    uniform = torch.full((len(targets), steps, words), 1.0 / words).log()
    return losses(uniform, lengths, targets)
