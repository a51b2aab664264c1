"""A sign language model from its checkpoint alone: restore, predict, evaluate."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from trainers.data.frames import FrameNormaliser
from trainers.data.landmarks import Layout
from trainers.data.refusal import Unusable
from trainers.data.sign import data, reading
from trainers.data.sign.config import SignConfig
from trainers.engine import checkpoint, health, leakage
from trainers.engine.config import parse
from trainers.engine.events import Silent
from trainers.tasks.sign import rules, words
from trainers.tasks.sign import task as tasks
from trainers.tasks.sign.task import SignTask
from trainers.tasks.vocabulary import Vocabulary


@dataclass(frozen=True)
class Restored:
    """A model from its checkpoint, with the preprocessing that belongs to it."""

    config: SignConfig
    model: nn.Module
    vocabulary: Vocabulary
    layout: Layout
    protocol: str
    normaliser: FrameNormaliser
    decoder: words.Decoder

    @torch.no_grad()
    def logits(self, raw: np.ndarray) -> Tensor:
        """Raw columns (T, 1629) to logits (T', V)."""
        held = torch.from_numpy(np.array(raw))[None]
        device = next(self.model.parameters()).device
        frames = tasks.visible(self.normaliser, held.to(device), torch.tensor([len(raw)]))
        answer: Tensor = self.model(frames, torch.zeros(1, dtype=torch.long, device=device))
        return answer[0].float().cpu()

    def glosses(self, logits: Tensor) -> list[str]:
        """What logits (T', V) say."""
        return self.decoder.words(logits.log_softmax(-1).numpy())


def restore(kind: type[SignTask], held: checkpoint.Checkpoint) -> Restored:
    """Strictly: raises Damaged where the checkpoint is not of this model."""
    config, findings = parse(kind.options, held.manifest["config"])
    if findings or held.manifest["trainer"] != kind.name:
        raise checkpoint.Damaged(f"{held.path} is no checkpoint of this version of {kind.name}")
    kept = held.manifest["preprocessing"]
    vocabulary, layout = Vocabulary(tuple(kept["classes"])), Layout.from_dict(kept["layout"])
    model = tasks.build(kind, config, len(vocabulary), layout)
    checkpoint.load_weights(model, held)
    model.eval()
    normaliser = FrameNormaliser.from_dict(kept["normalisation"])
    decoder = words.Decoder.from_dict(config, vocabulary, kept["decoder"])
    return Restored(config, model, vocabulary, layout, kept["protocol"], normaliser, decoder)


def predict(
    kind: type[SignTask], held: checkpoint.Checkpoint, paths: Sequence[Path]
) -> Iterator[dict[str, Any]]:
    """For each file its glosses, or the error that kept it from them."""
    restored = restore(kind, held)
    for path in paths:
        try:
            raw = reading.read(path, restored.config.min_frames).raw
        except (Unusable, health.DataUnusable) as fault:
            yield {"file": str(path), "error": str(fault)}
            continue
        yield {"file": str(path), "frames": len(raw), "glosses": restored.glosses(restored.logits(raw))}


def evaluate(
    kind: type[SignTask],
    held: checkpoint.Checkpoint,
    folders: Mapping[str, Path],
    split: str,
    work: Path,
) -> dict[str, Any]:
    """WER of the checkpoint on a split of these folders (`all`: on every usable sentence)."""
    restored = restore(kind, held)
    found = tasks.load(kind, restored.config, folders, work, Silent())
    _same_layout(restored, found)
    records = [r for r in found.records if split in ("all", r.split)]
    if not records:
        raise health.DataUnusable(rules.nothing(split, found.refused, found.listing.found))
    records, told = leakage.untrained(
        held, found.fingerprint, split, records, [record.id for record in records]
    )
    rows = []
    for record in records:
        logits = restored.logits(found.cache.raw(record.id))
        path = logits.argmax(1).tolist()
        rows.append(words.count(record, restored.glosses(logits), restored.protocol, path))
    values = words.summarise(np.sum(rows, 0).tolist()).values
    low, high = words.interval([sum(row[:3]) for row in rows], records, restored.config.seed)
    return {
        "checkpoint": str(held.path),
        "step": held.manifest["step"],
        "split": split,
        "samples": len(records),
        "drawn": words.what_is_drawn(records),
        "refused": len(found.refused),
        **told,
        "values": {**values, "wer_low": low, "wer_high": high},
    }


def _same_layout(restored: Restored, found: data.Data) -> None:
    if restored.layout == found.listing.layout:
        return
    seen = f"the data is {found.listing.layout.name}, the model was trained on {restored.layout.name}"
    raise health.DataUnusable([health.error("schema.layout", seen, "take data of the model's layout")])
