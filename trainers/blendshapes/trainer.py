"""The trainer `blendshapes`: classifies emotion from MediaPipe's blendshapes of a face."""

import copy
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from trainers.blendshapes import checks, file_checks, files, names, pictures
from trainers.blendshapes.config import Config
from trainers.blendshapes.data import Balanced, Data, scaled, values_of
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
from trainers.engine.plots import Columns
from trainers.tasks import classifier, logistic, scores
from trainers.tasks.classifier import Batch, ClassifierTrainer, Reading, Sample

PROOF_ROWS, TOLERANCE = 8, 1e-4


class BlendshapesTrainer(ClassifierTrainer):
    """Classifies blendshapes; see trainers.engine.trainer.Trainer for the methods."""

    name = "blendshapes"
    options = Config
    config: Config
    data: Data
    baseline_name = "logistic regression"
    own_buffers = ("mean", "std")

    normaliser: normalise.Normaliser
    regression: logistic.Logistic
    balanced: Balanced | None = None

    @classmethod
    def load(cls, config: Any, folders: Mapping[str, Path], cache: Path, events: Events) -> Data:
        """Read every row of every file below the folders."""
        return Data(file_checks.scan(folders, config))

    def fit(self) -> dict[str, Any]:
        """Return classes, blendshape names in order, normalisation statistics and the fitted baseline."""
        normaliser = self.fit_normaliser()
        return {
            "classes": list(self.config.classes),
            "others": self.config.others,
            "normalisation": {**normaliser.as_dict(), "where": "inside the model"},
            "input": {"names": list(names.SETS[self.config.columns]), "range": [0.0, 1.0]},
            "baseline": self.fit_baseline(self.statistics()).as_dict(),
        }

    def fit_normaliser(self) -> normalise.Normaliser:
        """Return the statistics of the training split, or with `normalise: none` mean 0 and std 1."""
        rows = self.splits["train"]
        if self.config.normalise == "sqrt":
            return normalise.fit([scaled(rows, self.config)], [row.id for row in rows])
        fitted = self.statistics()
        if self.config.normalise == "global":
            return fitted
        return normalise.Normaliser(np.zeros_like(fitted.mean), np.ones_like(fitted.std), fitted.fitted_on)

    def statistics(self) -> normalise.Normaliser:
        """Return the mean and standard deviation of each blendshape over the training split."""
        rows = self.splits["train"]
        return normalise.fit([values_of(rows, self.config)], [row.id for row in rows])

    def fit_baseline(self, normaliser: normalise.Normaliser) -> logistic.Logistic:
        """Fit the baseline, a class-weighted logistic regression, on the training split."""
        rows, classes = self.splits["train"], self.config.classes
        labels = np.array([classes.index(row.label) for row in rows], dtype=np.int64)
        weights = classifier.class_weights(labels.tolist(), len(classes)).numpy()
        values = values_of(rows, self.config)
        return logistic.fit(values, labels, weights, normaliser.mean, normaliser.std)

    def setup(self) -> None:
        """Build the normaliser, the baseline and, with `sampling: balanced`, the sampling order.

        Raises ValueError if the checkpoint's classes or blendshapes differ from those of its options.
        """
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
        """Return the number of samples of a split in one epoch; balanced sampling changes that of `train`."""
        return len(self.balanced) if split == "train" and self.balanced else super().size(split)

    def sample(self, split: str, epoch: int, index: int) -> Sample:
        """Return row `index` of the split; with balanced sampling, the row drawn for this index."""
        row = self.balanced.row(epoch, index) if split == "train" and self.balanced else index
        record, key = self.splits[split][row], rng.dropout_key(self.config.seed, epoch, index)
        return Sample(index, self.label(record), self.features(record, split, epoch), key)

    def names(self, split: str, indices: Sequence[int]) -> list[str]:
        """Return `<file>:<line>` of each sample; with balanced sampling, only its class."""
        if split == "train" and self.balanced:
            return [f"a row of {self.classes[index % len(self.classes)]}" for index in indices]
        return super().names(split, indices)

    def content(self, record: Row) -> str:
        """Return the key of the row's values, which is also its group if it has no other."""
        return f"face {record.content}"

    # Model and loss

    def model(self) -> nn.Module:
        """Return the network of the options, with the statistics of the training split as buffers."""
        mean, std = (torch.from_numpy(values) for values in (self.normaliser.mean, self.normaliser.std))
        return Blendshapes(self.config, mean, std, len(self.classes))

    def logits(self, model: nn.Module, batch: Batch) -> Tensor:
        """Return the model's logits (B, C)."""
        answers: Tensor = model(batch.features, batch.keys)
        return answers

    @property
    def class_weights(self) -> Tensor:
        """The class weights (C,) of the loss; all 1 with balanced sampling."""
        if self.balanced:
            return torch.ones(len(self.classes))
        return super().class_weights ** self.config.weight_power

    def baseline(self, split: str) -> Summary:
        """Return the metrics of the logistic regression on a split."""
        rows = self.splits[split]
        answers = self.regression.probabilities(values_of(rows, self.config)).argmax(1)
        truth = np.array([self.label(row) for row in rows])
        confusion = metrics.confusion_counts(truth, answers, len(self.classes))
        return self.summarise(confusion.ravel().tolist())

    # Checkpoints

    def proof(self, model: nn.Module) -> dict[str, Any]:
        """Return up to eight raw rows of the validation split with their logits, which `restore` compares."""
        rows = self.splits["val"]
        indices = sorted({int(i) for i in np.linspace(0, len(rows) - 1, PROOF_ROWS)})
        raw = torch.from_numpy(values_of([rows[i] for i in indices], self.config))
        answers = application_answers(copy.deepcopy(model).cpu(), raw)
        return {"rows": self.names("val", indices), "raw": raw.tolist(), "logits": answers.tolist()}

    @classmethod
    def restore(cls, saved: Checkpoint) -> "BlendshapesTrainer":
        """Return the trainer of a checkpoint. Raises Damaged if the rows of `proof` give other logits."""
        trainer = super().restore(saved)
        proof = saved.manifest.get("proof")
        if proof is not None:
            try:
                raw, expected = torch.tensor(proof["raw"]), torch.tensor(proof["logits"])
                difference = float((application_answers(trainer.network, raw) - expected).abs().max())
            except (KeyError, TypeError, ValueError, RuntimeError) as fault:
                raise Damaged(f"{saved.path}: its proof is not of this version: {fault}") from fault
            if not difference <= TOLERANCE:
                raise Damaged(
                    f"{saved.path}: the logits of raw blendshapes differ by {difference:.2g} from those of "
                    "the training: this version preprocesses them differently"
                )
        return trainer

    @torch.no_grad()
    def answers(self, features: Sequence[Any]) -> Tensor:
        """Return logits (N, C) for raw rows; NaN for a row with a value outside 0 to 1."""
        raw = np.asarray(features, dtype=np.float32).reshape(len(features), self.config.columns)
        return application_answers(self.network, torch.from_numpy(raw))

    def read(self, path: Path) -> Iterator[Reading]:
        """Yield the features and label, or the error, of every row of a file."""
        _, entries = files.read(path, self.config, labelled=False)
        for entry in entries:
            location = f"{path}:{entry.line}"
            if isinstance(entry, Refusal):
                yield Reading(location, error=entry.why)
            else:
                yield Reading(location, entry.values, entry.label if entry.label in names.LABELS else None)

    def answer(self, logits: Tensor) -> dict[str, Any]:
        """Return the class and probabilities of one sample, and its logits (C,)."""
        return {**super().answer(logits), "logits": logits.tolist()}

    def columns(self, records: Sequence[Row]) -> Columns:
        """The blendshapes of rows, which `evaluate --plots` draws by class."""
        values = np.array([row.values for row in records])
        return Columns(names.SETS[self.config.columns], values, [row.label for row in records])

    def picture(self, record: Row, folder: Path | None) -> np.ndarray | None:
        """The picture that the column `file` names, or None if it is not below the folder or not readable."""
        if folder is None or not record.source:
            return None
        path = (folder / record.source.replace("\\", "/")).resolve()
        if not path.is_relative_to(folder.resolve()) or not path.is_file():
            return None
        try:
            return pictures.read(path)
        except ValueError:
            return None

    def report(self, other: ClassifierTrainer, records: Sequence[Row]) -> dict[str, Any]:
        """Return the scores of `evaluate`, including those of the logistic regression."""
        truth = np.array([self.label(row) for row in records])
        probabilities = self.regression.probabilities(values_of(records, self.config))
        names_and_groups = [row.id for row in records], [row.group for row in records]
        baseline = scores.scores(truth, probabilities, self.classes, *names_and_groups, self.config.seed)
        values = {"name": self.baseline_name, "values": baseline["values"]}
        return {**super().report(other, records), "baseline": values}

    def no_records(self, data: Data, split: str) -> list[Finding]:
        """Return findings that explain an empty split by the rows that were refused."""
        return refusal_checks.no_samples(data.listing, split)

    def exportable(self, saved: Checkpoint) -> Exportable:
        """Return the program to export: raw blendshapes (N, F) to logits (N, C), normalisation included."""
        rows = saved.manifest.get("proof", {}).get("raw") or np.full((2, self.config.columns), 0.5)
        about = {
            "blendshapes": list(names.SETS[self.config.columns]),
            "raw": "one row per face: MediaPipe's scores by name, in this order, 0 to 1, not normalised",
            "outside": "a row with NaN or a value outside 0 to 1 gets NaN logits",
            "answer": "softmax over the logits gives the probabilities of `classes`",
        }
        inputs = {"blendshapes": torch.tensor(np.asarray(rows, dtype=np.float32))}
        program = Answering(self.network).eval()
        return Exportable(program, inputs, {"blendshapes": {0: "faces"}}, about)

    @classmethod
    def checks(cls, standard: Sequence[Check]) -> list[Check]:
        """Return the checks of blendshapes, followed by those of every classifier."""
        return [*checks.CHECKS, *super().checks(standard)]


@torch.no_grad()
def application_answers(model: nn.Module, raw: Tensor) -> Tensor:
    """Return the logits (B, C) of the exported program for raw scores (B, F)."""
    answers: Tensor = Answering(model).eval()(raw)
    return answers.float()
