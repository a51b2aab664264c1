"""`diff`: what differs between two runs, and what is never shown."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from orchestrator.core.layout import Layout
from orchestrator.onhost import helper
from tests.rigs import fetched
from tests.support import Client, new_client


@pytest.fixture
def client() -> Iterator[Client]:
    with new_client() as new:
        yield new


def test_diff_shows_what_differs_and_no_value_of_a_variable(client: Client) -> None:
    base = client.project / "fetched"
    first = fetched.write(base, 1)
    other = {"tree": "e" * 40, "commit": "d" * 40, "dirty": False}
    second = fetched.write(base, 2, code=other, env={"TOKEN": "hunter3"})
    result = client.run("diff", str(first), str(second), "--json")
    found = {(one["group"], one["what"]): (one["a"], one["b"]) for one in result.json["differences"]}
    assert found["config", "lr"] == ("0.1", "0.2")
    assert found["code", "commit"] == ("c" * 40 + " with changes", "d" * 40)
    assert ("environment", "variable TOKEN") in found
    assert ("data", "faces") not in found
    shown = client.run("diff", str(first), str(second))
    assert f"git diff {'c' * 40} {'d' * 40}" in shown.err
    assert "hunter" not in result.out + shown.out + shown.err


def test_a_run_is_not_compared_with_itself(client: Client) -> None:
    folder = str(fetched.write(client.project / "fetched", 1))
    assert client.run("diff", folder, folder).code == 2


def test_two_fetched_runs_are_compared_by_their_metrics(client: Client) -> None:
    base = client.project / "fetched"
    first = fetched.write(base, 1, events=[fetched.progress(1, loss=1.0), fetched.metrics(1, f1=0.5)])
    second = fetched.write(base, 2, events=[], log="step=7 loss=0.25\nval_loss=0.7 val_f1=0.75\n")
    result = client.run("diff", str(first), str(second), "--json")
    found = {one["what"]: (one["a"], one["b"]) for one in result.json["differences"]}
    assert found["val.f1"] == ("0.5", "0.75")
    assert found["train.loss"] == ("1", "0.25")


def test_a_record_leaves_out_marks_and_patches(client: Client) -> None:
    fetched.write(client.root / "runs", 1)
    request = {"id": 1, "op": "record", "run": fetched.run_id(1)}
    client.root.chmod(0o700)
    record = helper.answer(Layout(str(client.root)), request)["answer"]["record"]
    assert record["job"] == "job"
    assert "mark" not in record
    assert "patch" not in json.dumps(record)
