"""Logs of tqdm, Lightning, Hugging Face's Trainer and Keras (tests/fixtures/training_logs/make.py)."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.core import events
from orchestrator.core.history import History
from orchestrator.core.layout import Layout
from orchestrator.onhost import log_events, progress_lines, run_facts
from orchestrator.onhost.progress_reader import LogReader
from tests.support import REPOSITORY

LOGS = REPOSITORY / "tests" / "fixtures" / "training_logs"
RUN = "job-20261121T101112-1a2b"
ENDS: dict[str, dict[str, Any]] = {
    "tqdm_one": {"step": 40, "of": 40, "loss": 0.05},
    "tqdm_nested": {"step": 3, "of": 3, "loss": 0.0333, "val": {"loss": 0.3333}, "train": {"acc": 0.5}},
    "tqdm_total_unknown": {"step": 30, "of": None},
    "lightning_fit": {
        "step": 8,
        "of": 8,
        "epoch": 2,
        "of_epoch": True,
        "loss": 0.302,
        "val": {"loss": 0.323},
    },
    "huggingface": {
        "step": 24,
        "of": 24,
        "epoch": 3,
        "loss": 0.43,
        "lr": 2.083e-06,
        "grad_norm": 0.4386,
        "val": {"loss": 0.5206},
    },
    "keras_bar": {
        "step": 36,
        "of": 36,
        "epoch": 3,
        "loss": 0.79,
        "val": {"accuracy": 0.6562, "loss": 0.7309},
    },
    "keras_lines": {
        "step": 36,
        "of": 36,
        "epoch": 3,
        "loss": 0.79,
        "val": {"accuracy": 0.6562, "loss": 0.7309},
    },
}


IN_FILE: dict[str, dict[str, Any]] = {
    "catboost": {"step": 5, "loss": 0.4832585, "test": {"loss": 0.5078232}},
    "keras_evaluate": {"step": 16, "of": 16, "loss": 0.7867, "test": {"accuracy": 0.4922, "loss": 0.7833}},
    "lightgbm": {"step": 6, "val": {"l2": 0.178982, "1_auc": 0.863929, "1_binary_logloss": 0.506795}},
    "sklearn": {"epoch": 3, "loss": 0.8748},
    "skorch": {"epoch": 4, "loss": 0.6792, "val": {"acc": 0.525, "loss": 0.6896}},
    "stable_baselines3": {"step": 192, "loss": 37.1, "lr": 0.0003},
    "xgboost": {"step": 2, "train": {"logloss": 0.34649, "auc": 0.99964}, "test": {"logloss": 0.47584}},
}


def found(lines: list[str]) -> dict[str, Any]:
    """What the latest events say, in one dictionary."""
    values: dict[str, Any] = {}
    for event in map(json.loads, lines):
        values.update({event["split"]: event["values"]} if event["event"] == "metrics" else event)
    return values


def at(path: Path, share: float, folder: Path) -> list[str]:
    """The events of a log of which that share has been written."""
    content = path.read_bytes()
    part = folder / "part"
    part.write_bytes(content[: int(len(content) * share)])
    return log_events.latest(str(part)).lines


@pytest.mark.parametrize("stream", ["file", "terminal"])
@pytest.mark.parametrize("name", ENDS)
def test_the_log_of_a_library_ends_with_its_last_values(name: str, stream: str) -> None:
    values = found(log_events.latest(str(LOGS / f"{name}.{stream}.log")).lines)
    assert {key: values.get(key) for key in ENDS[name]} == ENDS[name]
    assert values["phase"] == "train"


@pytest.mark.parametrize("name", IN_FILE)
def test_the_log_of_other_libraries_ends_with_its_last_values(name: str) -> None:
    values = found(log_events.latest(str(LOGS / f"{name}.file.log")).lines)
    assert {key: values.get(key) for key in IN_FILE[name]} == IN_FILE[name]


def test_a_line_far_behind_the_heading_of_its_table_is_understood(tmp_path: Path) -> None:
    rows = "".join(f"{epoch}  {epoch}.5  {epoch}.25  0.75\n" for epoch in range(9000))
    path = tmp_path / "log"
    path.write_text("epoch  train_loss  valid_loss  accuracy\n" + rows)
    values = found(log_events.latest(str(path)).lines)
    assert (values["epoch"], values["loss"], values["val"]) == (
        8999,
        8999.5,
        {"loss": 8999.25, "accuracy": 0.75},
    )


def test_the_rows_of_a_table_are_read_on_from_any_offset(tmp_path: Path) -> None:
    rows = [f"{epoch}  {epoch}.5  0.25\n" for epoch in range(20)]
    heading = "epoch  train_loss  valid_loss\n"
    layout, losses, offset = new_run(tmp_path, b""), [], 0
    for number in range(1, 21):
        Path(layout.run(RUN).log).write_text(heading + "".join(rows[:number]))
        answer = log_events.read(layout, RUN, offset, 1 << 20)
        events_of = [json.loads(line) for line in answer["text"].splitlines()]
        losses += [event["loss"] for event in events_of if "loss" in event]
        offset = answer["offset"]
    assert losses == [epoch + 0.5 for epoch in range(20)]


def test_a_log_that_was_cut_is_read_from_its_begin(tmp_path: Path) -> None:
    content = b"epoch  train_loss  valid_loss\n0  0.5  0.25\n"
    layout = new_run(tmp_path, content)
    assert log_events.read(layout, RUN, 10**6, 1 << 20) == log_events.read(layout, RUN, 0, 1 << 20)
    assert log_events.read(layout, RUN, 10**6, 1 << 20)["offset"] == len(content)


def test_the_rich_bar_of_lightning_counts_all_epochs() -> None:
    values = found(log_events.latest(str(LOGS / "lightning_rich.terminal.log")).lines)
    assert (values["step"], values["of"], values["epoch"], values["loss"]) == (24, 24, 3, 0.302)


@pytest.mark.parametrize(
    ("name", "of"), [("tqdm_nested", 60), ("huggingface", 24), ("keras_bar", 36), ("lightning_fit", 8)]
)
def test_in_the_middle_of_a_log_progress_is_of_the_whole_training(name: str, of: int, tmp_path: Path) -> None:
    for stream in ("file", "terminal"):
        values = found(at(LOGS / f"{name}.{stream}.log", 0.5, tmp_path))
        assert values["of"] == of
        assert 0 < values["step"] < of or name == "lightning_fit"


def test_the_curve_of_a_log_has_each_loss(tmp_path: Path) -> None:
    layout = new_run(tmp_path, (LOGS / "huggingface.file.log").read_bytes())
    answer = log_events.read(layout, RUN, 0, 1 << 20)
    curves = dict(History(events.parse(answer["text"].splitlines())).curves())
    assert curves["train loss"].values == [0.5321, 0.5099, 0.5985, 0.443, 0.6112, 0.43]
    assert curves["val loss"].values == [0.5208, 0.5207, 0.5206]
    assert curves["learning rate"].last == 2.083e-06
    assert curves["gradient norm"].last == 0.4386


def test_a_log_is_read_on_from_where_it_was_read_to(tmp_path: Path) -> None:
    lines = [b"step=%d loss=%d.5\n" % (step, step) for step in range(50)]
    layout, text, offset = new_run(tmp_path, b""), "", 0
    for number in range(1, 51):
        Path(layout.run(RUN).log).write_bytes(b"".join(lines[:number])[:-3])
        answer = log_events.read(layout, RUN, offset, 1 << 20)
        text, offset = text + answer["text"], answer["offset"]
    assert [json.loads(line)["step"] for line in text.splitlines()] == list(range(49))


def test_of_a_very_long_log_a_sample_of_all_parts_is_read(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr(log_events, "_MOST", 1 << 17)
    parsed = []
    monkeypatch.setattr(
        progress_lines,
        "parse",
        lambda raw, split, parse=progress_lines.parse: parsed.append(raw) or parse(raw, split),
    )
    bars = b"".join(
        b"\r%3d%%|# | %d/40000 [00:01<00:09, 9.0it/s, loss=%d.5]" % (n // 400, n, n) for n in range(100_000)
    )
    layout = new_run(tmp_path, bars + b"\n")
    answer = log_events.read(layout, RUN, 0, 1 << 20)
    assert answer["offset"] == len(bars) + 1
    assert len(parsed) < 10_000
    losses = [json.loads(line)["loss"] for line in answer["text"].splitlines()]
    assert losses == sorted(losses)
    assert losses[0] < 2000
    assert losses[-1] > 39_000


def test_events_that_a_run_writes_win_over_its_log(tmp_path: Path) -> None:
    layout = new_run(tmp_path, b"step=5 loss=0.5\n")
    facts = run_facts.find(layout, RUN, 5)
    assert facts
    assert found(facts.events.lines)["step"] == 5
    assert [(taken.what, taken.line) for taken in facts.events.from_log] == [
        ("progress", "step=5 loss=0.5"),
        ("loss", "step=5 loss=0.5"),
    ]
    warning = b'{"event": "warning", "message": "\\"progress\\""}\n'
    Path(layout.run(RUN).events).write_bytes(warning)
    facts = run_facts.find(layout, RUN, 5)
    assert facts
    assert facts.events.from_log
    Path(layout.run(RUN).events).write_bytes(warning + b'{"event": "progress", "step": 7, "of": 9}\n')
    facts = run_facts.find(layout, RUN, 5)
    assert facts
    assert found(facts.events.lines)["step"] == 7
    assert not facts.events.from_log


def new_run(root: Path, log: bytes) -> Layout:
    folder = root / "runs" / RUN
    folder.mkdir(parents=True)
    (folder / "log").write_bytes(log)
    return Layout(str(root))


HOSTILE = [
    *("%|" * 450, "1%|" + "|" * 900, "a " * 450 + "1", "loss " * 190, "step=1 " * 140 + "x", "[1/2]" * 190),
    *("{'" + "[" * 900 + "1'}", "{'a': " + "9" * 900 + "}", "━" * 900 + "1 •", "it [" * 240 + "1"),
    *("step=" + "9" * 900 + " loss=1", "epoch 1e999 loss 1", "step=1 loss=1e999", "Epoch 9/0 loss: 1"),
    *("loss 1 " + "a" * 985, "loss a(b(c))" * 80 + "=1", "loss (1 " * 120 + ")", "tensor(" * 140 + "1"),
    *(
        "eta " * 200 + "loss 1:11",
        "loss " + "1," * 490,
        "loss " + "[1]" * 245,
        "epoch 1 {'" + "a" * 3900 + "': 1}",
    ),
    *("INFO " * 190 + "1", "0%|| 9/0 [1:1<1:1, 1]", "1:" * 450, "( 1 )" * 190, "A1 " * 320, "epoch 1 " * 120),
]


@pytest.mark.parametrize("line", HOSTILE, ids=range(len(HOSTILE)))
def test_no_line_makes_the_reader_fail_or_take_long(line: str) -> None:
    reader = LogReader()
    for _ in range(3):
        events.parse(json.dumps(event) for event in reader.feed(line))


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32))
def test_a_mutated_log_gives_events_that_can_be_shown(seed: int) -> None:
    chance = random.Random(seed)
    raw = bytearray(chance.choice(sorted(LOGS.glob("*.log"))).read_bytes()[-3000:])
    for _ in range(chance.randint(1, 40)):
        place = chance.randrange(len(raw))
        raw[place : place + chance.randint(0, 9)] = bytes(
            chance.choices(b"0123456789/=%|[]\r\n\x1b{}':. ", k=4)
        )
    _, latest = log_events.read_tail(bytes(raw))
    History(events.parse(json.dumps(event) for event in latest.values())).curves()
