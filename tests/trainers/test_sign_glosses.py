"""Corpus files, glosses, vocabulary, word errors, decoding."""

import json
import math
import random
from itertools import product
from pathlib import Path
from types import SimpleNamespace

import jiwer
import numpy as np
import pytest

from trainers.data import phoenix, phoenix_scoring
from trainers.data.sign import reading
from trainers.tasks import decode, wer
from trainers.tasks.sign import sentences
from trainers.tasks.vocabulary import BLANK, UNKNOWN, Vocabulary

HEADER = "id|folder|signer|annotation"


def corpus(folder: Path, pattern: str, **parts: str) -> Path:
    for part, text in parts.items():
        (folder / pattern.format(part=part)).write_text(text)
    return folder


def read(folder: Path) -> list[phoenix.Sentence]:
    ((_, files),) = phoenix.protocols(folder).items()
    return phoenix.read(files)


def test_each_protocol_is_known_by_its_files_and_its_columns(tmp_path):
    names = {"si5": "{part}.SI5.corpus.csv", "multisigner": "{part}.corpus.csv"}
    for name, pattern in names.items():
        (tmp_path / name).mkdir()
        folder = corpus(tmp_path / name, pattern, train=f"{HEADER}\nx-1|train/x-1/1/*.png|Signer04|A B\n")
        assert list(phoenix.protocols(folder)) == [name]
        assert read(folder) == [phoenix.Sentence("x-1", "train", "Signer04", "A B")]
    (tmp_path / "t" / "annotations" / "manual").mkdir(parents=True)
    text = (
        "name|video|start|end|speaker|orth|translation\ny|y/1/*.png|-1|-1|Signer01|REGEN KOMMEN|es regnet .\n"
    )
    corpus(tmp_path / "t" / "annotations" / "manual", phoenix.PATTERNS["14t"], dev=text)
    assert read(tmp_path / "t") == [phoenix.Sentence("y", "val", "Signer01", "REGEN KOMMEN")]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is empty"),
        ("id|folder|annotation\n", "has no column signer or speaker"),
        (f"{HEADER}\na|b|c\n", "train.corpus.csv:2 has 3 cells, the header 4"),
        (f"{HEADER}\n../a|b|c|d\n", "cannot be an id"),
        (f"{HEADER}\na|b|c|d\na|b|c|d\n", "a appears twice in train"),
    ],
)
def test_a_corpus_file_that_is_wrong_is_named_with_its_line(text, message, tmp_path):
    with pytest.raises(phoenix.BadCorpus, match=message):
        read(corpus(tmp_path, "{part}.corpus.csv", train=text))


def test_a_sentence_in_two_splits_is_refused(tmp_path):
    line = f"{HEADER}\nsame|b|c|d\n"
    with pytest.raises(phoenix.BadCorpus, match="same is in train and in test"):
        read(corpus(tmp_path, "{part}.corpus.csv", train=line, test=line))


@pytest.mark.parametrize(
    "left_out",
    ["__ON__", "loc-NORD", "cl-KOMMEN", "lh-WIND", "rh-WIND", "IX", "IX-ORT", "WG", "$GEST-OFF", "POS", "X"],
)
def test_the_filter_removes_markers_that_are_not_signs(left_out):
    assert not phoenix.is_sign(left_out)


@pytest.mark.parametrize("gloss", ["REGEN", "POSITION", "IXTAPA", "WGX", "WIE-AUSSEHEN", "negalp-KEIN"])
def test_the_filter_keeps_signs_that_only_look_like_markers(gloss):
    assert phoenix.is_sign(gloss)


WER_CASES = json.loads((Path(__file__).parents[1] / "fixtures" / "wer" / "cases.json").read_text())


@pytest.mark.parametrize("name", WER_CASES["sentences"])
def test_glosses_are_cleaned_as_the_official_evaluation_cleans_them(name):
    case = WER_CASES["sentences"][name]
    assert phoenix_scoring.reference(case["glosses"], "multisigner") == case["reference_cleaned"].split()
    assert phoenix_scoring.hypothesis(case["hypothesis"].split()) == case["hypothesis_cleaned"].split()


def test_the_official_word_errors_are_those_of_sclite():
    cases = WER_CASES["sentences"].values()
    errors = [wer.official_errors(c["glosses"], c["hypothesis"].split(), "si5") for c in cases]
    total = wer.Errors(*(sum(column) for column in zip(*errors, strict=True)))
    assert {**total._asdict(), "edits": total.edits} == WER_CASES["sclite"]


@pytest.mark.parametrize(
    ("reference", "hypothesis", "counts"),
    [  # found with sclite 2.10
        ("G J E D G C", "K C A A G C K I A J G E C B", (3, 0, 8)),
        ("D J C I H G L D B K B C", "K A A L G G G K C J J C K", (10, 0, 1)),
        ("neg-A B", "NEG-a b", (0, 0, 0)),
    ],
)
def test_words_are_aligned_as_sclite_aligns_them(reference, hypothesis, counts):
    assert wer.sclite_errors(reference.split(), hypothesis.split())[:3] == counts


def test_a_reference_of_2014t_is_scored_as_annotated():
    words = ["poss-SEIN", "HABEN2", "WIND", "WIND"]
    assert phoenix_scoring.reference(" ".join(words), "14t") == words


def test_word_errors_are_those_of_jiwer_on_random_pairs():
    draw = random.Random(0)
    for _ in range(1000):
        reference, message = ([draw.choice("ABCDEF") for _ in range(draw.randint(1, 12))] for _ in range(2))
        mine, theirs = (
            wer.errors(reference, message),
            jiwer.process_words(" ".join(reference), " ".join(message)),
        )
        assert mine.rate == theirs.wer
        assert mine.edits == theirs.substitutions + theirs.deletions + theirs.insertions
        assert mine.words - mine.deletions + mine.insertions == len(message)


def test_aligned_words_keep_both_sentences_and_need_the_fewest_edits():
    draw = random.Random(0)
    for _ in range(300):
        reference, message = ([draw.choice("ABCDEF") for _ in range(draw.randint(0, 9))] for _ in range(2))
        pairs = wer.pairs(reference, message)
        assert [truth for truth, _ in pairs if truth] == reference
        assert [said for _, said in pairs if said] == message
        assert sum(truth != said for truth, said in pairs) == wer.errors(reference, message).edits


def test_results_of_sentences_name_confused_glosses_and_the_worst_sentence():
    words = {"a": ["REGEN", "WIND"], "b": ["REGEN", "SONNE", "WIND"], "c": ["SONNE"]}
    records = [SimpleNamespace(id=id, words=glosses, signer="s", group="s") for id, glosses in words.items()]
    results = sentences.results(records, [["REGEN", "WIND"], ["WIND"], ["WIND", "WIND"]], 0)
    assert [one["sample"] for one in results["wrong"]] == ["c", "b"]
    assert results["wrong"][1] == {
        "sample": "b",
        "truth": "REGEN SONNE WIND",
        "answer": "WIND",
        "edits": 2,
        "words": 3,
    }
    assert results["confused"] == [{"truth": "SONNE", "answer": "WIND", "count": 1}]
    assert results["per_class"]["WIND"] == {
        "precision": 0.5,
        "recall": 1.0,
        "f1": pytest.approx(2 / 3),
        "count": 2,
    }
    assert results["values"]["wer"] == pytest.approx(4 / 6)


def test_word_errors_of_nothing():
    assert wer.errors([], []).rate == 0.0
    assert wer.errors([], ["A"]).rate == 1.0
    assert wer.errors(["A", "B"], []) == (0, 2, 0, 2)
    assert wer.errors(["A"], ["A", "B", "C", "D"]).rate == 3.0


def test_a_vocabulary_survives_a_round_trip_and_has_one_blank():
    vocabulary = Vocabulary.of([("B", "A"), ("C", "A")], unknown=False)
    assert vocabulary.words == (BLANK, "A", "B", "C")
    assert vocabulary.glosses(vocabulary.targets(["C", "A", "B"])) == ["C", "A", "B"]
    assert 0 not in vocabulary.targets(["A", BLANK, "C"])
    with pytest.raises(ValueError, match="id 0 is <blank>"):
        Vocabulary(("<pad>", BLANK, "A"))
    with pytest.raises(ValueError, match="twice"):
        Vocabulary((BLANK, "A", "A"))


def test_an_unknown_gloss_is_left_out_or_unk_and_never_the_blank():
    dropped, marked = (Vocabulary.of([("A", "B")], unknown=unknown) for unknown in (False, True))
    assert dropped.glosses(dropped.targets(["A", "Z", "B"])) == ["A", "B"]
    assert marked.glosses(marked.targets(["A", "Z", "B"])) == ["A", UNKNOWN, "B"]
    assert dropped.missing(["A", "Z"]) == ["Z"]


def test_the_best_path_merges_repeats_and_drops_blanks():
    assert decode.collapse([0, 1, 1, 0, 1, 2, 2, 0]) == [1, 1, 2]


def log_probs(steps: int, words: int, seed: int) -> np.ndarray:
    values = np.random.default_rng(seed).normal(0, 1.5, (steps, words))
    return values - np.log(np.exp(values).sum(1, keepdims=True))


@pytest.mark.parametrize("seed", range(20))
def test_a_beam_of_all_prefixes_finds_the_likeliest_sentence(seed):
    values = log_probs(5, 3, seed)
    totals: dict[tuple[int, ...], float] = {}
    for path in product(range(3), repeat=5):
        words = tuple(decode.collapse(path))
        chance = math.exp(sum(values[t, id] for t, id in enumerate(path)))
        totals[words] = totals.get(words, 0.0) + chance
    assert tuple(decode.beam_search(values, 1000)) == max(totals, key=lambda words: totals[words])


def test_n_grams_are_probabilities_and_decide_between_equals():
    model = decode.NGrams.of([(1, 2), (1, 2), (1, 3)], 2, 4)
    for before in [(), (1,), (2,), (3, 1)]:
        assert sum(math.exp(model.log_prob(word, before)) for word in (1, 2, 3)) == pytest.approx(1.0)
    again = decode.NGrams.from_list(model.as_list(), 2, 4)
    assert again.log_prob(2, (1,)) == model.log_prob(2, (1,))
    equal = np.log(np.array([[0.01, 0.97, 0.01, 0.01], [0.96, 0.02, 0.01, 0.01], [0.1, 0.1, 0.4, 0.4]]))
    assert decode.beam_search(equal, 8, model, 0.5) == [1, 2]
    assert decode.beam_search(equal[:, [0, 1, 3, 2]], 8, decode.NGrams.of([(1, 3)], 2, 4), 0.5) == [1, 3]


def test_the_visibility_in_the_1662_columns_of_holistic_is_dropped(tmp_path):
    draw = np.random.default_rng(0)
    pose, rest = draw.random((9, 33, 4)), draw.random((9, 1530))
    np.save(tmp_path / "a.npy", np.concatenate([pose.reshape(9, -1), rest], 1))
    raw = reading.read(tmp_path / "a.npy", 8).raw
    expected = np.concatenate([pose[:, :, :3].reshape(9, -1), rest], 1)
    assert np.array_equal(raw, expected.astype(np.float16))
