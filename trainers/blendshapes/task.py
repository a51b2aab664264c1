"""Blendshapes as the engine's task, and its use from a checkpoint alone."""

import copy
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from trainers.blendshapes import data, files, names, rules
from trainers.blendshapes.batch import Batch, Items, Sample, collate
from trainers.blendshapes.config import Config
from trainers.blendshapes.model import Answering, Blendshapes
from trainers.data import normalise
from trainers.data.refusal import Unusable
from trainers.engine import checkpoint, export, health, metrics, rng, seen
from trainers.engine.config import parse
from trainers.engine.events import Events
from trainers.engine.task import Output, Summary
from trainers.tasks import classify, logistic

NAME = "blendshapes"
PROOF_ROWS, TOLERANCE = 8, 1e-4


def build(config: Config, mean: np.ndarray, std: np.ndarray) -> Blendshapes:
    """The model with start weights that the seed alone decides."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(rng.derive_seed(config.seed, 4) >> 1)
        held = [torch.from_numpy(np.asarray(values, dtype=np.float32)) for values in (mean, std)]
        return Blendshapes(config, held[0], held[1], len(config.classes))


class BlendshapesTask:
    """See trainers.engine.task: Task, Baselined, Proving."""

    name = NAME
    baseline_name = "logistic regression"

    def __init__(self, config: Config, held: data.Data) -> None:
        self.config = config
        self.data = held
        self.classes = config.classes
        self.counts_size = len(config.classes) ** 2
        self.fingerprint = held.fingerprint
        self.normaliser = self.fit()
        labels = held.splits["train"].labels
        self.balanced: data.Balanced | None = None
        if config.sampling == "balanced":
            self.balanced = data.Balanced.of(labels, len(config.classes), config.seed)
        weighed = config.class_weights and self.balanced is None
        self.weights = classify.class_weights(labels.tolist(), len(config.classes))
        self.weights = self.weights if weighed else torch.ones(len(config.classes))

    def fit(self) -> normalise.Normaliser:
        """Statistics of the training split."""
        train = self.data.splits["train"]
        return normalise.fit([train.values], [row.id for row in train.rows])

    def replace(self, **changes: Any) -> "BlendshapesTask":
        """The same data with other options; for probes."""
        other = object.__new__(type(self))
        other.__dict__.update(self.__dict__)
        other.config = self.config.replace(**changes)
        return other

    def size(self, split: str) -> int:
        """Samples of a split."""
        if split == "train" and self.balanced is not None:
            return len(self.balanced)
        return len(self.data.splits[split].rows)

    def items(self, split: str) -> Items:
        """The samples of a split, raw: the model normalises them."""
        balanced = self.balanced if split == "train" else None
        return Items(self.data.splits[split], self.config.seed, balanced)

    def names(self, split: str, indices: Sequence[int]) -> list[str]:
        """`<file>:<line>`, or the class where rows are drawn."""
        if split == "train" and self.balanced is not None:
            return [f"a row of {self.classes[index % len(self.classes)]}" for index in indices]
        return [self.data.splits[split].rows[index].id for index in indices]

    def groups(self, split: str) -> list[str]:
        """Groups; where there is none the picture, or the face itself."""
        return [row.unit for row in self.data.splits[split].rows]

    units = groups

    def collate(self, samples: list[Sample]) -> Batch | None:
        """Samples to a batch."""
        return collate(samples)

    def build(self) -> nn.Module:
        """The model with its start weights and the statistics of the training split."""
        return build(self.config, self.normaliser.mean, self.normaliser.std)

    def forward(self, model: nn.Module, batch: Batch) -> Output:
        """Cross entropy, each sample weighed by its class."""
        logits = model(batch.features, batch.keys)
        return classify.output(logits, batch.labels, self.weights, self.config.label_smoothing)

    def summarise(self, counts: Sequence[float]) -> Summary:
        """Metrics and confusion matrix."""
        return classify.summary(counts, self.classes)

    @cached_property
    def logistic(self) -> logistic.Logistic:
        """The baseline, on the training split with weighed classes."""
        train, size = self.data.splits["train"], len(self.classes)
        held = classify.class_weights(train.labels.tolist(), size).numpy()
        return logistic.fit(train.values, train.labels, held, self.normaliser.mean, self.normaliser.std)

    def baseline(self, split: str) -> Summary:
        """The logistic regression's metrics on a split."""
        held = self.data.splits[split]
        answers = self.logistic.shares(held.values).argmax(1)
        confusion = metrics.confusion_counts(held.labels, answers, len(self.classes))
        return classify.summary(confusion.ravel().tolist(), self.classes)

    def preprocessing(self) -> dict[str, Any]:
        """Names in order, normalisation (which the model itself holds), classes, the baseline."""
        return {
            "classes": list(self.classes),
            "others": self.config.others,
            "normalisation": {**self.normaliser.as_dict(), "where": "inside the model"},
            "input": {"names": list(names.SETS[self.config.columns]), "range": [0.0, 1.0]},
            "baseline": self.logistic.as_dict(),
        }

    def proof(self, model: nn.Module) -> dict[str, Any]:
        """Raw rows of the validation split and the logits that they give."""
        held = self.data.splits["val"]
        places = sorted({int(i) for i in np.linspace(0, len(held.rows) - 1, PROOF_ROWS)})
        raw = torch.from_numpy(held.values[places])
        answers = _answers(copy.deepcopy(model).cpu(), raw)
        return {"rows": self.names("val", places), "raw": raw.tolist(), "logits": answers.tolist()}


@torch.no_grad()
def _answers(model: nn.Module, raw: Tensor) -> Tensor:
    """(B, F) raw to (B, C), as an application has it."""
    answers: Tensor = Answering(model).eval()(raw)  # type: ignore[arg-type]
    return answers.float()


def open_task(
    config: Config, folders: Mapping[str, Path], cache_root: Path, events: Events
) -> BlendshapesTask:
    """The task over this folder. Raises DataUnusable."""
    held = data.load(config, folders)
    empty = rules.nonempty({split: part.rows for split, part in held.splits.items()}, held.listing)
    if empty:
        raise health.DataUnusable(empty)
    return BlendshapesTask(config, held)


def run_rules(task: BlendshapesTask) -> list[health.Finding]:
    """The rules of names, values, labels and splits, asked once more when a run starts."""
    return rules.check(task.data.listing, task.data.home, task.config)


@dataclass(frozen=True)
class Restored:
    """A model from its checkpoint: raw blendshapes in, NaN for what is none."""

    config: Config
    model: Blendshapes
    baseline: logistic.Logistic

    def logits(self, raw: np.ndarray) -> Tensor:
        """(N, F) raw to (N, C)."""
        return _answers(self.model, torch.from_numpy(np.asarray(raw, dtype=np.float32)))

    def shares(self, raw: np.ndarray) -> np.ndarray:
        """(N, F) raw to (N, C) probabilities."""
        return np.asarray(self.logits(raw).softmax(1).numpy())


def restore(held: checkpoint.Checkpoint) -> Restored:
    """Strictly: raises Damaged where the checkpoint is not of this model, or its proof does not hold."""
    config, findings = parse(Config, held.manifest["config"])
    if findings or held.manifest["trainer"] != NAME:
        raise checkpoint.Damaged(f"{held.path} is no checkpoint of this version of {NAME}")
    told = held.manifest["preprocessing"]
    if told["classes"] != list(config.classes) or told["input"]["names"] != list(names.SETS[config.columns]):
        raise checkpoint.Damaged(f"{held.path} knows other classes or blendshapes than its options say")
    model = build(config, np.zeros(config.columns), np.ones(config.columns))
    checkpoint.load_weights(model, held)
    restored = Restored(config, model.eval(), logistic.Logistic.from_dict(told["baseline"]))
    _prove(restored, held)
    return restored


def _prove(restored: Restored, held: checkpoint.Checkpoint) -> None:
    """The raw rows that stand in the manifest still give their logits."""
    proof = held.manifest.get("proof")
    if proof is None:
        return
    off = float((restored.logits(np.array(proof["raw"])) - torch.tensor(proof["logits"])).abs().max())
    if not off <= TOLERANCE:
        raise checkpoint.Damaged(
            f"{held.path}: raw blendshapes give logits {off:.2g} off those of the training: "
            "this version prepares them otherwise"
        )


def exportable(held: checkpoint.Checkpoint) -> export.Exportable:
    """See trainers.engine.export: raw blendshapes in, normalised inside."""
    restored = restore(held)
    rows = (
        held.manifest["proof"]["raw"]
        if "proof" in held.manifest
        else np.full((2, restored.config.columns), 0.5)
    )
    about = {
        "blendshapes": list(names.SETS[restored.config.columns]),
        "raw": "a row a face: MediaPipe's scores by these names, in this order, from 0 to 1, not normalised",
        "outside": "a row with a value outside 0 to 1, or NaN, is answered with NaN",
        "answer": "softmax over the logits gives the probabilities of `classes`",
    }
    inputs = {"blendshapes": torch.tensor(np.asarray(rows, dtype=np.float32))}
    return export.Exportable(Answering(restored.model).eval(), inputs, {"blendshapes": {0: "faces"}}, about)


def predict(held: checkpoint.Checkpoint, paths: Sequence[Path]) -> Iterator[dict[str, Any]]:
    """For each row of each file its class and probabilities, or the error that kept it from one."""
    restored = restore(held)
    wanted = names.SETS[restored.config.columns]
    for path in paths:
        try:
            _, entries = files.read(path, wanted, labelled=False)
        except Unusable as fault:
            yield {"file": str(path), "error": str(fault)}
            continue
        yield from _told(restored, path, entries)


def _told(
    restored: Restored, path: Path, entries: Sequence[files.Row | files.Refusal]
) -> Iterator[dict[str, Any]]:
    """The answers for a file's rows, in their order."""
    rows = [entry for entry in entries if isinstance(entry, files.Row)]
    raw = np.array([row.values for row in rows]).reshape(len(rows), restored.config.columns)
    answers = iter(restored.logits(raw))
    for entry in entries:
        where = f"{path}:{entry.line}"
        if isinstance(entry, files.Refusal):
            yield {"file": where, "error": entry.why}
            continue
        logits = next(answers)
        shares = dict(zip(restored.config.classes, logits.softmax(0).tolist(), strict=True))
        answer = {"file": where, "label": max(shares, key=shares.__getitem__), "probabilities": shares}
        yield {**answer, "logits": logits.tolist(), **_truth(entry)}


def _truth(row: files.Row) -> dict[str, str]:
    return {"truth": row.label} if row.label in names.LABELS else {}


def evaluate(
    held: checkpoint.Checkpoint, folders: Mapping[str, Path], split: str, work: Path
) -> dict[str, Any]:
    """Metrics of the checkpoint, and of the logistic regression in it, on a split of this folder."""
    restored = restore(held)
    found = data.load(restored.config, folders)
    part = found.splits.get(split) or data.arrays(found.listing.rows, restored.config)
    if not part.rows:
        raise health.DataUnusable(rules.nothing(split, found.listing))
    rows, told = seen.unseen(held, found.fingerprint, split, part.rows, lambda row: row.unit)
    part = data.arrays(rows, restored.config)
    asked = ([row.id for row in part.rows], [row.unit for row in part.rows], restored.config.seed)
    scored, other = (
        classify.scores(part.labels, shares, restored.config.classes, *asked)
        for shares in (restored.shares(part.values), restored.baseline.shares(part.values))
    )
    return {
        "checkpoint": str(held.path),
        "step": held.manifest["step"],
        "split": split,
        "refused": len(found.listing.refused),
        **told,
        **scored,
        "baseline": {"name": BlendshapesTask.baseline_name, "values": other["values"]},
    }
