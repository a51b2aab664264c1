"""The choice of a job's interpreter, the contents of its environment, and the required driver."""

from __future__ import annotations

from typing import Any

import pytest

from orchestrator.core import hostchecks, hostfacts, plan
from orchestrator.core.hostfacts import HostFacts
from orchestrator.core.inputs import Environment
from orchestrator.core.resources import Resources
from orchestrator.core.spec import Env, JobSpec
from orchestrator.errors import GpujobError
from tests.unit.core.test_plan import FACTS, GPU, PYTHON, inputs

OWN = JobSpec(name="j", command=["python", "train.py"], env=Env(requirements="r.txt"))
TRAINER = JobSpec(name="j", trainer="facenet-lstm", env=Env(requirements="r.txt"))
CUDA = {**PYTHON, "cuda": "12.8"}


def facts(*pythons: dict[str, Any], **more: Any) -> HostFacts:
    return hostfacts.parse({**FACTS, "pythons": list(pythons), **more})


def steps(job: JobSpec, requirements: str, *pythons: dict[str, Any]) -> Environment:
    trainers = {} if job.trainer else {"trainers": None, "data": ()}
    made = plan.build(inputs(job, {"pythons": list(pythons)}, requirements=requirements, **trainers))
    return next(step.environment for step in made.steps if isinstance(step, plan.EnvironmentStep))


def test_requirements_extend_the_hosts_torch_and_may_not_replace_it() -> None:
    step = steps(OWN, "einops\n", {**PYTHON, "path": "/none", "torch": None}, PYTHON)
    assert (step.base.path, step.requirements, step.keep, step.isolated) == (
        "/py",
        "einops\n",
        "torch==2.13",
        False,
    )


def test_with_its_own_python_or_without_torch_the_environment_is_isolated() -> None:
    named = JobSpec(name="j", command=["x"], env=Env(python="/py", requirements="r.txt"))
    for step in (steps(named, "einops", PYTHON), steps(OWN, "einops", {**PYTHON, "torch": None})):
        assert (step.base.path, step.isolated, step.keep) == ("/py", True, "")


def test_a_command_finds_the_environment_as_if_it_were_activated() -> None:
    made = plan.build(inputs(OWN, requirements="einops", trainers=None, data=()))
    step, start = made.steps[-2:]
    assert isinstance(step, plan.EnvironmentStep)
    assert isinstance(start, plan.StartStep)
    assert start.spec
    home = f"/r/env/{step.environment.key}"
    assert start.spec.argv == ["python", "train.py"]
    assert start.spec.env == {"VIRTUAL_ENV": home, "PATH": f"{home}/bin:/usr/bin"}
    assert start.spec.python
    assert start.spec.python.requirements == "einops"


def test_the_environment_of_a_trainer_contains_its_imports() -> None:
    made = plan.build(inputs(TRAINER, {"pythons": [{**PYTHON, "safetensors": None}]}, requirements="einops"))
    step = next(step for step in made.steps if isinstance(step, plan.EnvironmentStep))
    check, start = made.steps[-2:]
    assert isinstance(check, plan.CheckStep)
    assert isinstance(start, plan.StartStep)
    assert start.spec
    assert step.environment.packages == ("safetensors",)
    assert check.python == start.spec.argv[0] == f"/r/env/{step.environment.key}/bin/python"


@pytest.mark.parametrize(
    ("requirements", "refused"),
    [
        ("torchmetrics\ntorch-geometric\n", True),
        ("torch\n", False),
        (" torch==2.4 ; python_version>'3'", False),
    ],
)
def test_without_torch_on_the_host_a_trainer_must_require_it(requirements: str, refused: bool) -> None:
    bare = {**PYTHON, "torch": None}
    if not refused:
        assert steps(TRAINER, requirements, bare).isolated
        return
    with pytest.raises(GpujobError, match="need PyTorch"):
        steps(TRAINER, requirements, bare)


def test_equal_requirements_share_an_environment_and_changed_ones_do_not() -> None:
    base = steps(OWN, "einops", PYTHON).key
    assert steps(JobSpec(name="other", command=["y"], env=OWN.env), "einops", PYTHON).key == base
    others = [
        steps(OWN, "einops==1", PYTHON),
        steps(OWN, "einops", {**PYTHON, "version": "3.12.0"}),
        steps(OWN, "einops", {**PYTHON, "torch": "2.14"}),
        steps(TRAINER, "einops", {**PYTHON, "numpy": None}),
        steps(OWN, "einops", {**PYTHON, "torch": None}),
    ]
    assert len({base, *(step.key for step in others)}) == 6


def test_other_requirements_are_another_thing_to_deploy() -> None:
    prints = {plan.fingerprint(inputs(OWN, requirements=text)) for text in ("a", "b")}
    assert len(prints) == 2


def test_an_interpreter_that_can_use_the_gpus_is_preferred() -> None:
    cpu = {**PYTHON, "path": "/cpu", "cuda": None}
    new = {**CUDA, "path": "/new", "cuda": "13.0"}
    with_gpu = facts(cpu, new, CUDA, gpus=[GPU], cuda_driver="12.2")
    assert hostchecks.choose(with_gpu, inputs()) == hostfacts.parse_python(CUDA)
    assert hostchecks.choose(facts(cpu, CUDA), inputs()) == hostfacts.parse_python(cpu)


@pytest.mark.parametrize(
    ("driver", "wheel", "refused"),
    [("12.2", "12.8", False), ("13.1", "12.8", False), ("11.4", "12.1", True), ("12.9", "13.0", True)],
)
def test_a_driver_too_old_for_torch_is_refused_before_anything_starts(
    driver: str, wheel: str, refused: bool
) -> None:
    """A driver of the same major version is sufficient, whatever its minor version."""
    about = {
        "gpus": [{**GPU, "driver": "470.57"}],
        "cuda_driver": driver,
        "pythons": [{**CUDA, "cuda": wheel}],
    }
    if not refused:
        assert plan.build(inputs(facts=about)).steps
        return
    with pytest.raises(GpujobError, match="driver on the host is too old") as error:
        plan.build(inputs(facts=about))
    assert f"built for CUDA {wheel}; driver 470.57 runs CUDA {driver} at most" in error.value.why
    on_cpu = JobSpec(name="j", trainer="facenet-lstm", resources=Resources(gpus=0))
    assert plan.build(inputs(on_cpu, about)).steps


def test_torch_without_cuda_on_a_host_with_gpus_is_reported() -> None:
    about = {"gpus": [GPU], "cuda_driver": "12.2", "pythons": [{**PYTHON, "cuda": None}]}
    assert any("built without CUDA" in note for note in plan.build(inputs(facts=about)).notes)
