"""Landmarks to glosses as the engine's task: all but the model, which a trainer adds."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from trainers.data.frames import FrameNormaliser, Frames, mask
from trainers.data.landmarks import FULL, RAW, Layout
from trainers.data.sign import augment, data, files, parts, reading
from trainers.data.sign.batch import Batch, Sample, collate
from trainers.data.sign.config import SignConfig
from trainers.data.sign.files import Record, Refusal
from trainers.engine import health, rng
from trainers.engine.events import Events
from trainers.engine.legacy import Legacy
from trainers.engine.output import Output
from trainers.engine.sampler import Key
from trainers.tasks import ctc, decode
from trainers.tasks.sign import rules, words
from trainers.tasks.vocabulary import Vocabulary


class Items:
    """A split's sentences; in training another course of each at every epoch, the first ones `flat`."""

    def __init__(self, task: "SignTask", split: str, moving: bool) -> None:
        self.task, self.split, self.moving = task, split, moving

    def __getitem__(self, key: Key) -> Sample:
        epoch, index = key
        task, record = self.task, self.task.records[self.split][index]
        target = tuple(task.vocabulary.targets(record.words))
        raw = task.data.cache.raw(record.id)
        word = rng.derive_seed(task.config.seed, 3, epoch, index)
        course = augment.plain(raw)
        if self.moving:
            least = task.least_frames(ctc.frames_needed(target))
            course = augment.augmented(raw, word, least, task.config)
        flat = self.moving and epoch < task.config.flat_start
        return Sample(index, course, record, target, word & 0xFFFFFFFF, flat=flat)


class SignTask(Legacy):
    """See trainers.engine.task.Task. A trainer gives `name`, `stride` and `make`."""

    name: ClassVar[str]
    options: ClassVar[type[SignConfig]]
    stride: ClassVar[int]
    """Frames of one output frame; the output of T frames has ceil(T / stride)."""

    counts_size = len(words.NAMES)

    def __init__(self, config: SignConfig, held: data.Data) -> None:
        self.config, self.data = config, held
        self.records = files.by_split(held.records)
        self.protocol, self.layout = held.listing.protocol, held.listing.layout
        self.fingerprint = held.fingerprint
        train = [record.words for record in self.records["train"]]
        self.vocabulary = Vocabulary.of(train, config.oov == "unk")
        self.decoder = words.Decoder.of(config, self.vocabulary, train)
        self.normaliser = self.fit()

    @classmethod
    def make(cls, config: Any, words: int, layout: Layout) -> nn.Module:
        """The model: Frames and keys (B,) to logits (B, ceil(T / stride), words)."""
        raise NotImplementedError

    @classmethod
    def parameters(cls, config: Any, words: int) -> int:
        """How many the model of these options has, by its preset's table."""
        raise NotImplementedError

    def alone(self) -> "SignTask":
        """The task of CTC alone, without a flat start or a teacher; for probes."""
        return self.replace(flat_start=0)

    @classmethod
    def out_lengths(cls, lengths: Tensor) -> Tensor:
        """Output frames of that many frames."""
        return (lengths + cls.stride - 1) // cls.stride

    @classmethod
    def least_frames(cls, needed: int) -> int:
        """The fewest frames whose output has `needed`."""
        return max(1, cls.stride * (needed - 1) + 1)

    @property
    def classes(self) -> tuple[str, ...]:
        """The vocabulary, the blank first."""
        return self.vocabulary.words

    def fit(self) -> FrameNormaliser:
        """With statistics of the training split where the option asks for them."""
        kind = self.config.normalise
        if kind != "global":
            return FrameNormaliser(kind)
        ids = [record.id for record in self.records["train"]]
        return FrameNormaliser(kind, self.data.cache.statistics(ids))

    def replace(self, **changes: Any) -> "SignTask":
        """The same data with other options; for probes."""
        copy = object.__new__(type(self))
        copy.__dict__.update(self.__dict__)
        copy.config = self.config.replace(**changes)
        return copy

    def size(self, split: str) -> int:
        """Samples of a split."""
        return len(self.records[split])

    def items(self, split: str) -> Items:
        """The samples of a split; those of train are augmented."""
        return Items(self, split, split == "train")

    def still(self, split: str) -> Items:
        """The same without augmentation; for probes."""
        return Items(self, split, False)

    def names(self, split: str, indices: Sequence[int]) -> list[str]:
        """Sentence ids."""
        return [self.records[split][index].id for index in indices]

    def groups(self, split: str) -> list[str]:
        """Sentence ids: signers stand in several splits by design."""
        return [record.id for record in self.records[split]]

    def collate(self, samples: list[Sample]) -> Batch | None:
        """Samples to a batch."""
        return collate(samples)

    def build(self) -> nn.Module:
        """The model with start weights that the seed alone decides."""
        return build(type(self), self.config, len(self.vocabulary), self.layout)

    def frames(self, batch: Batch) -> Frames:
        """What the model sees: derived, normalised once, hidden frames zero."""
        return visible(self.normaliser, batch.raw, batch.lengths, batch.shown)

    def forward(self, model: nn.Module, batch: Batch) -> Output:
        """CTC, in nats; the loss is the mean over glosses or sequences as `loss_per` says."""
        logits = model(self.frames(batch), batch.keys).float()
        log_probs = logits.log_softmax(-1)
        lengths = self.out_lengths(batch.lengths)
        losses = self.losses(log_probs, lengths, batch)
        counts, correct = self._counts(log_probs.detach(), lengths, batch, model.training)
        sizes = [max(1, len(target)) for target in batch.targets]
        weight = float(sum(sizes)) if self.config.loss_per == "gloss" else float(len(sizes))
        return Output(losses.sum(), losses.new_tensor(weight), counts, correct, logits)

    def losses(self, log_probs: Tensor, lengths: Tensor, batch: Batch) -> Tensor:
        """(B,) of each sequence."""
        kind = ctc.flat_losses if batch.flat else ctc.losses
        return kind(log_probs, lengths, batch.targets)

    def _counts(
        self, log_probs: Tensor, lengths: Tensor, batch: Batch, training: bool
    ) -> tuple[Tensor, Tensor]:
        """words.NAMES summed over the batch, and each sample's edits. In training by the best path."""
        paths = log_probs.argmax(-1).cpu()
        searched = None if training or not self.decoder.beams else log_probs.cpu().numpy()
        rows = []
        for row, (length, record) in enumerate(zip(lengths.tolist(), batch.records, strict=True)):
            path = paths[row, :length].tolist()
            said = (
                self.vocabulary.glosses(decode.collapse(path))
                if searched is None
                else self.decoder.words(searched[row, :length])
            )
            rows.append(words.count(record, said, self.protocol, path))
        table = torch.tensor(rows, dtype=torch.float32, device=log_probs.device)
        return table.sum(0), table[:, :3].sum(1)

    def summarise(self, counts: Sequence[float]) -> words.WordErrors:
        """WER with its parts."""
        return words.summarise(counts)

    def preprocessing(self) -> dict[str, Any]:
        """Vocabulary, normalisation, layout, how to decode."""
        return {
            "classes": list(self.vocabulary.words),
            "normalisation": self.normaliser.as_dict(),
            "layout": self.layout.as_dict(),
            "protocol": self.protocol,
            "gloss_filter": self.config.gloss_filter,
            "decoder": self.decoder.as_dict(),
            "input": {"keys": list(reading.KEYS), "shape": ["T", FULL], "or": ["T", RAW]},
        }


def visible(normaliser: FrameNormaliser, raw: Tensor, lengths: Tensor, shown: Tensor | None = None) -> Frames:
    """What the model sees of raw frames: derived, normalised once, hidden ones zero."""
    held = normaliser.apply(parts.derive(raw, lengths))
    return held if shown is None else replace(held, values=held.values * shown[..., None])


def frame_mask(lengths: Tensor, values: Tensor) -> Tensor:
    """(B, T) of 0 and 1 for values (B, T, …) and the lengths of its rows."""
    return mask(lengths, values.shape[1], values.device)


def build(kind: type[SignTask], config: SignConfig, words: int, layout: Layout) -> nn.Module:
    """The model with start weights that the seed alone decides."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(rng.derive_seed(config.seed, 4) >> 1)
        return kind.make(config, words, layout)


def load(
    kind: type[SignTask], config: SignConfig, folders: Mapping[str, Path], cache: Path, events: Events
) -> data.Data:
    """Corpus and features, without the sentences that CTC cannot align. Raises DataUnusable."""
    try:
        listing = files.scan(folders["phoenix"], config)
    except files.BadFolder as fault:
        raise health.DataUnusable([health.error(fault.code, fault.message, fault.fix)]) from fault
    held = data.load(listing, cache, config, events)
    short = [refusal for record in held.records if (refusal := _too_short(kind, record, held.cache))]
    ids = {refusal.id for refusal in short}
    kept = tuple(record for record in held.records if record.id not in ids)
    return replace(held, records=kept, refused=(*held.refused, *short))


def _too_short(kind: type[SignTask], record: Record, cache: data.Cache) -> Refusal | None:
    steps, needed = cache.rows[record.id].steps, ctc.frames_needed(record.words)
    out = -(-steps // kind.stride)
    if out >= needed:
        return None
    reason = "is too short for its glosses"
    return Refusal(record.id, "ctc.length", reason, f"{steps} frames give {out}, CTC needs {needed}")


def open_task(
    kind: type[SignTask], config: SignConfig, folders: Mapping[str, Path], cache: Path, events: Events
) -> SignTask:
    """The task over these folders. Raises DataUnusable."""
    held = load(kind, config, folders, cache, events)
    empty = rules.nonempty(files.by_split(held.records), held.refused, held.listing.found)
    if empty:
        raise health.DataUnusable(empty)
    return kind(config, held)


def run_rules(task: SignTask) -> list[health.Finding]:
    """The rules of names, glosses and splits, asked once more when a run starts."""
    held = task.data
    return rules.check(held.listing, held.records, held.refused, task.config)
