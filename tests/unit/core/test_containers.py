"""Which jobs may have an image, and which hosts can run them."""

from __future__ import annotations

import pytest

from orchestrator.core import containers, spec
from orchestrator.core.hostfacts import Containers, Gpu, HostFacts
from orchestrator.errors import GpujobError, UsageError

JOB = "name: a\ncommand: [python, train.py]\nimage: {image}\n"
NVIDIA = "nvcr.io/nvidia/pytorch:24.10-py3"


@pytest.mark.parametrize(
    "image",
    [
        NVIDIA,
        "ubuntu",
        "a/b_c-d.e",
        "localhost:5000/a/b",
        "r.example/a:V1@sha256:" + "0" * 64,
        "sha256:" + "a" * 64,
    ],
)
def test_names_of_images(image: str) -> None:
    assert spec.parse(JOB.format(image=image), "job.yaml").spec.image == image


@pytest.mark.parametrize(
    "image", ["--privileged", "a b", "A/B", "'a:'", "''", "a@sha256:12", "a//b", "'a\n'"]
)
def test_what_names_no_image_is_refused_with_its_line(image: str) -> None:
    with pytest.raises(UsageError, match=r"job.yaml:3: image: .* is no name of an image"):
        spec.parse(JOB.format(image=image), "job.yaml")


@pytest.mark.parametrize(
    ("line", "key"),
    [
        ("setup: [make]", "setup"),
        ("env: {requirements: r.txt}", "env.requirements"),
        ("env: {python: python3.11}", "env.python"),
    ],
)
def test_an_environment_of_the_host_does_not_go_with_an_image(line: str, key: str) -> None:
    with pytest.raises(UsageError, match=rf"job.yaml:4: {key}: .*image"):
        spec.parse(JOB.format(image=NVIDIA) + line + "\n", "job.yaml")


def test_an_included_trainer_does_not_run_in_an_image() -> None:
    with pytest.raises(UsageError, match=r"job\.yaml:3: image: the included trainers"):
        spec.parse("name: a\ntrainer: slowfast\nimage: ubuntu\n", "job.yaml")


JOB_SPEC = spec.parse(JOB.format(image=NVIDIA), "job.yaml").spec


@pytest.mark.parametrize(
    ("problem", "fix"),
    [
        ("no-engine", "apt-get install -y docker.io"),
        ("engine-denied", "usermod -aG docker"),
        ("engine-stopped", "systemctl start docker"),
        ("engine-failed", "docker info"),
    ],
)
def test_a_host_without_a_usable_engine_is_refused_with_the_fix(problem: str, fix: str) -> None:
    facts = HostFacts(containers=Containers(problem=problem, detail="docker: its words"))
    with pytest.raises(GpujobError) as caught:
        containers.require(facts, JOB_SPEC)
    assert (caught.value.why, fix in caught.value.next_step) == ("docker: its words", True)
    what, verdict, _, shown = containers.row(facts)
    assert (what, verdict, fix in shown) == ("containers", "warning", True)


def test_an_engine_without_gpus_is_refused_where_the_host_has_some() -> None:
    gpu = (Gpu(index=0, name="NVIDIA L4"),)
    engine = Containers(program="docker", kind="docker", version="28")
    with pytest.raises(GpujobError, match="cannot give its GPUs to a container"):
        containers.require(HostFacts(gpus=gpu, containers=engine), JOB_SPEC)
    containers.require(HostFacts(gpus=(), containers=engine), JOB_SPEC)
    assert containers.row(HostFacts(containers=engine)) == ("containers", "ok", "docker 28", "")
