"""Reports the metrics of a simple baseline model at the start of a training and compares them at the end."""

from collections.abc import Mapping

from trainers.engine import health
from trainers.engine.events import Events, say
from trainers.engine.health import Finding
from trainers.engine.trainer import Trainer

METRICS = ("balanced_accuracy", "macro_f1", "accuracy")


def announce(trainer: Trainer, events: Events, talk: bool) -> None:
    """Report the baseline's metrics on the validation split, before the first step."""
    if not trainer.baseline_name:
        return
    summary = trainer.baseline("val")
    events(
        "metrics",
        split="val baseline",
        epoch=0,
        step=0,
        values=summary.values,
        classes=summary.classes,
        confusion=summary.confusion,
    )
    if talk:
        say(f"{trainer.baseline_name}, the baseline: val {_text(summary.values)}")


def compare(trainer: Trainer, split: str, values: Mapping[str, float]) -> tuple[str, list[Finding]]:
    """A clause for the run's closing sentence, and a warning if the model is not better than the baseline."""
    if not trainer.baseline_name:
        return "", []
    other = trainer.baseline(split).values
    clause = f"{trainer.baseline_name} has {_text(other)}"
    if values["balanced_accuracy"] > other["balanced_accuracy"]:
        return f"; {clause}", []
    message = f"balanced accuracy {values['balanced_accuracy']:.3f} on {split}; {clause}"
    fix = "the simpler model is as good: use it, or collect more data before training a larger model"
    return f"; {clause}", [health.warning("plateau.baseline", message, fix)]


def _text(values: Mapping[str, float]) -> str:
    return ", ".join(f"{name.replace('_', ' ')} {values[name]:.3f}" for name in METRICS)
