"""Which hosts a run over several has, and what each is told."""

from __future__ import annotations

import pytest

from orchestrator.core import groups
from orchestrator.core.inputs import Identity
from orchestrator.core.resources import Resources
from orchestrator.core.spec import JobSpec
from orchestrator.errors import UsageError

WHO = Identity("j-20261121T000000-0000", 1.0, "ana", "0000mark", "1.0")


@pytest.mark.parametrize(
    ("nodes", "target", "message"),
    [
        (2, "gpu1", "resources.nodes is 2, and --on names 1"),
        (3, "a,b", "resources.nodes is 3, and --on names 2"),
        (1, "a,a", "each host is named once"),
        (1, "a,", "each host is named once"),
        (1, "a,local", "local cannot be one of several"),
        (1, "a,ec2:i-0123", "EC2 instances cannot be named for a new run"),
        (2, "ec2://i-0123", "EC2 instances cannot be named for a new run"),
    ],
)
def test_hosts_that_do_not_fit_the_job_are_refused(nodes: int, target: str, message: str) -> None:
    job = JobSpec(name="j", command=["x"], resources=Resources(nodes=nodes))
    with pytest.raises(UsageError) as caught:
        groups.require_hosts(job, "j.yaml:3", target)
    assert message in caught.value.what
    example = "--on ec2 --set resources.nodes=2" if "ec2" in target else "--on gpu1,gpu2"
    assert example in caught.value.next_step


def test_the_hosts_of_the_command_line_are_the_nodes() -> None:
    job = JobSpec(name="j", command=["x"])
    assert groups.require_hosts(job, "", "a").resources.nodes == 1
    assert groups.require_hosts(job, "", "a,b,c").resources.nodes == 3


def test_different_versions_of_pytorch_are_named() -> None:
    assert groups.torch_warnings(("a", "b"), ("2.4.0", "2.4.0")) == ()
    assert groups.torch_warnings(("a", "b"), (None, None)) == ()
    (warning,) = groups.torch_warnings(("a", "b"), ("2.4.0", None))
    assert "a 2.4.0, b none" in warning


def test_hosts_share_a_key_and_have_marks_of_their_own() -> None:
    nodes = groups.nodes(WHO, ("a", "b"), Resources(), ("10.0.0.5", "127.0.0.1"))
    assert {node.key for node in nodes} == {nodes[0].key}
    assert nodes[0].mark == WHO.mark
    assert nodes[1].mark not in (WHO.mark, "")
    assert nodes[0].addresses == ("10.0.0.5", "127.0.0.1")
    assert WHO.mark not in nodes[0].key


@pytest.mark.parametrize(
    ("master", "addresses", "port"),
    [
        ("10.0.0.9:29400", ("10.0.0.9",), 29400),
        ("gpu1.lan", ("gpu1.lan",), None),
        ("fd00::5", ("fd00::5",), None),
        ("[fd00::5]", ("fd00::5",), None),
        ("[fd00::5]:29400", ("fd00::5",), 29400),
    ],
)
def test_the_address_of_rank_0_may_be_given(
    master: str, addresses: tuple[str, ...], port: int | None
) -> None:
    node = groups.nodes(WHO, ("a", "b"), Resources(master=master), ("10.0.0.5",))[1]
    assert node.addresses == addresses
    assert port is None or node.port == port
