"""`export-metrics` and `tensorboard`: values of events and logs, read back from what is written."""

from __future__ import annotations

import csv
import io
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.rigs import fetched
from tests.support import REPOSITORY, Client, new_client


@pytest.fixture
def client() -> Iterator[Client]:
    with new_client() as new:
        yield new


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
