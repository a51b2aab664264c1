"""`report`: what the page shows of runs, that nothing of a run becomes markup, and how a browser shows it."""

from __future__ import annotations

import html
import json
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from orchestrator.core import curves
from tests.rigs import browser, fetched
from tests.support import REPOSITORY, Client, new_client

EVIL = "</style></pre><script>document.title='run'</script><img src=x onerror=\"document.title='run'\">"


@pytest.fixture
def client() -> Iterator[Client]:
    with new_client() as new:
        yield new


class Page(HTMLParser):
    """The elements of a page, their attributes, and its text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: set[str] = set()
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}

    def handle_data(self, data: str) -> None:
        self.text += data + " "


def report(client: Client, *folders: Path) -> str:
    result = client.run("report", *map(str, folders), "--to", "page.html", "--json")
    assert result.code == 0, result.err + result.out
    page = Path(result.json["file"]).read_text("utf-8")
    assert result.json["bytes"] == len(page.encode())
    return page


def test_a_report_shows_curves_results_provenance_and_how_to_repeat_it(client: Client) -> None:
    page = Page(report(client, fetched.write(client.project / "fetched")))
    for words in (
        *("succeeded", "loss", "accuracy", "learning rate", "gradient norm", "Confusion matrix", "Per class"),
        *(
            "clip 7.mp4",
            "0.98",
            "7 files, 1.0 KiB, fingerprint ab12",
            "with changes",
            "ana@laptop",
            "1 h 00 min",
        ),
        f"git checkout {'c' * 40}",
        "gpujob deploy train.yaml --set config.lr=0.1 --set 'config.sizes=[1, 2]' --data faces=faces",
    ):
        assert words in page.text, words
    assert "svg" in page.tags
    assert "hunter2" not in page.text
    assert "secret patch" not in page.text


def test_a_report_of_one_run_in_a_new_folder_says_1_run(client: Client) -> None:
    result = client.run("report", str(fetched.write(client.project / "fetched")), "--to", "new/page.html")
    assert result.err.startswith("1 run, "), result.err
    assert (client.project / "new" / "page.html").is_file()


def test_a_report_says_what_was_not_recorded(client: Client) -> None:
    page = Page(report(client, fetched.write(client.project / "fetched", events=[])))
    for words in ("No curve", "learning rate: not recorded", "worst samples: not recorded", "cost of"):
        assert words in page.text


def test_wrong_answers_of_a_run_of_version_2_are_shown(client: Client) -> None:
    wrong = [{"sample": "clip 8.mp4", "truth": "sad", "said": "calm", "share": 0.77}]
    events = [{"v": 2, "event": "results", "split": "test", "step": 1, "wrong": wrong}]
    page = Page(report(client, fetched.write(client.project / "fetched", events=events)))
    for words in ("clip 8.mp4", "calm", "0.77"):
        assert words in page.text


def test_no_text_of_a_run_becomes_markup(client: Client) -> None:
    events = [
        fetched.progress(1, loss=1.0),
        {"event": "metrics", "split": EVIL, "step": 1, "values": {EVIL: 1.0}},
        {"event": "health", "rule": EVIL, "severity": EVIL, "message": EVIL},
        {"event": "warning", "message": EVIL},
        {
            "event": "results",
            "split": EVIL,
            "classes": [EVIL],
            "confusion": [[1]],
            "wrong": [{"sample": EVIL}],
        },
        {"event": "end", "message": EVIL},
    ]
    names: dict[str, Any] = dict.fromkeys(("job", "who", "client", "trainer", "source"), EVIL)
    folder = fetched.write(
        client.project / "fetched",
        events=events,
        log=EVIL,
        **names,
        argv=[EVIL],
        config={EVIL: EVIL},
        env={EVIL: ""},
    )
    (folder / "state.json").write_text(json.dumps({"ended": 1.0, "exit_code": 1, "reason": "exit"}))
    text = report(client, folder)
    page = Page(text)
    assert page.tags.isdisjoint({"script", "img", "iframe", "link", "a", "object"})
    assert not [name for name in page.attributes if name.startswith("on") or name in ("src", "href")]
    assert "default-src 'none'" in text
    assert text.count(html.escape(EVIL)) > 10


def test_several_runs_are_overlaid_and_their_configurations_compared(client: Client) -> None:
    folders = [fetched.write(client.project / "fetched", number) for number in (1, 2, 3)]
    page = Page(report(client, *folders))
    assert "3 runs" in page.text
    assert "the same in all runs: 1" in page.text
    assert all(fetched.run_id(number) in page.text for number in (1, 2, 3))


def test_the_curves_of_a_run_without_events_are_those_of_its_log(client: Client) -> None:
    log = (REPOSITORY / "tests/fixtures/training_logs/huggingface.file.log").read_text()
    page = Page(report(client, fetched.write(client.project / "fetched", events=[], log=log)))
    for words in ("train 0.43 (0.43 to 0.6112)", "val 0.5206", "learning rate", "gradient norm"):
        assert words in page.text, words
    assert "wrote no events; its values are those of lines of its log" in page.text
    assert "No curve" not in page.text
    assert "gradient norm: not recorded" not in page.text


def test_the_curves_of_a_trainer_have_its_rate_and_gradient(client: Client) -> None:
    lines = (REPOSITORY / "tests/fixtures/events.jsonl").read_text().splitlines()
    folder = fetched.write(client.project / "fetched", events=[json.loads(line) for line in lines])
    page = Page(report(client, folder))
    assert "gradient norm: not recorded" not in page.text
    assert "learning rate: not recorded" not in page.text


def test_steps_of_an_epoch_are_counted_on_over_the_epochs() -> None:
    lines: list[dict[str, Any]] = [
        {"event": "progress", "step": step, "of": 4, "of_epoch": True, "loss": 1.0 / epoch}
        for epoch in (1, 2)
        for step in (2, 4)
    ]
    lines.insert(2, {"event": "metrics", "split": "val", "values": {"loss": 3.0}})
    story = curves.read("\n".join(map(json.dumps, lines)))
    assert [x for x, _ in story.curves["loss", "train"].points] == [2, 4, 6, 8]
    assert story.curves["loss", "val"].points == [(4, 3.0)]


def test_a_report_shows_how_much_a_run_used_its_gpus(client: Client) -> None:
    folder = fetched.write(client.project / "fetched")
    state = json.loads((folder / "state.json").read_text())
    use = {"uuid": "GPU-0", "name": "NVIDIA L4", "total_mib": 23034, "samples": 9, "use_percent": 87.4}
    (folder / "state.json").write_text(json.dumps({**state, "gpu_use": [{**use, "used_mib": 12595}]}))
    text = Page(report(client, folder)).text
    assert "NVIDIA L4 87 %, 12.3 of 22.5 GiB" in text
    assert "GPU use: none recorded" not in text
    other = fetched.write(client.project / "fetched", 2)
    assert f"GPU use: none recorded by {fetched.run_id(2)}" in Page(report(client, folder, other)).text


def test_the_axis_of_a_curve_that_is_constant_has_its_value(client: Client) -> None:
    events = [fetched.progress(step, loss=0.525, lr=0.0, grad_norm=0.001) for step in range(1, 9)]
    text = Page(report(client, fetched.write(client.project / "fetched", events=events))).text
    assert "0.525 to 0.525" in text
    labels = text.split()
    assert {"0.52", "0.56"} < set(labels)
    assert "0.00100" in labels
    single = fetched.write(client.project / "fetched", 2, events=[fetched.progress(1, loss=0.5)])
    assert {"0.46", "0.54"} < set(Page(report(client, single)).text.split())


def test_values_that_are_all_not_finite_are_named_and_not_called_missing(client: Client) -> None:
    events = [fetched.progress(step, loss=1.0, grad_norm=float("inf")) for step in (1, 2)]
    text = Page(report(client, fetched.write(client.project / "fetched", events=events))).text
    assert f"gradient norm of {fetched.run_id(1)}: none of its 2 values is finite" in text
    assert "gradient norm: not recorded" not in text


def test_values_of_a_run_without_steps_are_where_their_epoch_is() -> None:
    lines = [{"event": "progress", "epoch": 0.5 * n, "loss": 1.0 / n} for n in (1, 2, 3)]
    story = curves.read("\n".join(map(json.dumps, [*lines, {"event": "metrics", "values": {"f1": 1.0}}])))
    assert [x for x, _ in story.curves["loss", "train"].points] == [0.5, 1.0, 1.5]
    assert story.curves["f1", "val"].points == [(1.5, 1.0)]
    assert story.is_by_epoch
    assert not curves.read('{"event": "progress", "epoch": 1, "step": 5, "loss": 1}').is_by_epoch


def test_a_folder_that_holds_no_run_is_named(client: Client) -> None:
    (client.project / "empty").mkdir()
    result = client.run("report", "./empty")
    assert (result.code, "no run.json" in result.err) == (3, True)


def test_a_report_needs_its_extra_and_names_it(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "vl_convert", None)
    result = client.run("report", "x/y")
    assert (result.code, "pip install 'vl-convert-python" in result.err) == (1, True)


def test_thinning_keeps_the_extremes_and_bounds_the_points() -> None:
    values = [fetched.progress(step, loss=1.0) for step in range(1, 50_001)]
    values[31_337]["loss"], values[40_000]["loss"] = 99.0, -5.0
    story = curves.read("\n".join(map(json.dumps, values)))
    loss = story.curves["loss", "train"]
    thin = loss.thinned(300)
    assert len(loss.points) == 50_000
    assert len(thin) <= 602
    assert {(31_338.0, 99.0), (40_001.0, -5.0)} < set(thin)
    assert thin == sorted(thin)


def test_a_resumed_run_has_each_step_once_and_counts_what_is_not_finite() -> None:
    events = [fetched.progress(step, loss=float(step)) for step in range(1, 11)]
    events += [{"event": "start", "resumed_from": 6}]
    events += [fetched.progress(step, loss=float("nan") if step == 9 else 0.0) for step in range(7, 11)]
    story = curves.read("garbage\n" + "\n".join(map(json.dumps, events)))
    loss = story.curves["loss", "train"]
    assert [x for x, _ in loss.points] == [1, 2, 3, 4, 5, 6, 7, 8, 10]
    assert (loss.odd, story.restarts) == (1, 1)


@pytest.mark.browser
def test_a_browser_shows_the_page_on_phone_and_screen_light_and_dark(client: Client, tmp_path: Path) -> None:
    events = fetched.story(60)
    events[-1]["wrong"][0]["sample"] = EVIL + "x" * 300
    folder = fetched.write(client.project / "fetched", events=events, job=EVIL, log="y" * 500)
    page = tmp_path / "page.html"
    page.write_text(report(client, folder))
    seen = browser.looks(tmp_path, [page])
    assert len(seen) == 4
    for one in seen:
        assert one.scrolled <= one.width, "the page is wider than the screen"
        assert one.paths > 20
        assert one.title == fetched.run_id(1), "a text of the run was carried out as a script"
    backgrounds = {one.scheme: one.background for one in seen}
    assert backgrounds == {"light": "rgb(255, 255, 255)", "dark": "rgb(15, 19, 24)"}
