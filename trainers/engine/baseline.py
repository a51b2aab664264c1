"""The simple model beside a training: told at the start, compared at the end."""

from collections.abc import Mapping

from trainers.engine import health
from trainers.engine.events import Events, say
from trainers.engine.health import Finding
from trainers.engine.task import Baselined, Task

TOLD = ("balanced_accuracy", "macro_f1", "accuracy")


def announce(task: Task, events: Events, talk: bool) -> None:
    """Its metrics on the validation split, before the first step."""
    if not isinstance(task, Baselined):
        return
    found = task.baseline("val")
    events(
        "metrics",
        split="val baseline",
        epoch=0,
        step=0,
        values=found.values,
        classes=found.classes,
        confusion=found.confusion,
    )
    if talk:
        say(f"{task.baseline_name}, the baseline: val {_told(found.values)}")


def compare(task: Task, split: str, values: Mapping[str, float]) -> tuple[str, list[Finding]]:
    """What to say of it beside the final metrics, and a finding where it was not beaten."""
    if not isinstance(task, Baselined):
        return "", []
    other = task.baseline(split).values
    seen = f"{task.baseline_name} has {_told(other)}"
    if values["balanced_accuracy"] > other["balanced_accuracy"]:
        return f"; {seen}", []
    told = f"balanced accuracy {values['balanced_accuracy']:.3f} on {split}; {seen}"
    fix = "the simpler model is as good: take it, or more data, before a larger model"
    return f"; {seen}", [health.warning("plateau.baseline", told, fix)]


def _told(values: Mapping[str, float]) -> str:
    return ", ".join(f"{name.replace('_', ' ')} {values[name]:.3f}" for name in TOLD)
