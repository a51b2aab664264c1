"""Emotion from MediaPipe's blendshapes of a face; the model normalises raw scores itself."""

import copy
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from trainers.blendshapes import checks, file_checks, files, names
from trainers.blendshapes.config import Config
from trainers.blendshapes.data import Balanced, Data, values_of
from trainers.blendshapes.files import Row
from trainers.blendshapes.model import Answering, Blendshapes
from trainers.data import normalise, refusal_checks
from trainers.data.refusal import Refusal
from trainers.engine import metrics, rng
from trainers.engine.check import Check
from trainers.engine.checkpoint import Checkpoint, Damaged
from trainers.engine.events import Events
from trainers.engine.export import Exportable
from trainers.engine.health import Finding
from trainers.engine.output import Summary
from trainers.tasks import classifier, logistic, scores
from trainers.tasks.classifier import Batch, ClassifierTrainer, Reading, Sample

PROOF_ROWS, TOLERANCE = 8, 1e-4


class BlendshapesTrainer(ClassifierTrainer):
    """See trainers.engine.trainer.Trainer."""

    name = "blendshapes"
    options = Config
    config: Config
    data: Data
    baseline_name = "logistic regression"

    normaliser: normalise.Normaliser
    regression: logistic.Logistic
    balanced: Balanced | None = None

    @classmethod
    def load(cls, config: Any, folders: Mapping[str, Path], cache: Path, events: Events) -> Data:
        """Every row of every file."""
        return Data(file_checks.scan(folders, config))

    def fit(self) -> dict[str, Any]:
        """Names in order, normalisation (which the model itself holds), classes, the baseline."""
        normaliser = self.fit_normaliser()
        return {
            "classes": list(self.config.classes),
            "others": self.config.others,
            "normalisation": {**normaliser.as_dict(), "where": "inside the model"},
            "input": {"names": list(names.SETS[self.config.columns]), "range": [0.0, 1.0]},
            "baseline": self.fit_baseline(normaliser).as_dict(),
        }

    def fit_normaliser(self) -> normalise.Normaliser:
        """Statistics of the training split."""
        rows = self.splits["train"]
        return normalise.fit([values_of(rows, self.config)], [row.id for row in rows])

    def fit_baseline(self, normaliser: normalise.Normaliser) -> logistic.Logistic:
        """Logistic regression on the training split with weighed classes."""
        rows, classes = self.splits["train"], self.config.classes
        labels = np.array([classes.index(row.label) for row in rows], dtype=np.int64)
        weights = classifier.class_weights(labels.tolist(), len(classes)).numpy()
        values = values_of(rows, self.config)
        return logistic.fit(values, labels, weights, normaliser.mean, normaliser.std)

    def setup(self) -> None:
        """Normaliser, baseline, and the order of balanced sampling."""
        inputs = self.preprocessing["input"]["names"]
        if self.classes != self.config.classes or inputs != list(names.SETS[self.config.columns]):
            raise ValueError("it has other classes or blendshapes than its options say")
        self.normaliser = normalise.Normaliser.from_dict(self.preprocessing["normalisation"])
        self.regression = logistic.Logistic.from_dict(self.preprocessing["baseline"])
        if self.config.sampling == "balanced" and hasattr(self, "data"):
            labels = np.array(self.training_labels(), dtype=np.int64)
            self.balanced = Balanced.of(labels, len(self.classes), self.config.seed)

    # Samples

    def size(self, split: str) -> int:
        """Samples of a split; balanced sampling makes an epoch of its own."""
        return len(self.balanced) if split == "train" and self.balanced else super().size(split)

    def sample(self, split: str, epoch: int, index: int) -> Sample:
        """A row; with balanced sampling, the one at this index of the epoch."""
        row = self.balanced.row(epoch, index) if split == "train" and self.balanced else index
        record, key = self.splits[split][row], rng.dropout_key(self.config.seed, epoch, index)
        return Sample(index, self.label(record), self.features(record, split, epoch), key)

    def names(self, split: str, indices: Sequence[int]) -> list[str]:
        """`<file>:<line>`, or the class where rows are drawn."""
        if split == "train" and self.balanced:
            return [f"a row of {self.classes[index % len(self.classes)]}" for index in indices]
        return super().names(split, indices)

    # Model and loss

    def model(self) -> nn.Module:
        """With the statistics of the training split as buffers."""
        mean, std = (torch.from_numpy(values) for values in (self.normaliser.mean, self.normaliser.std))
        return Blendshapes(self.config, mean, std, len(self.classes))

    def logits(self, model: nn.Module, batch: Batch) -> Tensor:
        """(B, C)."""
        answers: Tensor = model(batch.features, batch.keys)
        return answers

    @property
    def class_weights(self) -> Tensor:
        """Ones with balanced sampling."""
        return torch.ones(len(self.classes)) if self.balanced else super().class_weights

    def baseline(self, split: str) -> Summary:
        """The logistic regression's metrics on a split."""
        rows = self.splits[split]
        answers = self.regression.probabilities(values_of(rows, self.config)).argmax(1)
        truth = np.array([self.label(row) for row in rows])
        confusion = metrics.confusion_counts(truth, answers, len(self.classes))
        return self.summarise(confusion.ravel().tolist())

    # Checkpoints

    def proof(self, model: nn.Module) -> dict[str, Any]:
        """Raw rows of the validation split and the logits that they give."""
        rows = self.splits["val"]
        places = sorted({int(i) for i in np.linspace(0, len(rows) - 1, PROOF_ROWS)})
        raw = torch.from_numpy(values_of([rows[i] for i in places], self.config))
        answers = application_answers(copy.deepcopy(model).cpu(), raw)
        return {"rows": self.names("val", places), "raw": raw.tolist(), "logits": answers.tolist()}

    @classmethod
    def restore(cls, saved: Checkpoint) -> "BlendshapesTrainer":
        """Also raises Damaged where the raw rows of its proof no longer give their logits."""
        trainer = super().restore(saved)
        proof = saved.manifest.get("proof")
        if proof is not None:
            raw, expected = torch.tensor(proof["raw"]), torch.tensor(proof["logits"])
            difference = float((application_answers(trainer.network, raw) - expected).abs().max())
            if not difference <= TOLERANCE:
                raise Damaged(
                    f"{saved.path}: the logits of raw blendshapes differ by {difference:.2g} from those of "
                    "the training: this version prepares them otherwise"
                )
        return trainer

    @torch.no_grad()
    def answers(self, features: Sequence[Any]) -> Tensor:
        """(N, C) for raw rows; NaN for one with a value outside 0 to 1."""
        raw = np.asarray(features, dtype=np.float32).reshape(len(features), self.config.columns)
        return application_answers(self.network, torch.from_numpy(raw))

    def read(self, path: Path) -> Iterator[Reading]:
        """Every row of a file."""
        _, entries = files.read(path, names.SETS[self.config.columns], labelled=False)
        for entry in entries:
            place = f"{path}:{entry.line}"
            if isinstance(entry, Refusal):
                yield Reading(place, error=entry.why)
            else:
                yield Reading(place, entry.values, entry.label if entry.label in names.LABELS else None)

    def answer(self, logits: Tensor) -> dict[str, Any]:
        """With the logits."""
        return {**super().answer(logits), "logits": logits.tolist()}

    def report(self, other: ClassifierTrainer, records: Sequence[Row]) -> dict[str, Any]:
        """With the metrics of the logistic regression."""
        truth = np.array([self.label(row) for row in records])
        probabilities = self.regression.probabilities(values_of(records, self.config))
        places = [row.id for row in records], [row.group for row in records]
        baseline = scores.scores(truth, probabilities, self.classes, *places, self.config.seed)
        values = {"name": self.baseline_name, "values": baseline["values"]}
        return {**super().report(other, records), "baseline": values}

    def no_records(self, data: Data, split: str) -> list[Finding]:
        """With what was refused."""
        return refusal_checks.no_samples(data.listing, split)

    def exportable(self, saved: Checkpoint) -> Exportable:
        """Raw blendshapes in, normalised inside."""
        rows = saved.manifest.get("proof", {}).get("raw") or np.full((2, self.config.columns), 0.5)
        about = {
            "blendshapes": list(names.SETS[self.config.columns]),
            "raw": "a row a face: MediaPipe's scores by these names, in this order, 0 to 1, not normalised",
            "outside": "a row with a value outside 0 to 1, or NaN, is answered with NaN",
            "answer": "softmax over the logits gives the probabilities of `classes`",
        }
        inputs = {"blendshapes": torch.tensor(np.asarray(rows, dtype=np.float32))}
        program = Answering(self.network).eval()
        return Exportable(program, inputs, {"blendshapes": {0: "faces"}}, about)

    @classmethod
    def checks(cls, standard: Sequence[Check]) -> list[Check]:
        """Those of scores, normalisation and baseline first."""
        return [*checks.CHECKS, *super().checks(standard)]


@torch.no_grad()
def application_answers(model: nn.Module, raw: Tensor) -> Tensor:
    """(B, F) raw to (B, C), as an exported program gives them."""
    answers: Tensor = Answering(model).eval()(raw)
    return answers.float()
