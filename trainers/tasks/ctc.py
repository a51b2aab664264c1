"""Connectionist temporal classification (Graves et al. 2006) with checked arguments.

torch's own loss accepts blanks in a target, ids beyond the vocabulary and raw logits without an error, and
returns infinity (or 0 with zero_infinity) if a target is too long for its frames.
"""

from collections.abc import Hashable, Sequence

import torch
from torch import Tensor
from torch.nn.functional import ctc_loss, nll_loss

from trainers.data.frames import mask

BLANK = 0
MIDDLE = 0.6
"""At a flat start, the middle fraction of a gloss's part of the frames that is labelled with it."""


class Misuse(ValueError):
    """The arguments are invalid for CTC; the message names the rule and the row."""


def frames_needed(target: Sequence[Hashable]) -> int:
    """The minimum output frames for a target: its length plus one blank between equal neighbours."""
    return len(target) + sum(a == b for a, b in zip(target[1:], target, strict=False))


def check(log_probs: Tensor, lengths: Tensor, targets: Sequence[Sequence[int]]) -> None:
    """Raise Misuse unless `log_probs` (B, T, V), `lengths` (B,) and the B targets fit together.

    NaN is accepted: a model that diverged outputs it, and the loss becomes NaN.
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
        raise Misuse("not log-probabilities: the probabilities do not add up to 1 (use log_softmax)")
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
    """The CTC loss (B,) float32 of each sequence in nats; NaN for NaN input. Raises Misuse.

    Computed on the CPU, because CUDA's backward pass adds in no fixed order and a resumed run must be
    bit-identical.
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
    """Ids (B, `steps`): each row's glosses on equal parts of its frames, with blanks around each gloss."""
    table = torch.full((len(targets), steps), BLANK)
    edge = (1.0 - MIDDLE) / 2
    for row, (length, target) in enumerate(zip(lengths.tolist(), targets, strict=True)):
        part = length / max(1, len(target))
        for index, id in enumerate(target):
            table[row, int((index + edge) * part) : int((index + 1.0 - edge) * part)] = id
    return table


def flat_losses(log_probs: Tensor, lengths: Tensor, targets: Sequence[Sequence[int]]) -> Tensor:
    """The loss (B,) of a flat start, nats: mean cross-entropy with `flat_targets`, times the glosses.

    A flat start (as for hidden Markov models: Young et al., The HTK Book) trains on a rough alignment
    first; with CTC alone a network outputs blanks for many epochs. Computed on the CPU, as `losses` is.
    Raises Misuse.
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
    """The CTC loss (B,) of uniform word probabilities: the expected loss of an untrained model."""
    steps = int(lengths.max())
    uniform = torch.full((len(targets), steps, words), 1.0 / words).log()
    return losses(uniform, lengths, targets)
