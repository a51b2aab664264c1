"""Options: frozen dataclasses, parsed strictly from a dict, that record which options the code reads.

Standard library only.
"""

import difflib
import math
import typing
from collections.abc import Mapping
from dataclasses import MISSING, Field, dataclass, field, fields
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

from trainers.engine.health import Finding, error

C = TypeVar("C", bound="Config")


def option(
    default: Any,
    about: str,
    *,
    low: float | None = None,
    high: float | None = None,
    choices: tuple[Any, ...] = (),
    when: tuple[str, str] | None = None,
    harmless: bool = False,
) -> Any:
    """A dataclass field for an option with bounds (`low`, `high`, inclusive) or `choices`.

    `when` is (option, value) if the option is used only with that value of another option. An option that
    is `harmless` may change when a run is resumed.
    """
    metadata = {
        "about": about,
        "low": low,
        "high": high,
        "choices": choices,
        "when": when,
        "harmless": harmless,
    }
    return field(default=default, metadata=metadata)


@dataclass(frozen=True)
class Config:
    """The base class of all options. Reading an attribute records its name; copying does not."""

    def __getattribute__(self, name: str) -> Any:
        if name in type(self).__dataclass_fields__:
            object.__getattribute__(self, "__dict__").setdefault("_read", set()).add(name)
        return object.__getattribute__(self, name)

    def as_dict(self) -> dict[str, Any]:
        """All options with their values, ready for JSON; does not record them as read."""
        values = object.__getattribute__(self, "__dict__")
        return {f.name: _plain(values[f.name]) for f in fields(self)}

    def read(self) -> frozenset[str]:
        """The names of the options that were read so far."""
        return frozenset(object.__getattribute__(self, "__dict__").get("_read", ()))

    def replace(self: C, **changes: Any) -> C:
        """A copy with `changes` applied; both objects share the record of options read."""
        values = object.__getattribute__(self, "__dict__")
        options = {f.name: values[f.name] for f in fields(self)}
        copy = type(self)(**{**options, **changes})
        copy.__dict__["_read"] = values.setdefault("_read", set())
        return copy


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def parse(kind: type[C], values: Mapping[str, Any]) -> tuple[C, list[Finding]]:
    """Parse options from a dict; returns them with a finding for each unknown or invalid one.

    Invalid options keep their default.
    """
    hints = get_type_hints(kind)
    known = {f.name: f for f in fields(kind)}
    good: dict[str, Any] = {}
    findings: list[Finding] = []
    for key, value in values.items():
        if key not in known:
            findings.append(_unknown(key, list(known)))
            continue
        parsed, finding = _value(known[key], hints[key], value)
        if finding is None:
            good[key] = parsed
        else:
            findings.append(finding)
    return kind(**good), findings


def _unknown(key: str, known: list[str]) -> Finding:
    near = difflib.get_close_matches(key, known, n=1)
    fix = f"did you mean `{near[0]}`?" if near else f"the options are {', '.join(sorted(known))}"
    return error("config.unknown", f"there is no option `{key}`", fix, key)


def _value(spec: "Field[Any]", hint: Any, value: Any) -> tuple[Any, Finding | None]:
    parsed = _typed(hint, value)
    if parsed is MISSING:
        message = f"`{spec.name}` is {value!r}, a {type(value).__name__}"
        return None, error("config.type", message, _type_fix(hint, value), spec.name)
    return parsed, _bounds(spec, parsed)


def _typed(hint: Any, value: Any) -> Any:
    """The value converted to the type (int to float, list to tuple), or MISSING if it has another type."""
    if get_origin(hint) is tuple:
        if not isinstance(value, list | tuple):
            return MISSING
        items = [_typed(get_args(hint)[0], item) for item in value]
        return MISSING if MISSING in items else tuple(items)
    if hint is float and type(value) is int:
        return float(value)
    return value if type(value) is hint else MISSING


def _type_fix(hint: Any, value: Any) -> str:
    if get_origin(hint) is tuple:
        if get_args(hint)[0] is str:
            return "write a list of words, such as [happy, sad]"
        return "write a list of whole numbers, such as [256, 128]"
    if hint is float and isinstance(value, str):
        return "write a number: YAML reads 5e-4 as a word, 5.0e-4 as a number"
    words = {int: "a whole number", float: "a number", bool: "true or false", str: "a word"}
    return f"write {words[hint]}"


def _near(item: Any, choices: tuple[Any, ...]) -> str:
    near = difflib.get_close_matches(str(item), [str(choice) for choice in choices], n=1)
    return f"; did you mean {near[0]}?" if near else ""


def _bounds(spec: "Field[Any]", value: Any) -> Finding | None:
    low, high, choices = (spec.metadata.get(name) for name in ("low", "high", "choices"))
    for item in value if isinstance(value, tuple) else (value,):
        if choices and item not in choices:
            fix = f"take one of {', '.join(map(str, choices))}{_near(item, choices)}"
            return error("config.choice", f"`{spec.name}` is {item!r}", fix, spec.name)
        if (low is not None and item < low) or (high is not None and item > high):
            bounds = f"from {low} to {high}"
            if low is None or high is None:
                bounds = f"of at most {high}" if low is None else f"of at least {low}"
            fix = f"take a value {bounds}"
            return error("config.range", f"`{spec.name}` is {item}", fix, spec.name)
    return None


def unread(config: Config, names: typing.Iterable[str]) -> list[Finding]:
    """Findings about options that no code has read; `names` are the options that the job sets.

    An option with `when` is reported only if the job sets it.
    """
    findings, names = [], set(names)
    for spec in fields(config):
        when = spec.metadata.get("when")
        if spec.name in config.read() or (when and spec.name not in names):
            continue
        message = f"nothing reads the option `{spec.name}`"
        fix = "remove it: it changes nothing"
        if when:
            fix = f"remove it, or set {when[0]}: {when[1]}, which reads it"
        findings.append(error("option.used", message, fix, spec.name))
    return findings


def harmless(kind: type[Config]) -> frozenset[str]:
    """The options that may change when a run is resumed."""
    return frozenset(f.name for f in fields(kind) if f.metadata.get("harmless"))


@dataclass(frozen=True)
class LoopConfig(Config):
    """The options of the training loop, which every trainer has."""

    seed: int = option(0, "seed of the splits, the order of samples, the initial weights and dropout", low=0)
    epochs: int = option(100, "maximum number of epochs", low=1)
    batch_size: int = option(24, "samples of one optimizer step, over all processes", low=1)
    accumulate: int = option(1, "parts (gradient accumulation) of each process's share of a batch", low=1)
    learning_rate: float = option(3e-4, "peak learning rate", low=0.0)
    weight_decay: float = option(1e-4, "weight decay, on parameters of two or more dimensions", low=0.0)
    optimizer: str = option(
        "adamw", "adam has L2 instead of decay, with AMSGrad", choices=("adamw", "adam", "sgd")
    )
    momentum: float = option(0.9, "momentum", low=0.0, high=0.999, when=("optimizer", "sgd"))
    schedule: str = option(
        "cosine", "schedule after the warm-up", choices=("cosine", "one-cycle", "constant", "step")
    )
    warmup_epochs: float = option(5.0, "epochs in which the rate rises from a tenth to the peak", low=0.0)
    final_rate: float = option(
        0.01, "last learning rate as a fraction of the peak", low=0.0, high=1.0, when=("schedule", "cosine")
    )
    step_epochs: int = option(30, "epochs between two drops", low=1, when=("schedule", "step"))
    step_factor: float = option(0.1, "factor of one drop", low=0.0, high=1.0, when=("schedule", "step"))
    clip_norm: float = option(1.0, "maximum gradient norm; 0 disables clipping", low=0.0)
    precision: str = option(
        "auto",
        "auto: bf16 on a GPU that supports it, else float32",
        choices=("auto", "float32", "bf16", "fp16"),
    )
    ema_decay: float = option(
        0.0,
        "decay a step of the moving average of the weights, which is evaluated and saved; 0: no average",
        low=0.0,
        high=0.9999,
    )
    init_from: str = option(
        "", "checkpoint or .safetensors file with the weights to start from; empty: none", harmless=True
    )
    init_head: str = option(
        "same",
        "skip: train a new head if that of init_from has another shape or other classes",
        choices=("same", "skip"),
        when=("init_from", "PATH"),
    )
    device: str = option(
        "auto", "auto: a GPU if available, else the CPU", choices=("auto", "cpu", "cuda"), harmless=True
    )
    threads: int = option(
        0, "CPU threads; 0: measured once per run, or OMP_NUM_THREADS; a resumed run keeps its number", low=0
    )
    select: str = option("loss", "validation metric that selects the best checkpoint", choices=("loss",))
    patience: int = option(15, "epochs without improvement before the run stops; 0: never", low=0)
    checkpoint_every: int = option(0, "steps between checkpoints; 0: once per epoch", low=0, harmless=True)
    evaluate_batch: int = option(64, "batch size of evaluation", low=1, harmless=True)
    num_workers: int = option(2, "loader processes", low=0, harmless=True)
    progress_seconds: float = option(2.0, "seconds between progress lines", low=0.0, harmless=True)

    @property
    def settling(self) -> int:
        """Epochs (the warm-up, rounded up) before a plateau of the validation metric is meaningful."""
        return math.ceil(self.warmup_epochs)


@dataclass(frozen=True)
class ClassifierConfig(LoopConfig):
    """The options of a classifier: those of the training loop and of the loss."""

    label_smoothing: float = option(
        0.0, "fraction of the target that is spread over all classes", low=0.0, high=0.9
    )
    class_weights: bool = option(True, "weight each class by its inverse frequency in train")
    select: str = option(
        "balanced_accuracy",
        "validation metric that selects the best checkpoint",
        choices=("balanced_accuracy", "macro_f1", "accuracy"),
    )
