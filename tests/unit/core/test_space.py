"""Disk space and inodes are checked before anything is sent."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from orchestrator.core import plan
from orchestrator.core.inputs import CodeTree, DataInput
from orchestrator.core.spec import Env, JobSpec, Resources
from orchestrator.errors import GpujobError
from orchestrator.instances import quote
from tests.unit.core.test_plan import FACTS, inputs

GIB = 1 << 30
SENT = DataInput("crema", "/here", 5000, 10 * GIB, "f1", upload=True)


def made(free: float, job: JobSpec | None = None, **more: Any) -> plan.Plan:
    disk = {
        "free": int(free * GIB),
        "inodes": more.pop("inodes", 10**6),
        "free_inodes": more.pop("left", 10**6),
    }
    facts = {"disk": disk, **more.pop("facts", {})}
    return plan.build(inputs(job, facts, **{"data": (SENT,), **more}))


def test_sent_files_and_the_space_of_the_run_must_fit() -> None:
    assert made(12.1)
    with pytest.raises(GpujobError, match=r"12\.0 GiB are needed, 11\.9 GiB are free") as error:
        made(11.9)
    assert error.value.why == "below /r: data crema 10.0 GiB, the run itself 2.0 GiB"
    assert int(error.value.exit_code) == 1


def test_the_job_sets_the_space_that_its_run_needs() -> None:
    job = JobSpec(name="j", trainer="facenet-lstm", resources=Resources(disk_gb=50))
    with pytest.raises(GpujobError, match=r"60\.0 GiB are needed"):
        made(59, job)
    little = JobSpec(name="j", trainer="facenet-lstm", resources=Resources(disk_gb=0.5))
    assert made(10.6, little)


@pytest.mark.parametrize("facts", [{"present": True}, {"present": False, "bytes": 9 * GIB, "files": 4000}])
def test_files_already_on_the_host_need_no_space_again(facts: dict[str, Any]) -> None:
    """This includes data of an interrupted upload: otherwise it could not continue on a half full disk."""
    assert made(3.1, facts={"uploads": {"crema": facts}})


def test_data_that_the_host_has_is_not_sent() -> None:
    done = [
        [step.done for step in made(50, facts=facts).steps if isinstance(step, plan.DataStep)]
        for facts in ({}, {"uploads": {"crema": {"present": True}}})
    ]
    assert done == [[False], [True]]


def test_code_counts_for_its_tree_and_for_the_runs_copy() -> None:
    code = CodeTree("job", "c" * 32, 3, 3 * GIB)
    with pytest.raises(GpujobError, match=r"8\.0 GiB are needed"):
        made(7.9, code=code, data=())
    assert made(5.1, code=code, data=(), facts={"trees": [code.tree]})


def test_a_future_instance_gets_a_disk_for_the_job() -> None:
    job = JobSpec(name="j", command=["x"], env=Env(requirements="r"), resources=Resources(disk_gb=500))
    assert quote._disk_gb(job, 0) == quote.MIN_DISK_GB + 537
    unknown = dataclasses.replace(inputs(job, trainers=None, data=(SENT,), requirements="einops"), facts=None)
    assert not plan.build(unknown).complete


def test_inodes_run_out_too_where_the_file_system_counts_them() -> None:
    with pytest.raises(GpujobError, match="takes no more files: 6003 are needed, 6000 inodes are free"):
        made(100, left=6000)
    assert made(100, left=0, inodes=0)
    assert plan.build(inputs(facts={"disk": FACTS["disk"]}))
