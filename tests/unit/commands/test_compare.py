"""`runs`, `diff`, `export-metrics` and `tensorboard`: what they compare and write, and what they ask."""

from __future__ import annotations

import contextlib
import csv
import io
import json
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from orchestrator.commands import fetch, stop
from orchestrator.context import Context
from orchestrator.core import hostfacts
from orchestrator.core.history import is_lower_better
from orchestrator.core.layout import Layout
from orchestrator.errors import NotFound, Unreachable
from orchestrator.onhost import helper
from orchestrator.store import CachedRun, Store
from orchestrator.targets.base import Target
from tests.rigs import fetched
from tests.rigs.patience import PATIENCE
from tests.support import REPOSITORY, Client, ScriptedHost, new_client


@pytest.fixture
def client() -> Iterator[Client]:
    with new_client() as new:
        yield new


def runs_on_this_machine(client: Client) -> None:
    """Three runs whose last val.loss is 0.5, 0.1 and unknown."""
    for number, loss in ((1, 0.5), (2, 0.1), (3, None)):
        events = [fetched.progress(1, loss=1.0), *([fetched.metrics(1, loss=loss)] if loss else [])]
        fetched.write(client.root / "runs", number, events=events, created=fetched.NOW + number)


class Screen(io.StringIO):
    def isatty(self) -> bool:
        return True


def ids(client: Client, *words: str) -> list[int]:
    shown = client.run("runs", "--json", *words)
    assert shown.code == 0, shown.out
    return [int(run["id"][-4:], 16) for run in shown.json["runs"]]


def test_runs_are_sorted_by_a_metric_with_the_best_first(client: Client) -> None:
    runs_on_this_machine(client)
    assert ids(client) == [1, 2, 3]
    assert ids(client, "--sort", "val.loss") == [2, 1, 3]
    assert ids(client, "--sort", "val.loss", "--reverse") == [1, 2, 3]
    assert ids(client, "--limit", "2") == [2, 3]
    assert ids(client, "--job", "other") == []
    unknown = client.run("runs", "--sort", "val.los")
    assert (unknown.code, "there are: train.loss, val.loss" in unknown.err) == (2, True)


class Hosts:
    """Hosts by name that answer at once, once all of them were asked; those named `gone…` never do."""

    def __init__(self, client: Client, monkeypatch: pytest.MonkeyPatch, *labels: str) -> None:
        self.client, self.asked = client, threading.Barrier(len(labels), timeout=PATIENCE)
        store = Store(client.state_dir)
        for number, label in enumerate(labels):
            facts = hostfacts.parse_run(self.run(number, number % 2 == 0))
            assert facts
            store.save_target(label, 1.0)
            store.save_run(CachedRun(label, 1.0, facts))
        self.labels = labels
        monkeypatch.setattr("orchestrator.registry.target", lambda ctx, settings, label: self.target(label))
        client.env["GPUJOB_TARGET"] = labels[0]

    def run(self, number: int, ended: bool) -> dict[str, Any]:
        state = {"started": 1.0, **({"ended": 9.0, "exit_code": 0, "reason": "exit"} if ended else {})}
        run = {"job": "job", "created": 1.0 + number}
        return {"id": fetched.run_id(number), "run": run, "state": state, "supervised": not ended}

    def target(self, label: str) -> Target:
        hosts, number = self, self.labels.index(label)

        class ScriptedTarget(Target):
            @contextlib.contextmanager
            def connect(self) -> Iterator[ScriptedHost]:
                hosts.asked.wait()
                if label.startswith("gone"):
                    raise Unreachable("timed out")
                host = ScriptedHost({"status": {"runs": [hosts.run(number, True)]}, "record": {"record": {}}})
                host.label = label
                yield host

        return ScriptedTarget()


def test_all_hosts_are_asked_at_once_and_shown_in_order(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    Hosts(client, monkeypatch, "gpu3", "gpu1", "gone1", "gone2")
    shown = client.run("runs", "--json")
    assert shown.code == 0, shown.out + shown.err
    assert [(run["target"], run["state"]) for run in shown.json["runs"]] == [
        *(("gpu3", "succeeded"), ("gpu1", "succeeded"), ("gone1", "succeeded"), ("gone2", "unreachable"))
    ]
    assert "gone2 does not answer (timed out); its runs are as they were last seen" in shown.err


def test_a_host_that_was_named_and_does_not_answer_is_an_error(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    Hosts(client, monkeypatch, "gone")
    assert client.run("runs", "--on", "gone").code == 5


def test_the_table_has_metrics_and_the_configuration_that_differs(client: Client) -> None:
    runs_on_this_machine(client)
    table = client.run("runs").out.splitlines()
    assert table[0].split() == ["run", "state", "took", "val.loss", "train.loss", "lr"]
    assert table[2].split()[-3:] == ["0.1", "1", "0.2"]
    assert table[2].split()[:2] == [fetched.run_id(2), "succeeded"]


@pytest.mark.parametrize(
    ("width", "shown", "left_out"),
    [
        ("160", ["run", "state", "took", "val.loss", "train.loss", "lr"], ""),
        ("80", ["run", "state", "took", "val.loss", "train.loss"], "left out, as the terminal is narrow: lr"),
        ("50", ["run", "state", "val.loss"], "narrow: took, train.loss, lr; --json has all"),
    ],
)
def test_a_narrow_terminal_gets_fewer_columns_and_is_told(
    client: Client, width: str, shown: list[str], left_out: str
) -> None:
    runs_on_this_machine(client)
    client.env["COLUMNS"] = width
    result = client.run("runs", "--sort", "val.loss", stdout=Screen())
    lines = result.out.splitlines()
    assert lines[0].split() == shown
    assert len(lines) == 4
    assert left_out in result.err


def test_a_group_is_fetched_after_one_question(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    runs_on_this_machine(client)
    asked: list[str] = []

    def fake(ctx: Context, run: str, *_: Any) -> int:
        asked.append(run)
        if run == fetched.run_id(2):
            raise NotFound("it has no best checkpoint")
        return 0

    monkeypatch.setattr(fetch, "fetch", fake)
    refused = client.run("runs", "--fetch")
    assert (refused.code, asked) == (7, [])
    assert f"3 runs: {fetched.run_id(1)} (started by ana@laptop)" in refused.err
    result = client.run("runs", "--fetch", "--yes", "--json")
    assert (result.code, asked) == (1, [fetched.run_id(number) for number in (1, 2, 3)])
    assert result.json["done"] == [fetched.run_id(1), fetched.run_id(3)]
    assert result.json["failed"] == [{"run": fetched.run_id(2), "what": "it has no best checkpoint"}]


def test_only_active_runs_are_stopped(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    runs_on_this_machine(client)
    monkeypatch.setattr(stop, "stop", lambda *_: pytest.fail("no run is active"))
    result = client.run("runs", "--stop", "--yes")
    assert (result.code, "none of the 3 runs is active" in result.err) == (0, True)


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


def test_metrics_are_exported_as_csv_value_by_value(client: Client) -> None:
    fetched.write(
        client.root / "runs", 1, events=[*fetched.story(20), fetched.metrics(21, **{"=cmd()": 1.0})]
    )
    result = client.run("export-metrics", "job", "--to", "csv", "--json")
    (one,) = result.json["runs"]
    rows = list(csv.DictReader(io.StringIO(Path(one["path"]).read_text())))
    assert len(rows) == one["values"] == 20 * 3 + 10 * 2 + 1
    assert rows[0] == {
        "time": "2025-11-24T16:00:01Z",
        "step": "1",
        "split": "train",
        "name": "loss",
        "value": "2.0",
    }
    assert rows[-1]["name"] == "'=cmd()"


def test_tensorboard_reads_back_each_exported_value(client: Client) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator  # noqa: PLC0415

    folder = fetched.write(client.project / "fetched", 1, events=fetched.story(30))
    for _ in range(2):  # a second export replaces the first one
        result = client.run("export-metrics", str(folder), "--to", "tensorboard")
        assert result.code == 0, result.err
    reader = EventAccumulator(str(client.project / "tensorboard" / fetched.run_id(1)))
    reader.Reload()
    assert set(reader.Tags()["scalars"]) == {
        *("train/loss", "train/lr", "train/grad_norm", "val/loss", "val/accuracy")
    }
    loss = reader.Scalars("train/loss")
    assert [(one.step, one.wall_time) for one in loss] == [(n, fetched.NOW + n) for n in range(1, 31)]
    assert loss[3].value == pytest.approx(0.5)


@pytest.mark.parametrize("words", [("export-metrics", "x/y", "--to", "tensorboard"), ("tensorboard",)])
def test_a_missing_tensorboard_is_named_with_its_extra(
    client: Client, words: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "tensorboard.summary.writer.event_file_writer", None)
    result = client.run(*words)
    assert (result.code, "pip install 'tensorboard" in result.err) == (1, True)


def test_tensorboard_is_started_on_the_files_of_the_runs(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = fetched.write(client.project / "fetched", 1, events=fetched.story(5))
    started: list[list[str]] = []
    monkeypatch.setattr("os.execvpe", lambda file, line, env: started.append(line))
    client.run("tensorboard", str(folder), "--port", "6007")
    assert started[0][1:] == [
        *("-m", "tensorboard.main", "--logdir", str(client.project / "tensorboard"), "--port", "6007")
    ]
    assert list((client.project / "tensorboard" / fetched.run_id(1)).glob("events.out.tfevents.*"))


def log_of(name: str) -> str:
    return (REPOSITORY / "tests/fixtures/training_logs" / f"{name}.log").read_text()


LOGS = {
    "huggingface.file": [0.5321, 0.5099, 0.5985, 0.443, 0.6112, 0.43],
    "keras_lines.file": [0.79],
    "lightning_rich.terminal": [0.302],
    "tqdm_nested.terminal": [0.0333],
    "plain": [4.0, 2.0],
}


@pytest.mark.parametrize("where", ["on its host", "fetched"])
@pytest.mark.parametrize("name", LOGS)
def test_values_of_a_log_are_exported_like_those_of_events(client: Client, name: str, where: str) -> None:
    log = "step=1 loss=4.0\nstep=2 loss=2.0\nval_loss=0.7 val_acc=0.5\n" if name == "plain" else log_of(name)
    base = client.root / "runs" if where == "on its host" else client.project / "fetched"
    folder = fetched.write(base, 1, events=[], log=log)
    word = fetched.run_id(1) if where == "on its host" else str(folder)
    result = client.run("export-metrics", word, "--to", "csv", "--out", "metrics.csv", "--json")
    assert result.code == 0, result.out + result.err
    rows = list(csv.DictReader(io.StringIO((client.project / "metrics.csv").read_text())))
    losses = [float(row["value"]) for row in rows if (row["split"], row["name"]) == ("train", "loss")]
    assert losses[-len(LOGS[name]) :] == LOGS[name]
    assert {row["time"] for row in rows} == {""}
    steps = [int(row["step"]) for row in rows if row["split"] == "train"]
    assert steps == sorted(steps)
    if name == "plain":
        assert (rows[-1]["step"], rows[-1]["split"], rows[-1]["value"]) == ("2", "val", "0.5")


def test_tensorboard_gets_the_values_of_a_log(client: Client) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator  # noqa: PLC0415

    folder = fetched.write(client.project / "fetched", 1, events=[], log=log_of("huggingface.file"))
    assert client.run("export-metrics", str(folder), "--to", "tensorboard").code == 0
    reader = EventAccumulator(str(client.project / "tensorboard" / fetched.run_id(1)))
    reader.Reload()
    assert set(reader.Tags()["scalars"]) == {"train/loss", "train/lr", "train/grad_norm", "val/loss"}
    assert [one.wall_time for one in reader.Scalars("val/loss")] == [fetched.NOW] * 3


def test_two_fetched_runs_are_compared_by_their_metrics(client: Client) -> None:
    base = client.project / "fetched"
    first = fetched.write(base, 1, events=[fetched.progress(1, loss=1.0), fetched.metrics(1, f1=0.5)])
    second = fetched.write(base, 2, events=[], log="step=7 loss=0.25\nval_loss=0.7 val_f1=0.75\n")
    result = client.run("diff", str(first), str(second), "--json")
    found = {one["what"]: (one["a"], one["b"]) for one in result.json["differences"]}
    assert found["val.f1"] == ("0.5", "0.75")
    assert found["train.loss"] == ("1", "0.25")


@pytest.mark.parametrize(
    ("name", "lower"),
    [
        *(("val.loss", True), ("valLoss", True), ("dev.wer", True), ("word_error", True), ("val.rmse", True)),
        *(("answers", False), ("power", False), ("val.f1", False), ("certainty", False)),
    ],
)
def test_less_is_better_of_losses_and_errors_alone(name: str, lower: bool) -> None:
    assert is_lower_better(name) is lower


def test_a_record_leaves_out_marks_and_patches(client: Client) -> None:
    fetched.write(client.root / "runs", 1)
    request = {"id": 1, "op": "record", "run": fetched.run_id(1)}
    client.root.chmod(0o700)
    record = helper.answer(Layout(str(client.root)), request)["answer"]["record"]
    assert record["job"] == "job"
    assert "mark" not in record
    assert "patch" not in json.dumps(record)
