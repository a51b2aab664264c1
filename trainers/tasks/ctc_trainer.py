"""The base class of trainers that recognise glosses in landmarks of signing with CTC."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from trainers.data import refusal_checks
from trainers.data.frames import FrameNormaliser, Frames
from trainers.data.landmarks import FULL, RAW, Layout
from trainers.data.refusal import Unusable
from trainers.data.sign import augment, files, parts, reading
from trainers.data.sign import data as sign_data
from trainers.data.sign.batch import Batch, Sample, collate
from trainers.data.sign.config import SignConfig
from trainers.data.sign.data import Data
from trainers.data.sign.files import Record
from trainers.engine import leakage, rng
from trainers.engine.check import Check, without
from trainers.engine.checkpoint import Checkpoint
from trainers.engine.events import Events, Silent
from trainers.engine.export import Exportable
from trainers.engine.health import DataUnusable
from trainers.engine.output import Output
from trainers.engine.trainer import Trainer
from trainers.tasks import ctc, decode
from trainers.tasks.sign import (
    ctc_checks,
    data_checks,
    inputs,
    network_checks,
    program,
    sentences,
    word_errors,
)
from trainers.tasks.sign.word_errors import Decoder, WordErrors
from trainers.tasks.vocabulary import Vocabulary

T = TypeVar("T", bound="CTCTrainer")


class CTCTrainer(Trainer):
    """Base class; a trainer defines `name`, `options`, `stride`, `sizes` and `model`.

    Its model takes normalised Frames (B, T, 4887) and dropout keys (B,), and returns logits
    (B, ceil(T / stride), words). `model.backbone(frames, keys)` returns the input of its recurrent layer.
    """

    options: ClassVar[type[SignConfig]]
    stride: ClassVar[int]
    """Input frames per output frame."""

    sizes: ClassVar[Mapping[str, tuple[int, int]]]
    """Preset to (number of parameters without the vocabulary, number of parameters per word)."""

    config: SignConfig
    data: Data
    vocabulary: Vocabulary
    layout: Layout
    protocol: str
    normaliser: FrameNormaliser
    decoder: Decoder

    # Data

    @classmethod
    def load(cls, config: Any, folders: Mapping[str, Path], cache: Path, events: Events) -> Data:
        """Load corpus and features; see Trainer.load and `read`."""
        return cls.read(config, folders, cache, events)

    @classmethod
    def read(cls, config: SignConfig, folders: Mapping[str, Path], cache: Path, events: Events) -> Data:
        """Load corpus and features; refuses sentences with too few frames for CTC. Raises DataUnusable."""

        def judge(record: Record, row: sign_data.Row) -> Unusable | None:
            needed, output = ctc.frames_needed(record.words), -(-row.steps // cls.stride)
            if output >= needed:
                return None
            detail = f"{row.steps} frames give {output}, CTC needs {needed}"
            return Unusable("is too short for its glosses", detail, "ctc.length")

        return sign_data.load(files.scan(folders, config), cache, events, judge)

    def fit(self) -> dict[str, Any]:
        """The preprocessing: vocabulary, normalisation, layout, decoder. Raises DataUnusable."""
        listing = self.data.listing
        if empty := refusal_checks.nonempty(listing):
            raise DataUnusable(empty)
        train = [record.words for record in self.splits["train"]]
        vocabulary = Vocabulary.of(train, self.config.oov == "unk")
        return {
            "classes": list(vocabulary.words),
            "normalisation": self._fit_normaliser().as_dict(),
            "layout": listing.layout.as_dict(),
            "protocol": listing.protocol,
            "gloss_filter": self.config.gloss_filter,
            "decoder": Decoder.of(self.config, vocabulary, train).as_dict(),
            "input": {"keys": list(reading.KEYS), "shape": ["T", FULL], "or": ["T", RAW]},
        }

    def _fit_normaliser(self) -> FrameNormaliser:
        kind = self.config.normalise
        if kind != "global":
            return FrameNormaliser(kind)
        ids = [record.id for record in self.splits["train"]]
        return FrameNormaliser(kind, self.data.cache.statistics(ids))

    def setup(self) -> None:
        """Create vocabulary, layout, normaliser and decoder from `preprocessing`."""
        facts = self.preprocessing
        self.vocabulary, self.layout = Vocabulary(self.classes), Layout.from_dict(facts["layout"])
        self.protocol = facts["protocol"]
        self.normaliser = FrameNormaliser.from_dict(facts["normalisation"])
        self.decoder = Decoder.from_dict(self.config, self.vocabulary, facts["decoder"])

    def sample(self, split: str, epoch: int, index: int) -> Sample:
        """A sentence; in train it is augmented, and marked `flat` in the epochs of the flat start."""
        plain = self.unaugmented(split, index, epoch)
        if split != "train":
            return plain
        key = rng.derive_seed(self.config.seed, rng.SAMPLE, epoch, index)
        least = max(1, self.stride * (ctc.frames_needed(plain.target) - 1) + 1)
        course = augment.augmented(plain.course.raw, key, least, self.config)
        return replace(plain, course=course, flat=epoch < self.config.flat_start)

    def unaugmented(self, split: str, index: int, epoch: int = 0) -> Sample:
        """A sentence without augmentation."""
        record = self.splits[split][index]
        target = tuple(self.vocabulary.targets(record.words))
        key = rng.dropout_key(self.config.seed, epoch, index)
        return Sample(index, augment.plain(self.data.cache.raw(record.id)), record, target, key)

    def collate(self, samples: Sequence[Sample]) -> Batch:
        """Pad the samples to the longest and combine them to a batch."""
        return collate(samples)

    # Model

    @classmethod
    def parameters(cls, preset: str, words: int) -> int:
        """The number of parameters of a preset's model with `words` words, by `sizes`."""
        fixed, each = cls.sizes[preset]
        return fixed + each * words

    @property
    def expected_parameters(self) -> int:
        """The number of parameters that the model of the options should have. Default: that of its preset."""
        return self.parameters(self.config.preset, len(self.vocabulary))

    @classmethod
    def out_lengths(cls, lengths: Tensor) -> Tensor:
        """The number of output frames for each number of input frames: ceil(T / stride)."""
        return (lengths + cls.stride - 1) // cls.stride

    def frames(self, batch: Batch) -> Frames:
        """The model's input (B, T, 4887): derived, normalised columns; hidden frames are 0."""
        frames = self.normaliser.apply(parts.derive(batch.raw, batch.lengths))
        return replace(frames, values=frames.values * batch.shown[..., None])

    # Loss and metrics

    @property
    def counts_size(self) -> int:
        """The number of counts in word_errors.NAMES."""
        return len(word_errors.NAMES)

    def loss(self, model: nn.Module, batch: Batch) -> Output:
        """The loss in nats, with its weight (glosses or sequences, by `loss_per`) and word error counts."""
        logits = model(self.frames(batch), batch.keys).float()
        log_probs = logits.log_softmax(-1)
        lengths = self.out_lengths(batch.lengths)
        losses = self.losses(log_probs, lengths, batch)
        counts, edits, heard = self._counts(log_probs.detach(), lengths, batch, model.training)
        sizes = [max(1, len(target)) for target in batch.targets]
        weight = float(sum(sizes)) if self.config.loss_per == "gloss" else float(len(sizes))
        return Output(losses.sum(), losses.new_tensor(weight), counts, edits, logits, heard)

    def losses(self, log_probs: Tensor, lengths: Tensor, batch: Batch) -> Tensor:
        """The loss (B,) of each sequence in nats: flat-start loss or CTC."""
        kind = ctc.flat_losses if batch.flat else ctc.losses
        return kind(log_probs, lengths, batch.targets)

    def _counts(
        self, log_probs: Tensor, lengths: Tensor, batch: Batch, training: bool
    ) -> tuple[Tensor, Tensor, list[list[str]]]:
        """The counts word_errors.NAMES of the batch, each sample's edits, and its glosses.

        Training decodes greedily.
        """
        paths = log_probs.argmax(-1).cpu()
        searched = None if training or not self.decoder.beams else log_probs.cpu().numpy()
        rows, answers = [], []
        for row, (length, record) in enumerate(zip(lengths.tolist(), batch.records, strict=True)):
            assert record is not None
            path = paths[row, :length].tolist()
            hypothesis = (
                self.vocabulary.glosses(decode.collapse(path))
                if searched is None
                else self.decoder.words(searched[row, :length])
            )
            answers.append(hypothesis)
            rows.append(word_errors.count(record, hypothesis, self.protocol, path))
        table = torch.tensor(rows, dtype=torch.float32, device=log_probs.device)
        return table.sum(0), table[:, :3].sum(1), answers

    def results(self, split: str, answers: Sequence[Any]) -> dict[str, Any]:
        """Word errors, table by gloss, confused glosses and every wrong sentence of a split."""
        return sentences.results(self.splits[split], answers, self.config.seed)

    def summarise(self, counts: Sequence[float]) -> WordErrors:
        """Word error rates, and the edits they consist of."""
        return word_errors.summarise(counts)

    def content(self, record: Record) -> str:
        """The SHA-256 of the sentence's raw columns."""
        return self.data.cache.rows[record.id].sha256

    # From a checkpoint

    @torch.no_grad()
    def logits(self, raw: np.ndarray) -> Tensor:
        """Logits (T', V) of the restored model for raw columns (T, 1629)."""
        device = next(self.network.parameters()).device
        batch = collate([Sample(0, augment.plain(np.array(raw)))]).to(device)
        answer: Tensor = self.network(self.frames(batch), batch.keys)
        return answer[0].float().cpu()

    def glosses(self, logits: Tensor) -> list[str]:
        """Decode logits (T', V) to glosses."""
        return self.decoder.words(logits.log_softmax(-1).numpy())

    def predict(self, paths: Sequence[Path]) -> Iterator[dict[str, Any]]:
        """Yield `file`, `frames` and `glosses` for each feature file, or `file` and `error`."""
        for path in paths:
            try:
                raw, warnings = inputs.read(path, self.config.min_frames, self.layout)
            except (Unusable, DataUnusable) as fault:
                yield {"file": str(path), "error": str(fault)}
                continue
            answer = {"file": str(path), "frames": len(raw), "glosses": self.glosses(self.logits(raw))}
            yield {**answer, "warning": "; ".join(warnings)} if warnings else answer

    def exportable(self, saved: Checkpoint) -> Exportable:
        """The program to export; see sign/program.py."""
        return program.exportable(self.network, self.normaliser, self.layout, self.stride, self.config)

    def evaluate(
        self, saved: Checkpoint, folders: Mapping[str, Path], split: str, work: Path
    ) -> dict[str, Any]:
        """Word error rates of the checkpoint on a split of these folders. Raises DataUnusable."""
        data = self.read(self.config, folders, work, Silent())
        inputs.require_layout(data.listing.layout, self.layout)
        records = leakage.records_of(data, split)
        if not records:
            raise DataUnusable(refusal_checks.no_samples(data.listing, split))
        rows_of = data.cache.rows
        records, facts = leakage.evaluated(saved, data, split, records, lambda r: rows_of[r.id].sha256)
        rows, answers = [], []
        for record in records:
            logits = self.logits(data.cache.raw(record.id))
            path = logits.argmax(1).tolist()
            answers.append(self.glosses(logits))
            rows.append(word_errors.count(record, answers[-1], self.protocol, path))
        values = word_errors.summarise(np.sum(rows, 0).tolist()).values
        return {
            **facts,
            **(results := sentences.results(records, answers, self.config.seed)),
            "values": {**values, **results["values"]},
        }

    # Checks

    @classmethod
    def checks(cls, standard: Sequence[Check]) -> list[Check]:
        """The checks of landmarks, CTC and network; own versions replace `loss.first` and `overfit`."""
        own = (*data_checks.CHECKS, *ctc_checks.CHECKS, *network_checks.CHECKS)
        return [*own, *without(standard, "loss.first", "overfit")]

    def expected_first_loss(self, batch: Batch) -> float:
        """The loss of uniform word probabilities."""
        losses = ctc.untrained(self.out_lengths(batch.lengths), batch.targets, len(self.vocabulary))
        sizes = [max(1, len(target)) for target in batch.targets]
        return float(losses.sum()) / (sum(sizes) if self.config.loss_per == "gloss" else len(sizes))

    def lighter(self: T) -> T:
        """A trainer without the flat start, because the checks are about training with CTC."""
        return self.replace(flat_start=0)

    def without_regularisation(self: T) -> T:
        """A trainer with the CTC loss alone, without flat start."""
        return self.replace(flat_start=0)
