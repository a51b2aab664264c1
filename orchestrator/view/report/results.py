"""Confusion matrix, per-class table and worst samples of a report."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from orchestrator.core.curves import Row
from orchestrator.view.report.charts import number
from orchestrator.view.report.html import NOTHING, Content, Html, details, join, section, table, tag

if TYPE_CHECKING:
    from orchestrator.view.report.page import ReportRun

_UNFOLDED = 2  # runs of which each has a section
_MOST_CLASSES = 30  # of a matrix that is shown as one
_MOST_ROWS = 100
_MOST_WRONG = 30


def sections(runs: Sequence[ReportRun]) -> Iterator[Html]:
    """For each run its best split: test where there is one, else what else there is."""
    folded: list[Html] = []
    for run in runs:
        row = _chosen(run.story.results)
        if row is None:
            continue
        title = f"Results on {row.split or 'val'}" + (
            f" at step {row.step:g}" if row.step is not None else ""
        )
        parts = [_matrix(row), _per_class(row), _wrong(row)]
        if len(runs) <= _UNFOLDED:
            yield section(title + (f" of {run.id}" if len(runs) > 1 else ""), *parts)
        else:
            folded.append(details(f"{run.id}: {title.lower()}", *parts))
    if folded:
        yield section("Results", *folded)


def _chosen(results: dict[str, Row]) -> Row | None:
    return results.get("test") or next(iter(results.values()), None)


def _matrix(row: Row) -> Html:
    """Rows are the true classes. Of many classes, the most frequent confusions instead."""
    names, counts = row.classes, row.confusion
    if not counts or len(counts) != len(names) or any(len(line) != len(names) for line in counts):
        return NOTHING
    if len(names) > _MOST_CLASSES:
        return _confusions(row)
    body: list[list[Content]] = []
    for name, line in zip(names, counts, strict=True):
        total = sum(line) or 1.0
        body.append([name, *(_cell(count, count / total) for count in line)])
    head = ["true ↓  answer →", *names]
    return join([tag("h3", "Confusion matrix"), table(head, body, class_="heat")])


def _cell(count: float, share: float) -> Html:
    shade = max(0.0, min(1.0, share))
    return tag(
        "span", f"{count:g}", style=f"padding:.15rem .4rem;background:rgb(var(--hot) / {shade * 0.7:.2f})"
    )


def _confusions(row: Row) -> Html:
    pairs = [
        (count, row.classes[truth], row.classes[answer])
        for truth, line in enumerate(row.confusion)
        for answer, count in enumerate(line)
        if truth != answer and count
    ]
    rows = [
        [truth, answer, f"{count:g}"] for count, truth, answer in sorted(pairs, reverse=True)[:_MOST_ROWS]
    ]
    title = f"Most frequent confusions of {len(row.classes)} classes"
    return join([tag("h3", title), table(["true class", "answer", "count"], rows)])


def _per_class(row: Row) -> Html:
    values = row.per_class or dict(_computed(row))
    if not values:
        return NOTHING
    rows: list[list[Content]] = [
        [name, *(number(one.get(column)) for column in ("precision", "recall", "f1", "count"))]
        for name, one in sorted(values.items(), key=lambda item: item[1].get("f1") or 0.0)[:_MOST_ROWS]
    ]
    left = len(values) - len(rows)
    more = tag("p", f"and {left} more", class_="dim") if left else NOTHING
    head = ["class, the worst first", "precision", "recall", "F1", "samples"]
    return join([tag("h3", "Per class"), table(head, rows), more])


def _computed(row: Row) -> Iterator[tuple[str, dict[str, float | None]]]:
    """Precision = correct / answers, recall = correct / true samples, F1 = 2 PR / (P + R)."""
    if len(row.confusion) != len(row.classes):
        return
    for index, name in enumerate(row.classes):
        truth = sum(row.confusion[index])
        answers = sum(line[index] for line in row.confusion if len(line) > index)
        correct = row.confusion[index][index] if len(row.confusion[index]) > index else 0.0
        precision = correct / answers if answers else None
        recall = correct / truth if truth else None
        f1 = 2 * correct / (truth + answers) if truth + answers else None
        yield name, {"precision": precision, "recall": recall, "f1": f1, "count": truth}


def _wrong(row: Row) -> Html:
    if not row.wrong:
        return NOTHING
    rows = [
        [_word(one.get("sample")), _word(one.get("truth")), _word(_either(one, "answer", "said")), _how(one)]
        for one in row.wrong[:_MOST_WRONG]
    ]
    return join(
        [tag("h3", "Worst samples"), table(["sample", "true", "answer", "probability or edits"], rows)]
    )


def _how(one: dict[str, object]) -> str:
    probability = _either(one, "probability", "share")
    if isinstance(probability, int | float):
        return number(float(probability))
    return f"{_word(one.get('edits'))} of {_word(one.get('words'))} words" if "edits" in one else "–"


def _either(one: dict[str, object], key: str, old_key: str) -> object:
    """The value of `key`, which had another name before version 3 of the events."""
    return one.get(key, one.get(old_key))


def _word(value: object) -> str:
    if isinstance(value, list | tuple):
        return " ".join(map(str, value))
    return "–" if value is None else str(value)
