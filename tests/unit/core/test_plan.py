import contextlib
from typing import Any

import pytest

from orchestrator.core import hostchecks, hostfacts, plan
from orchestrator.core.inputs import CodeTree, DataInput, Identity, PlanInputs, run_id
from orchestrator.core.resources import Resources
from orchestrator.core.spec import JobSpec, to_fingerprint
from orchestrator.errors import GpujobError

WHO = Identity("j-20261121T101112-1a2b", 1.0, "a@b", "f" * 32, "0.1.0")
PYTHON = {"path": "/py", "version": "3.11.0", "torch": "2.13", "numpy": "2", "safetensors": "1"}
GPU = {"index": 0, "use_percent": 0, "used_mib": 0, "total_mib": 100}
FACTS: dict[str, Any] = {
    "tmux": "tmux 3.3a",
    "root": "/r",
    "path": "/usr/bin",
    "gpus": [],
    "gpu_processes": [],
    "trees": [],
    "pythons": [PYTHON],
    "disk": {"free": 50 << 30},
    "live_runs": [],
}
TREE = CodeTree("trainers", "t" * 32, 3, 100)
DATA = DataInput("ravdess", "/d", 5, 10, "f1")


def inputs(job: JobSpec | None = None, facts: dict[str, Any] | None = None, **more: Any) -> PlanInputs:
    job = job or JobSpec(name="j", trainer="facenet-lstm")
    values = {
        "source": "j.yaml",
        "target": "local",
        "identity": WHO,
        "code": None,
        "trainers": TREE,
        "data": (DATA,),
    }
    known = hostfacts.parse({**FACTS, **(facts or {})})
    return PlanInputs(job=job, facts=known, **{**values, **more})


def titles(made: plan.Plan) -> list[str]:
    return [step.title.split(" at ")[0] for step in made.steps]


def test_a_trainer_is_checked_before_anything_is_started() -> None:
    made = plan.build(inputs())
    assert titles(made) == [
        *("code: the trainers", "data: ravdess", "Python 3.11.0", "check data and recipe", "start in tmux")
    ]


def test_local_data_is_checked_before_it_is_sent_and_again_on_the_host() -> None:
    sent = DataInput("ravdess", "/here", 5, 10, "f1", upload=True)
    made = plan.build(inputs(data=(sent,)))
    checks = [step for step in made.steps if isinstance(step, plan.CheckStep)]
    assert [(step.on_client, step.request.tier) for step in checks] == [(True, "files"), (False, "full")]
    assert [step.request.data["ravdess"] for step in checks] == ["/here", "/r/data/ravdess/f1"]
    assert titles(made).index("data: ravdess") > made.steps.index(checks[0])


def test_a_tree_that_the_host_has_is_not_sent_again() -> None:
    made = plan.build(inputs(facts={"trees": [TREE.tree]}))
    assert [step.done for step in made.steps if isinstance(step, plan.CodeStep)] == [True]


def test_a_command_is_run_without_a_shell_and_without_our_python() -> None:
    job = JobSpec(name="j", command=["./train", "a b"])
    made = plan.build(inputs(job, {"pythons": []}, trainers=None, data=()))
    start = made.steps[-1]
    assert isinstance(start, plan.StartStep)
    assert start.spec
    assert start.spec.argv == ["./train", "a b"]


def test_several_gpus_are_driven_by_torchrun() -> None:
    job = JobSpec(name="j", trainer="facenet-lstm", resources=Resources(gpus=2))
    start = plan.build(inputs(job, {"gpus": [GPU, GPU]})).steps[-1]
    assert isinstance(start, plan.StartStep)
    assert start.spec
    assert start.spec.argv[1:5] == ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node"]


@pytest.mark.parametrize(
    ("facts", "message", "next_step"),
    [
        ({"tmux": None}, "tmux is not installed", "apt-get install"),
        (
            {"live_runs": [{"id": "j-20261121T000000-0000", "job": "j"}]},
            "already running as j-2026",
            "--name",
        ),
        ({"pythons": [{**PYTHON, "torch": None}]}, "need PyTorch", "pip install"),
        ({"disk": {"free": 1 << 20}}, "GiB are free", "GPUJOB_ROOT"),
    ],
)
def test_an_unsuitable_host_is_refused_with_a_fix(
    facts: dict[str, Any], message: str, next_step: str
) -> None:
    with pytest.raises(GpujobError) as error:
        plan.build(inputs(facts=facts))
    assert message in error.value.what
    assert next_step in error.value.next_step


def test_an_interpreter_with_torch_is_extended_by_missing_packages() -> None:
    made = plan.build(inputs(facts={"pythons": [{**PYTHON, "torch": None}, {**PYTHON, "safetensors": None}]}))
    step = next(step for step in made.steps if isinstance(step, plan.EnvironmentStep))
    assert (step.environment.base.path, step.environment.packages) == ("/py", ("safetensors",))
    start = made.steps[-1]
    assert isinstance(start, plan.StartStep)
    assert start.spec
    assert start.spec.argv[0] == step.environment.path


def test_an_interpreter_with_all_packages_is_preferred() -> None:
    lacking = {**PYTHON, "path": "/first", "numpy": None}
    made = plan.build(inputs(facts={"pythons": [lacking, PYTHON]}))
    assert not [step for step in made.steps if isinstance(step, plan.EnvironmentStep)]


def test_packages_that_a_trainer_imports_are_checked_and_installed() -> None:
    able = {**PYTHON, "path": "/second", "av": "18"}
    made = plan.build(inputs(facts={"pythons": [PYTHON, able]}, packages=("av",)))
    assert not [step for step in made.steps if isinstance(step, plan.EnvironmentStep)]
    made = plan.build(inputs(facts={"pythons": [{**PYTHON, "numpy": None}]}, packages=("av",)))
    (step,) = [step for step in made.steps if isinstance(step, plan.EnvironmentStep)]
    assert step.environment.packages == ("numpy", "av")


def test_a_gpu_in_use_is_reported_with_its_user_unless_shared() -> None:
    facts = {"gpus": [GPU], "gpu_processes": [{"name": "python", "pid": 9, "used_mib": 700}]}
    with pytest.raises(GpujobError) as error:
        plan.build(inputs(facts=facts))
    assert "python (pid 9, 700 MiB)" in error.value.why
    assert plan.build(inputs(facts=facts, share_gpu=True)).steps


def test_a_run_of_another_job_is_no_hindrance() -> None:
    assert plan.build(inputs(facts={"live_runs": [{"id": "x", "job": "other"}]})).steps


def test_equal_deploys_have_equal_fingerprints_and_changed_ones_do_not() -> None:
    base = plan.build(inputs()).fingerprint
    later = Identity("j-20261122T101112-ffff", 2.0, "c@d", "0" * 32, "0.1.0")
    assert plan.build(inputs(identity=later)).fingerprint == base
    job = JobSpec(name="j", trainer="facenet-lstm", config={"lr": 1})
    changed = DataInput("ravdess", "/d", 5, 10, "f2")
    tree = CodeTree("trainers", "u" * 32, 3, 100)
    others = [inputs(job), inputs(data=(changed,)), inputs(trainers=tree)]
    assert base not in {plan.build(other).fingerprint for other in others}


def test_the_cached_check_depends_on_code_config_data_and_environment() -> None:
    def key(**changes: Any) -> str:
        made = plan.build(inputs(**changes))
        return next(step.key for step in made.steps if isinstance(step, plan.CheckStep))

    others = [
        key(trainers=CodeTree("trainers", "u" * 32, 3, 100)),
        key(job=JobSpec(name="j", trainer="facenet-lstm", config={"lr": 1})),
        key(data=()),
        key(facts={"pythons": [{**PYTHON, "torch": "3"}]}),
    ]
    assert len({key(), *others}) == 5


def test_a_run_id_is_the_job_the_utc_time_and_four_digits() -> None:
    assert run_id("slow-fast", 0.0, "abcdef") == "slow-fast-19700101T000000-abcd"


def test_run_json_contains_no_value_of_a_passed_variable() -> None:
    job = JobSpec(name="j", command=["x"], pass_env=["TOKEN"])
    start = plan.build(inputs(job, trainers=None, data=())).steps[-1]
    assert isinstance(start, plan.StartStep)
    assert start.spec
    assert start.spec.pass_env == ["TOKEN"]
    assert "TOKEN" not in start.spec.env


@pytest.mark.parametrize(
    ("model", "accepted"), [("A10G", True), ("a10g", True), ("L4", False), ("A10", False)]
)
def test_a_host_with_another_gpu_than_the_job_asks_for_is_refused(model: str, accepted: bool) -> None:
    facts = hostfacts.parse({**FACTS, "gpus": [{"name": "NVIDIA A10G"}]})
    job = JobSpec("j", command=["x"], resources=Resources(gpu=model))
    with contextlib.nullcontext() if accepted else pytest.raises(GpujobError, match=f"no {model}"):
        hostchecks.require_host(facts, job, share_gpu=False)


def test_the_plan_names_the_variables_that_the_host_gets() -> None:
    job = JobSpec(name="j", trainer="facenet-lstm", pass_env=["TOKEN", "KEY"])
    assert "pass_env: the host gets TOKEN, KEY of this machine's environment" in plan.build(inputs(job)).notes


def test_a_new_job_key_with_its_default_changes_no_fingerprint() -> None:
    """A key that fails here belongs into spec._LATER_KEYS: deploys of version 1 are continued."""
    ec2 = {"types": [], "spot": False, "disk_gb": 0, "regions": [], "images": [], "user": "ubuntu"}
    limits = {"max_hours": None, "budget_usd": None, "idle_minutes": None, "grace_seconds": 60.0}
    assert to_fingerprint(JobSpec(name="x")) == {
        "name": "x",
        "trainer": None,
        "command": None,
        "config": {},
        "code": None,
        "data": {},
        "env": {"python": "auto", "requirements": None},
        "limits": limits,
        "restart": {"max": 0},
        "resources": {"gpus": 1, "ec2": ec2, "disk_gb": None},
        "outputs": [],
        "pass_env": [],
    }
