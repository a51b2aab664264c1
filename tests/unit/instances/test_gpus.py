"""The GPUs of an instance are compared with its type before a training starts."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from orchestrator.core.hostfacts import Gpu, HostFacts
from orchestrator.errors import GpujobError
from orchestrator.instances import connection
from orchestrator.instances.instance import Instance
from orchestrator.process import Done
from tests.support import Client, ScriptedHost, new_client

MISMATCH = "Failed to initialize NVML: Driver/library version mismatch"
UNKNOWN = HostFacts()
NONE = HostFacts(gpus=())
ONE = HostFacts(gpus=(Gpu(0, "NVIDIA A10G"),))


class Driver(ScriptedHost):
    def run(self, words: Any, stdin: Any, env: Any, on_line: Callable[[str], None], cwd: Any = None) -> Done:
        on_line(MISMATCH)
        return Done(18, "")


@pytest.fixture
def client() -> Iterator[Client]:
    with new_client() as client:
        yield client


class Waiting:
    """A clock, and a host whose facts change with every read."""

    def __init__(self, client: Client, *answers: HostFacts, type_: str = "g5.xlarge", age: float = 0) -> None:
        self.now = 1000.0
        self.answers = list(answers)
        self.ctx = client.context(now=lambda: self.now, sleep=self.sleep)
        self.instance = Instance(id="i-1", region="us-east-1", launched=1.0, type=type_, started=1000.0 - age)

    def sleep(self, seconds: float) -> None:
        self.now += seconds

    def read(self) -> HostFacts:
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]

    def facts(self) -> HostFacts:
        return connection.wait_for_gpus(self.ctx, self.instance, Driver({}), self.read)


def test_a_driver_that_is_still_loading_is_waited_for(client: Client) -> None:
    waiting = Waiting(client, UNKNOWN, NONE, UNKNOWN, ONE)
    assert waiting.facts() == ONE
    assert waiting.now == 1015.0


@pytest.mark.parametrize(
    ("facts", "problem"),
    [
        (UNKNOWN, "cannot read them"),
        (NONE, "0 found"),
        (HostFacts(gpus=(Gpu(0, "NVIDIA L4"),)), "NVIDIA L4 found"),
        (HostFacts(gpus=(*(ONE.gpus or ()), Gpu(1, "NVIDIA A10G"))), "2 found"),
    ],
)
@pytest.mark.parametrize(("age", "most"), [(0.0, 1080.0), (5 * 3600.0, 60.0)])
def test_an_instance_without_the_gpus_of_its_type_is_refused(
    client: Client, facts: HostFacts, problem: str, age: float, most: float
) -> None:
    waiting = Waiting(client, facts, age=age)
    with pytest.raises(GpujobError) as raised:
        waiting.facts()
    assert problem in raised.value.what
    assert "g5.xlarge has 1 A10G" in raised.value.what
    assert MISMATCH in raised.value.why
    assert "gpujob hosts down ec2://i-1" in raised.value.next_step
    assert waiting.now - 1000.0 == pytest.approx(most, abs=10)


@pytest.mark.parametrize(
    ("type_", "names"),
    [
        ("g4dn.xlarge", ["Tesla T4"]),
        ("g6e.xlarge", ["NVIDIA L40S"]),
        ("g7e.2xlarge", ["NVIDIA RTX PRO 6000 Blackwell Server Edition"]),
        ("p4d.24xlarge", ["NVIDIA A100-SXM4-40GB"] * 8),
        ("p5.48xlarge", ["NVIDIA H100 80GB HBM3"] * 8),
        ("m5.large", []),
    ],
)
def test_the_names_that_drivers_print_match_the_types(client: Client, type_: str, names: list[str]) -> None:
    facts = HostFacts(gpus=tuple(Gpu(index, name) for index, name in enumerate(names)))
    assert Waiting(client, facts, type_=type_).facts() == facts
