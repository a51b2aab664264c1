"""Starts a run with the weights of another run, or of a file: the options `init_from` and `init_head`.

Optimizer, counters and normalisation are the new run's own. The checkpoints of the new run name the one that
it started from, and count what that one was trained on as trained on.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from trainers.engine import checkpoint, health, leakage
from trainers.engine.health import Finding
from trainers.engine.resume import Refused
from trainers.engine.state import State
from trainers.engine.trainer import Trainer

KEY = "init_from"
"""The name of the option, of the data folder that the client sends, and of the key in a manifest."""

FIX = "start from a checkpoint of the same trainer and layers"
SUFFIX = ".safetensors"


@dataclass(frozen=True)
class Initial:
    """Weights that fit a model, and their origin for manifest and event; `skipped` are those of the head that
    keep their initial values. `trained_on`: see leakage.trained_on."""

    weights: dict[str, Tensor]
    origin: dict[str, Any]
    skipped: tuple[str, ...] = ()
    trained_on: tuple[str, ...] = ()

    @torch.no_grad()
    def load_into(self, model: nn.Module) -> None:
        """Replace the weights of the model, except those skipped."""
        model.load_state_dict(self.weights, strict=False)


@dataclass(frozen=True)
class _Source:
    """Verified weights with the manifest of their checkpoint, empty for a file of weights alone."""

    path: Path
    weights: dict[str, Tensor]
    origin: dict[str, Any]
    manifest: dict[str, Any] = field(default_factory=dict)


def findings(trainer: Trainer) -> list[Finding]:
    """The weights of `init_from` fit the model, and were not trained on this run's test split."""
    return _compare(trainer)[0]


def require(trainer: Trainer) -> Initial | None:
    """The weights to start with; None without the option `init_from`. Raises Refused if they do not fit."""
    results, initial = _compare(trainer)
    if errors := [finding for finding in results if finding.severity == "error"]:
        raise Refused("; ".join(f"{finding.message}: {finding.fix}" for finding in errors))
    return initial


def _compare(trainer: Trainer) -> tuple[list[Finding], Initial | None]:
    source_path, head_may_differ = trainer.initial, trainer.config.init_head == "skip"
    if source_path is None:
        return [], None
    try:
        source = _read(source_path)
    except checkpoint.Damaged as fault:
        return [health.error("init.fit", str(fault), "fetch it again, or name another", KEY)], None
    name = source.manifest.get("trainer", trainer.name)
    if name != trainer.name:
        message = f"{source_path} is a checkpoint of {name}, this run trains {trainer.name}"
        return [health.error("init.fit", message, FIX, KEY)], None
    problems = _problems(trainer, source)
    head = {key: why for key, why in problems.items() if key.startswith(f"{trainer.head}.")}
    rest = {key: why for key, why in problems.items() if key not in head}
    refused = rest if head_may_differ else problems
    if refused:
        message = f"{source_path} does not fit the model: {'; '.join(refused.values())}"
        fix = FIX if rest else "init_head: skip trains a new head, or keep the classes of the checkpoint"
        return [health.error("init.fit", message, fix, KEY)], None
    kept = {*head, *trainer.own_buffers}
    weights = {name: value for name, value in source.weights.items() if name not in kept}
    origin = {**source.origin, "skipped": sorted(head)}
    initial = Initial(weights, origin, tuple(sorted(head)), tuple(source.manifest.get(leakage.KEY, ())))
    return [*_skipped(initial), *_leaks(trainer, source)], initial


def _read(source_path: Path) -> _Source:
    """Read and verify a checkpoint, a fetched run, a file of weights or a folder of one. Raises Damaged."""
    folder = checkpoint.find(source_path)
    if (folder / checkpoint.MANIFEST).exists():
        saved = checkpoint.read(folder)
        facts = {key: saved.manifest.get(key) for key in ("trainer", "step", "code_tree", "data")}
        return _Source(
            folder, _weights(folder / checkpoint.MODEL), {**facts, "manifest": saved.digest}, saved.manifest
        )
    files = [source_path] if source_path.is_file() else sorted(source_path.glob(f"*{SUFFIX}"))
    if len(files) != 1 or files[0].suffix != SUFFIX:
        raise checkpoint.Damaged(f"{source_path} is neither a checkpoint nor a {SUFFIX} file")
    facts = {"file": files[0].name, "sha256": checkpoint.sha256(files[0])}
    return _Source(files[0], _weights(files[0]), facts)


def _weights(path: Path) -> dict[str, Tensor]:
    try:
        return load_file(path)
    except (OSError, SafetensorError) as fault:
        raise checkpoint.Damaged(f"{path}: {fault}") from fault


def _problems(trainer: Trainer, source: _Source) -> dict[str, str]:
    """What does not fit, by the name of the tensor."""
    expected, weights = trainer.build().state_dict(), source.weights
    problems = {name: f"{name} is missing" for name in expected.keys() - weights.keys()}
    problems |= {name: f"{name} is not in the model" for name in weights.keys() - expected.keys()}
    for name in expected.keys() & weights.keys():
        mine, other = tuple(expected[name].shape), tuple(weights[name].shape)
        if mine != other:
            problems[name] = f"{name} is {other}, the model has {mine}"
    problems |= {name: f"{name} holds NaN or infinity" for name in checkpoint.not_finite(weights)}
    classes = source.manifest.get("preprocessing", {}).get("classes")
    if classes is not None and tuple(classes) != trainer.classes:
        some = f"{health.first(list(classes))}, now {health.first(list(trainer.classes))}"
        for name in expected:
            if name.startswith(f"{trainer.head}."):
                problems.setdefault(name, f"{name} is for the classes {some}")
    for name in trainer.own_buffers:
        problems.pop(name, None)
    return dict(sorted(problems.items()))


def _skipped(initial: Initial) -> list[Finding]:
    if not initial.skipped:
        return []
    message = f"{', '.join(initial.skipped)} keep their initial weights: the checkpoint's head differs"
    return [health.warning("init.fit", message, "compare the classes if this is not intended", KEY)]


def _leaks(trainer: Trainer, source: _Source) -> list[Finding]:
    """An error if test samples of this run are among those that the checkpoint was trained on."""
    known = frozenset(source.manifest.get(leakage.KEY, ()))
    theirs, ours = str(source.manifest.get("data", "")), trainer.fingerprint
    if not known or theirs.partition("+")[0] == ours.partition("+")[0]:
        return []
    names = trainer.names("test", range(len(trainer.splits["test"])))
    rows = zip(names, trainer.groups("test"), trainer.contents("test"), strict=True)
    marks = [leakage.Marks(*row) for row in rows]
    leaked = [mark.name for mark in marks if mark.by_group(known) or mark.by_content(known)]
    if not leaked:
        return []
    message = f"{len(leaked)} of {len(marks)} test samples were trained on by {source.path}: "
    fix = "keep the splits of that run (its data and seed), or take other test samples"
    return [health.error("init.leak", message + health.first(leaked), fix, KEY)]


class Lineage:
    """The facts for the manifest of each checkpoint of a run.

    `parent` is the step of the run's checkpoint before, `init_from` the origin of the weights that the run
    started from, `trained_on` what leakage.trained_on returns for both, `threads` the recorded number.
    """

    def __init__(self, trainer: Trainer, code_tree: str | None) -> None:
        self.trainer, self.code_tree = trainer, code_tree
        self.parent: int | None = None
        self.threads: int | None = None
        self.init_from: dict[str, Any] | None = None
        self.trained_on = leakage.trained_on(trainer)

    def start_from(self, start: Initial) -> None:
        """Record the weights of `init_from`."""
        self.init_from = start.origin
        self.trained_on = sorted({*self.trained_on, *start.trained_on})

    def resume(self, manifest: dict[str, Any], step: int) -> None:
        """Take over what a checkpoint of this run recorded."""
        self.parent, self.threads = step, manifest.get("threads")
        self.init_from = manifest.get(KEY)
        self.trained_on = sorted({*self.trained_on, *manifest.get(leakage.KEY, ())})

    def manifest(
        self, model: nn.Module, state: State, steps_per_epoch: int, values: dict[str, float]
    ) -> dict[str, Any]:
        """The manifest of a checkpoint of `model` with the validation metrics `values`."""
        trainer, proof = self.trainer, self.trainer.proof(model)
        return {
            "trainer": trainer.name,
            "epoch": state.step // steps_per_epoch,
            "metrics": values,
            "config": trainer.config.as_dict(),
            "code_tree": self.code_tree,
            "data": trainer.fingerprint,
            leakage.KEY: self.trained_on,
            "preprocessing": trainer.preprocessing,
            "parent": self.parent,
            "threads": self.threads,
            **({} if proof is None else {"proof": proof}),
            **({} if self.init_from is None else {KEY: self.init_from}),
        }
