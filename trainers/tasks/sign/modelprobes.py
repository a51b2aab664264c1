"""What `check` asks of a sign language model: padding, length, locality, size, and whether it learns."""

from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from torch import Tensor, nn

from trainers import registry
from trainers.data.frames import Frames
from trainers.data.landmarks import RAW
from trainers.data.sign.batch import Batch, Sample
from trainers.engine import checkpoint, health
from trainers.engine import model_checks as engine
from trainers.engine.health import Finding
from trainers.tasks.sign.task import SignTask

STEPS, LEAST_SHIFT = 256, 0.9
"""Frames of both probes: far ones lie beyond the reach of the convolutions, and the norms' statistics,
which are of the whole sentence, hardly change."""

FAR_TO_NEAR = 0.5
"""Most of the change of far frames a share of that of near ones. A model that pools time away has 0.97."""

OVERFIT_SAMPLES, OVERFIT_STEPS, OVERFIT_RATE, OVERFIT_GOAL = 2, 300, 3e-3, 0.1
LARGEST = 0.5
"""Share of all parameters in one layer that is worth a warning."""


def _still(task: SignTask) -> list[Sample]:
    items = task.still("train")
    return sorted((items[0, i] for i in range(min(32, task.size("train")))), key=lambda s: len(s.course.raw))


def _batch(task: SignTask, samples: list[Sample]) -> Batch:
    batch = task.collate(samples)
    assert batch is not None
    return batch


def _logits(model: nn.Module, task: SignTask, batch: Batch) -> Tensor:
    answer: Tensor = model(task.frames(batch), batch.keys)
    return answer.float()


@torch.no_grad()
def saved(task: SignTask) -> list[Finding]:
    """From the checkpoint alone, raw features give the logits that the training's pipeline gives."""
    model, samples = task.build().eval(), _still(task)[:4]
    manifest = {
        "trainer": task.name,
        "config": task.config.as_dict(),
        "preprocessing": task.preprocessing(),
    }
    with TemporaryDirectory(prefix="gpujob-check-") as folder:
        path = checkpoint.save(Path(folder), 1, model, {}, manifest)
        restored = registry.task(task.name).restore(checkpoint.read(path))
    off = 0.0
    for sample in samples:
        wanted = _logits(model, task, _batch(task, [sample]))[0]
        off = max(off, float((wanted - restored.logits(sample.course.raw)).abs().max()))
    if off < 1e-4:
        return []
    fix = "all that turns raw input into the model's must be in the checkpoint"
    return [health.error("norm.saved", f"logits from the checkpoint are {off:.2g} off", fix)]


@torch.no_grad()
def padding(task: SignTask) -> list[Finding]:
    """A sentence alone answers as it does padded beside a longer one, in both modes."""
    some, model = _still(task), task.build()
    for mode in ("eval", "train"):
        model.train(mode == "train")
        alone = _logits(model, task, _batch(task, [some[0]]))[0]
        beside = _logits(model, task, _batch(task, [some[0], some[-1]]))[0, : len(alone)]
        off = float((alone - beside).abs().max())
        if not off < 1e-4:
            seen = f"in {mode} mode a padded sentence's logits are {off:.2g} off those of it alone"
            fix = "mask the padding everywhere: attention, norms, pooling, packed recurrent layers"
            return [health.error("pad.invariance", seen, fix)]
    return []


def made_up(task: SignTask, steps: int, seed: int = 3) -> Frames:
    """Normal noise as a normalised input (1, T, 4887)."""
    draw = torch.Generator().manual_seed(seed)
    return Frames(0.3 * torch.randn(1, steps, 3 * RAW, generator=draw), torch.tensor([steps]), "made up")


@torch.no_grad()
def exact_length(task: SignTask, longest: int = 41, also: Sequence[int] = (100, 177, 300)) -> list[Finding]:
    """T frames give exactly the output that is declared, for every T."""
    model, keys = task.build().eval(), torch.zeros(1, dtype=torch.long)
    whole, wrong = made_up(task, max(longest, *also, 1)).values, []
    for steps in (*range(1, longest), *also):
        wanted = int(task.out_lengths(torch.tensor(steps)))
        got = model(Frames(whole[:, :steps], torch.tensor([steps]), "made up"), keys).shape[1]
        if got != wanted:
            wrong.append(f"{steps} frames give {got}, not {wanted}")
    fix = "the way down halves rounding up, the way up is cut to the input's length"
    return [health.error("len.exact", health.first(wrong), fix)] if wrong else []


def _backbone(model: nn.Module, frames: Frames) -> Tensor:
    """(T', C) before the recurrent layer, which carries everything everywhere by design."""
    found: Tensor = model.backbone(frames, torch.zeros(1, dtype=torch.long))  # type: ignore[operator]
    return found[0].float()


@torch.no_grad()
def far_to_near(task: SignTask, model: nn.Module) -> float:
    """How much far frames change when frames 124 to 131 of 256 do, as a share of what near ones change."""
    frames, other = made_up(task, STEPS), made_up(task, STEPS, 4)
    changed = frames.values.clone()
    changed[:, 124:132] += other.values[:, 124:132]
    before = _backbone(model.eval(), frames)
    after = _backbone(model, Frames(changed, frames.lengths, frames.normalised))
    change, stride = (after - before).abs().mean(1), task.stride
    near = change[120 // stride : 136 // stride].mean()
    far = torch.cat([change[: 64 // stride], change[-64 // stride :]]).mean()
    return float(far / near)


def locality(task: SignTask) -> list[Finding]:
    """A change in the middle stays in the middle: a model that pools time away says the same everywhere."""
    share = far_to_near(task, task.build())
    if share < FAR_TO_NEAR:
        return []
    seen = f"a change of frames 124 to 131 changes far frames {share:.2f} times as much as near ones"
    fix = "some layer before the recurrent one averages over time: every step becomes the same"
    return [health.error("collapse.locality", seen, fix)]


@torch.no_grad()
def shift(task: SignTask) -> list[Finding]:
    """Input that comes four frames later gives features that come as much later."""
    model, whole = task.build().eval(), made_up(task, STEPS + 4)
    lengths = torch.tensor([STEPS])
    first, later = (
        _backbone(model, Frames(whole.values[:, at : at + STEPS], lengths, whole.normalised)) for at in (0, 4)
    )
    by, edge = 4 // task.stride, 16 // task.stride
    a, b = first[edge + by : -edge].flatten(), later[edge : -edge - by].flatten()
    likeness = float(torch.corrcoef(torch.stack([a, b]))[0, 1])
    if likeness > LEAST_SHIFT:
        return []
    seen = f"features of input shifted by 4 frames agree with the shifted features to {likeness:.2f} only"
    return [health.error("collapse.shift", seen, "some layer depends on the place in time: look at strides")]


def budget(task: SignTask) -> list[Finding]:
    """The model has the parameters of its preset; its largest layer is named."""
    model = task.build()
    sizes = {name: p.numel() for name, p in model.named_parameters()}
    total, largest = sum(sizes.values()), max(sizes, key=lambda name: sizes[name])
    wanted = task.parameters(task.config, len(task.vocabulary))
    share = sizes[largest] / total
    told = f"{total:,} parameters, {share:.0%} of them in {largest}"
    if total != wanted:
        seen = f"{told}; the preset {task.config.preset} has {wanted:,}"  # type: ignore[attr-defined]
        return [health.error("param.budget", seen, "the model is not the one that its preset names")]
    if share > LARGEST:
        return [health.warning("param.budget", told, "a preset of bounded encoders is smaller and faster")]
    return [health.info("param.budget", told)]


def overfit(task: SignTask) -> list[Finding]:
    """Two sentences can be learnt by heart, word for word, and eval mode knows them too."""
    model, batch = task.build().train(), _batch(task, _still(task)[:OVERFIT_SAMPLES])
    owner = torch.optim.AdamW(model.parameters(), lr=OVERFIT_RATE, weight_decay=0.0)
    sizes = sum(max(1, len(target)) for target in batch.targets)
    value = errors = float("inf")
    with engine.without_dropout(model):
        for _ in range(OVERFIT_STEPS):
            owner.zero_grad()
            output = task.forward(model, batch)
            value, errors = float(output.loss.detach()) / sizes, float(output.correct.sum())
            if value < OVERFIT_GOAL and not errors:
                break
            (output.loss / sizes).backward()  # type: ignore[no-untyped-call]
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            owner.step()
    if not (value < OVERFIT_GOAL and not errors):
        seen = f"after {OVERFIT_STEPS} steps on {OVERFIT_SAMPLES} sentences {value:.2f} nats a gloss"
        return [health.error("overfit", seen, "model or targets are wrong: nothing can be learnt by heart")]
    with torch.no_grad():
        again = task.forward(model.eval(), batch)
    if float(again.loss) / sizes < 2 * OVERFIT_GOAL and not float(again.correct.sum()):
        return []
    seen = f"learnt by heart in train mode, in eval mode {float(again.loss) / sizes:.2f} nats a gloss"
    return [health.error("overfit", seen, "train and eval mode differ: look at norms and decoding")]
