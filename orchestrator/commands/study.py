"""The record of a sweep, kept by Optuna in a folder of the user: values that were tried, and their results.

Optuna is imported late: only a sweep needs the extra `sweep`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from orchestrator import files
from orchestrator.core import jsontext
from orchestrator.core.space import Dimension, Range, Value
from orchestrator.errors import GpujobError, UsageError

if TYPE_CHECKING:
    import optuna

RUN, HOST = "run", "host"
_ANOTHER = "gpujob sweep JOB --name ANOTHER"


class Terms(msgspec.Struct, frozen=True):
    """What stays the same over all trials of a sweep; another command with other terms is refused."""

    job: str
    metric: str
    goal: str
    space: Mapping[str, Dimension]


def open_study(folder: Path, terms: Terms, seed: int, prune: bool) -> optuna.Study:
    """The study in `folder`, continued or new. UsageError where its terms were others."""
    _optuna()
    import optuna  # noqa: PLC0415

    folder.mkdir(parents=True, exist_ok=True)
    _require_same_terms(folder, terms)
    from optuna.storages import JournalStorage  # noqa: PLC0415
    from optuna.storages.journal import JournalFileBackend  # noqa: PLC0415

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    path = folder / "journal.log"
    try:
        opened: optuna.Study = optuna.create_study(
            storage=JournalStorage(JournalFileBackend(str(path))),
            study_name="sweep",
            load_if_exists=True,
            direction="minimize" if terms.goal == "min" else "maximize",
            pruner=optuna.pruners.MedianPruner(n_startup_trials=5) if prune else optuna.pruners.NopPruner(),
        )
    except (ValueError, LookupError, TypeError) as error:
        raise UsageError(f"{path} cannot be read: {error}", "", _ANOTHER) from None
    # A sampler that began with the same seed again would draw the same values again.
    opened.sampler = optuna.samplers.TPESampler(seed=seed + len(opened.trials), constant_liar=True)
    return opened


def discard(folder: Path) -> None:
    """Forgets a sweep that has no run, so that the corrected command may have other terms."""
    for name in ("sweep.json", "journal.log"):
        (folder / name).unlink(missing_ok=True)


def unfinished(opened: optuna.Study) -> list[tuple[optuna.Trial, optuna.trial.FrozenTrial]]:
    """The trials that an interrupted sweep left, each as it can be continued and as it was recorded."""
    module = _optuna().trial
    left = opened.get_trials(deepcopy=False, states=(module.TrialState.RUNNING,))
    return [(module.Trial(opened, frozen._trial_id), frozen) for frozen in left]


def end(opened: optuna.Study, number: int, state: Literal["FAIL", "PRUNED"]) -> None:
    """Records the end of a trial that has no result."""
    opened.tell(number, state=_optuna().trial.TrialState[state])


def _optuna() -> Any:
    try:
        import optuna  # noqa: PLC0415
    except ImportError:
        next_step = "pipx inject gpujob-cli optuna, or in a clone: pip install '.[sweep]'"
        raise GpujobError("a sweep needs Optuna, which is not installed", "", next_step) from None
    return optuna


def _require_same_terms(folder: Path, terms: Terms) -> None:
    path = folder / "sweep.json"
    content = {"v": 1, **msgspec.to_builtins(terms)}
    if not path.exists():
        files.write_json(path, content)
        return
    try:
        known = jsontext.parse_object(files.read_text(path, str(path)))
    except jsontext.BadJson as error:
        raise UsageError(f"{path} cannot be read: {error}", "", _ANOTHER) from None
    for key, value in json.loads(json.dumps(content)).items():
        if known.get(key) != value:
            why = f"{key} was {_shown(known.get(key))}, now it is {_shown(value)}"
            raise UsageError(f"the sweep in {folder} was started with another {key}", why, _ANOTHER)


def _shown(value: object) -> str:
    """A term as a person writes it: a space as its keys with LOW..HIGH or the values to choose from."""
    if not isinstance(value, dict):
        return json.dumps(value)
    if {"low", "high"} <= value.keys():
        return f"{value['low']}..{value['high']}{':log' if value.get('log') else ''}"
    return ", ".join(f"{key} {_shown(one)}" for key, one in value.items())


def distributions(space: Mapping[str, Dimension]) -> dict[str, optuna.distributions.BaseDistribution]:
    """The space as Optuna has it."""
    kinds = _optuna().distributions
    by_key: dict[str, optuna.distributions.BaseDistribution] = {}
    for key, one in space.items():
        if not isinstance(one, Range):
            by_key[key] = kinds.CategoricalDistribution(one)
        elif one.integer:
            by_key[key] = kinds.IntDistribution(int(one.low), int(one.high), log=one.log)
        else:
            by_key[key] = kinds.FloatDistribution(one.low, one.high, log=one.log)
    return by_key


def importance(study: optuna.Study) -> dict[str, float]:
    """How much each key matters (PED-ANOVA, Watanabe et al. 2023); empty with fewer than four results."""
    optuna = _optuna()
    complete = [trial for trial in study.trials if trial.state == optuna.trial.TrialState.COMPLETE]
    if len(complete) < 4 or len({trial.value for trial in complete}) < 2:
        return {}
    evaluator = optuna.importance.PedAnovaImportanceEvaluator()
    importances = optuna.importance.get_param_importances(study, evaluator=evaluator)
    return {key: round(float(value), 4) for key, value in importances.items()}


def sets(params: Mapping[str, Value]) -> tuple[str, ...]:
    """The values of a trial as `--set` takes them."""
    return tuple(f"{key}={_written(value)}" for key, value in params.items())


def _written(value: Value) -> str:
    """As YAML. A text in brackets is a list, which Optuna cannot choose as one."""
    return value if isinstance(value, str) and value.startswith("[") else json.dumps(value)
