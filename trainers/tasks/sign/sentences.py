"""Results of sentences: errors, a table by gloss, confused glosses, and every wrong sentence."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

from trainers.data.sign.files import Record
from trainers.tasks import wer
from trainers.tasks.sign import word_errors


def results(records: Sequence[Record], answers: Sequence[Sequence[str]], seed: int) -> dict[str, Any]:
    """The results of docs/contract.md for sentences and the glosses that the model gave for them.

    Glosses are those that the model can learn (`wer`), not those of the official evaluation.
    """
    pairs = [wer.pairs(record.words, answer) for record, answer in zip(records, answers, strict=True)]
    edits = [sum(truth != predicted for truth, predicted in row) for row in pairs]
    words = [len(record.words) for record in records]
    low, high = word_errors.interval([float(count) for count in edits], records, seed)
    every = [pair for row in pairs for pair in row]
    mistakes = Counter(
        (truth, predicted) for truth, predicted in every if truth and predicted and truth != predicted
    )
    return {
        "samples": len(records),
        "groups": len({record.group for record in records}),
        "resampled": word_errors.resampled(records),
        "values": {"wer": sum(edits) / max(1, sum(words)), "wer_low": low, "wer_high": high},
        "per_class": _by_gloss(every),
        "confused": [
            {"truth": truth, "answer": predicted, "count": count}
            for (truth, predicted), count in mistakes.most_common()
        ],
        "wrong": _wrong(records, answers, edits),
    }


def _by_gloss(pairs: Sequence[tuple[str, str]]) -> dict[str, dict[str, float]]:
    truths, answers = (Counter(pair[side] for pair in pairs) for side in (0, 1))
    hits = Counter(truth for truth, predicted in pairs if truth == predicted)
    glosses = sorted(truths.keys() - {""}, key=lambda gloss: (-truths[gloss], gloss))
    return {
        gloss: {
            "precision": hits[gloss] / max(1, answers[gloss]),
            "recall": hits[gloss] / truths[gloss],
            "f1": 2 * hits[gloss] / (truths[gloss] + answers[gloss]),
            "count": truths[gloss],
        }
        for gloss in glosses
    }


def _wrong(
    records: Sequence[Record], answers: Sequence[Sequence[str]], edits: Sequence[int]
) -> list[dict[str, Any]]:
    entries = [
        {
            "sample": record.id,
            "truth": " ".join(record.words),
            "answer": " ".join(answer),
            "edits": count,
            "words": len(record.words),
        }
        for record, answer, count in zip(records, answers, edits, strict=True)
        if count
    ]
    return sorted(entries, key=lambda entry: (-entry["edits"] / max(1, entry["words"]), entry["sample"]))
