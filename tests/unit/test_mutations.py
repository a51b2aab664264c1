"""Files and answers that are mutated at random: each gives a value or a described error, and nothing else."""

from __future__ import annotations

import contextlib
import hashlib
import json
import random
import shutil
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from orchestrator.commands import verify
from orchestrator.core import decode, events, hostfacts, runstate, spec
from orchestrator.core.history import History
from orchestrator.core.layout import Layout
from orchestrator.core.results import Evaluation, Export, Prediction
from orchestrator.core.runjson import RunChanges
from orchestrator.errors import GpujobError
from orchestrator.instances import records
from orchestrator.onhost import event_file, run_facts
from orchestrator.onhost import helper as onhost
from orchestrator.source import Digests
from orchestrator.store import Store
from orchestrator.targets import helper, helper_files
from orchestrator.view import answers, plans, results, status
from orchestrator.view.status import HostReport, RunReport
from tests.rigs.odd_runs import complete
from tests.support import REPOSITORY, Client, ScriptedHost, new_client

RUN = "job-20261121T101112-1a2b"
STATE = REPOSITORY / "tests" / "fixtures" / "client_state_v1"
EVENTS = (REPOSITORY / "tests" / "fixtures" / "events.jsonl").read_bytes()
DEEP: Any = []
for _ in range(400):
    DEEP = [DEEP]
VALUES: list[Any] = [
    *(None, True, 0, -1, 3, 2**63, -(2**70), 10**400, 0.5, 1e999, -1e999, float("nan")),
    *("", "x", "\x1b]0;t\x07", "\ud800", "\0", "../../x", "/dev/zero", "²", "a" * 5000, "\u202e", "1\n2"),
    *([], {}, [[]], [{}], {"": None}, [None] * 50, {"a": {"a": []}}, DEEP),
]
BYTES = [
    b"",
    b"\0",
    b"\xff\xfe",
    b"[" * 3000,
    b"{",
    b'"',
    b"\n",
    b"9" * 5000,
    b"\x1b[2J",
    b"Infinity",
    b"\xed\xa0\x80",
]


def mutated(raw: bytes, chance: random.Random) -> bytes:
    """A file with one to three changes of values, of keys, or of bytes."""
    for _ in range(chance.randint(1, 3)):
        try:
            value = json.loads(raw)
        except (ValueError, RecursionError):
            value = None
        raw = _other_bytes(raw, chance) if value is None or chance.random() < 0.3 else _other(value, chance)
    return raw


def _other(value: Any, chance: random.Random) -> bytes:
    places = list(_places(value))
    if not places:
        return json.dumps(chance.choice(VALUES)).encode()
    parent, key = chance.choice(places)
    if chance.random() < 0.2:
        del parent[key]
    elif isinstance(parent, dict) and chance.random() < 0.2:
        parent[chance.choice([v for v in VALUES if isinstance(v, str)])] = parent.pop(key)
    else:
        parent[key] = chance.choice(VALUES)
    return json.dumps(value).encode()


def _places(value: Any, depth: int = 0) -> Iterator[tuple[Any, Any]]:
    if depth < 20 and isinstance(value, dict | list):
        for key, item in list(value.items() if isinstance(value, dict) else enumerate(value)):
            yield value, key
            yield from _places(item, depth + 1)


def _other_bytes(raw: bytes, chance: random.Random) -> bytes:
    start = chance.randint(0, len(raw))
    stop = chance.choice([start, min(len(raw), start + chance.randint(0, 30)), len(raw)])
    return raw[:start] + chance.choice(BYTES) + raw[stop:]


@pytest.fixture
def client() -> Iterator[Client]:
    with new_client() as new:
        yield new


def show(client: Client, facts: Any) -> None:
    """Prints runs as `status` and `status --json` do."""
    ctx = client.context()
    reports = tuple(RunReport(run, runstate.fold(run, 1e9)) for run in facts.runs)
    status.print_status(ctx, [HostReport("gpu", facts.runs, facts.machine, reports=reports)], detail=True)
    for report in reports:
        History(report.facts.events).curves()
        ctx.answer(answers.Monitor(run=status.run_json(report)))


def run_folder(client: Client, chance: random.Random) -> None:
    root = client.home / "fuzz"
    shutil.rmtree(root, ignore_errors=True)
    folder = complete(root / "runs" / RUN)
    (folder / "events.jsonl").write_bytes(EVENTS)
    for name in chance.sample(["run.json", "state.json", "events.jsonl", "checkpoints/best", "log"], 2):
        (folder / name).write_bytes(mutated((folder / name).read_bytes(), chance))
    layout = Layout(str(root))
    facts = run_facts.find(layout, RUN, 5)
    reply = json.loads(json.dumps({"runs": [facts.to_json()] if facts else []}))
    snapshot = hostfacts.parse_snapshot(reply)
    assert [run.id for run in snapshot.runs] == [RUN]
    show(client, snapshot)
    event_file.last_event(str(folder / "events.jsonl"))
    assert "answer" in onhost.answer(layout, {"op": "read_events", "run": RUN, "offset": 0, "limit": 4096})


def event_lines(client: Client, chance: random.Random) -> None:
    lines = [mutated(line, chance).decode("utf-8", "replace") for line in EVENTS.splitlines()]
    parsed = events.parse(part for line in lines for part in line.splitlines())
    History(parsed).curves()
    runstate.eta(parsed, 1e9, 1.0)
    progress = plans.Progress(client.context())
    for line in lines:
        progress.line(line)


def host_answer(client: Client, chance: random.Random) -> None:
    file = {"path": "log", "bytes": 1, "sha256": "0" * 64}
    stage = {"folder": "/r", "token": "t", "files": [file], "left_out": [], "missing": [], "no_room": []}
    run = {
        "id": RUN,
        "run": {"job": "job", "created": 1.0, "who": "a", "limits": {"grace_seconds": 1}, "outputs": ["o"]},
        "state": {"supervisor": {"pid": 1, "ticks": 2}, "ended": 1.0, "exit_code": 1, "reason": "exit"},
        "log": {"bytes": 3, "tail": ["x"]},
        "events": EVENTS.decode().splitlines()[:4],
        "checkpoints": {"steps": [1, 2], "last": 2, "best": 1},
        "pids": [3],
    }
    machine = {"hostname": "h", "gpus": [{"index": 0, "name": "L4"}], "disk": {"free": 1, "total": 2}}
    stop = {"was_running": True, "remaining": [], "run": run, "written": {"files": 1, "bytes": 2}}
    whole: dict[str, Any] = {
        "status": {"runs": [run, run], **machine},
        "stage": stage,
        "unstage": {},
        "stop": stop,
        "start": {"started": True, "run": run},
        "read_events": {"text": "x", "offset": 1},
        "clean": {"removed": ["a"], "left": ["b"]},
        "host_facts": {
            "pythons": [{"path": "p", "version": "3.9", "numpy": "1"}],
            "tmux": "tmux 3.3a",
            **machine,
        },
    }
    op = chance.choice(sorted(whole))
    value: Any = None
    with contextlib.suppress(ValueError, RecursionError):
        value = json.loads(mutated(json.dumps(whole[op]).encode(), chance))
    host = ScriptedHost({**whole, op: value if isinstance(value, dict) else {}})
    show(client, helper.snapshot(host))
    helper.facts(host, ["p"])
    for ask in (
        lambda: helper.stop(host, RUN, "a", now=True),
        lambda: helper.start(host, RunChanges(RUN)),
        lambda: helper.clean(host, RUN, purge=True),
        lambda: helper.read_events(host, RUN, 0, 10),
        lambda: contextlib.ExitStack().enter_context(helper_files.staged(host, RUN, "best")),
    ):
        with contextlib.suppress(GpujobError):
            ask()


def manifest(client: Client, chance: random.Random) -> None:
    folder = client.project / "checkpoint"
    folder.mkdir(exist_ok=True)
    (folder / "model.safetensors").write_bytes(b"w")
    files = {"model.safetensors": {"sha256": hashlib.sha256(b"w").hexdigest(), "bytes": 1}}
    whole = {
        "v": 1,
        "files": files,
        "trainer": "t",
        "step": 3,
        "epoch": 1.0,
        "metrics": {"f1": 0.5},
        "data": {"a": "b"},
    }
    raw = mutated(json.dumps(whole).encode(), chance)
    (folder / "manifest.json").write_bytes(raw)
    (folder / "manifest.sha256").write_text(hashlib.sha256(raw).hexdigest())
    for as_json in (False, True):
        with contextlib.suppress(GpujobError):
            verify.verify(client.context(json=as_json), "checkpoint")


def job_file(client: Client, chance: random.Random) -> None:
    path = chance.choice(sorted((REPOSITORY / "jobs").glob("*.yaml")))
    with contextlib.suppress(GpujobError):
        spec.parse(mutated(path.read_bytes(), chance).decode("utf-8", "replace"), "job.yaml", [])


def client_state(client: Client, chance: random.Random) -> None:
    folder = client.home / "state"
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(STATE, folder)
    for path in sorted(folder.rglob("*.json")):
        path.write_bytes(mutated(path.read_bytes(), chance))
    store = Store(folder)
    runs = tuple(run.facts for run in store.runs().values())
    show(client, hostfacts.HostSnapshot(hostfacts.Machine(), runs))
    store.targets()
    store.find_intent("other", "local")
    for path in sorted((folder / "verdicts").iterdir()):
        if report := store.find_report(path.stem):
            plans.print_report(client.context(), report, cached=True)
    for kind in (records.Instance, records.LaunchAttempt):
        for path in [*(folder / "boxes").iterdir(), *(folder / "attempts").iterdir()]:
            records.load(path, kind)


def digests(client: Client, chance: random.Random) -> None:
    cache = Digests(client.home / "digests", lambda: 1e12)
    (client.project / "a.py").write_text("a")
    right = cache.entries(client.project, ["a.py"])
    (path,) = (client.home / "digests").iterdir()
    path.write_bytes(_other_bytes(path.read_bytes(), chance))
    assert cache.entries(client.project, ["a.py"]) == right


def trainer_output(client: Client, chance: random.Random) -> None:
    report = json.dumps({"event": "report", "findings": [{"code": "c", "severity": "error", "message": "m"}]})
    lines = [mutated(report.encode(), chance).decode("utf-8", "replace")]
    if parsed := events.find_report(lines):
        plans.print_report(client.context(), parsed, cached=False)
    evaluation = {
        "values": {"f1": 0.5},
        "per_class": {"a": {"f1": 0.5, "support": 3}},
        "classes": ["a", "b"],
        "confusion": [[1, 2], [3, 4]],
        "calibration": [{"confidence": 0.5, "accuracy": 0.4, "count": 3}],
        "wrong": [{"sample": "s", "truth": "a", "answer": "b", "probability": 0.9}],
        "baseline": {"name": "b", "values": {"f1": 0.1}},
    }
    prediction = {"file": "f", "label": "a", "probabilities": {"a": 0.5}, "truth": "a", "glosses": ["g"]}
    export = {"program": "p", "preprocessing": "q", "logits_off": 0.1}
    ctx = client.context()
    for whole, kind, view in (
        (evaluation, Evaluation, lambda result: results.evaluation(ctx, result)),
        (prediction, Prediction, results.prediction),
        (export, Export, lambda result: results.exported(result, ctx.short)),
    ):
        value: Any = None
        with contextlib.suppress(ValueError, RecursionError):
            value = json.loads(mutated(json.dumps(whole).encode(), chance))
        if result := decode.struct(value, kind):
            ctx.out(view(result))  # type: ignore[operator]


PARSERS: list[Callable[[Client, random.Random], None]] = [
    *(run_folder, event_lines, host_answer, manifest, job_file, client_state, digests, trainer_output),
]


@pytest.mark.parametrize("parser", PARSERS, ids=lambda parser: parser.__name__)
def test_any_content_gives_a_value_or_a_described_error(
    client: Client, parser: Callable[[Client, random.Random], None], trials: Callable[[int, int], int]
) -> None:
    for seed in range(trials(25, 650)):
        try:
            parser(client, random.Random(seed))
        except Exception as error:
            raise AssertionError(f"seed {seed}") from error
