"""One set of rules for labels, for all trainers: what is no label is named, and becomes no other label.

Labels are words in file names (facenet-lstm, slowfast), cells of a table (blendshapes), or the glosses of a
sentence (i3d-teacher, mobilenet-v3).
"""

from collections.abc import Callable
from pathlib import Path

import pytest
from test_reading_rules import PLAIN, TRAINERS, Data

from trainers.data import emotions
from trainers.data.sign.files import Record as Sentence
from trainers.engine.check import findings_of
from trainers.engine.health import DataUnusable
from trainers.tasks.sign import file_checks
from trainers.tasks.vocabulary import Vocabulary

SIGN = TRAINERS[3:]
FIRST = {"crema": "ANG", "blendshapes": "happy", "phoenix": "WIND"}
"""A label of the samples, as it is written."""

CLASS = {"crema": "angry", "blendshapes": "happy", "phoenix": "WIND"}


class Labels(Data):
    """Data whose labels can be written anew."""

    @property
    def written(self) -> str:
        return FIRST[self.folder]

    def rewrite(self, split: str, change: Callable[[str], str], most: int = 999) -> None:
        """Change at most `most` labels FIRST of a split as they are written; they vanish if made `None`."""
        if self.folder == "crema":
            for path in [path for path in self.files[split] if self.written in path.name][:most]:
                path.rename(path.with_name(path.name.replace(self.written, change(self.written))))
            return
        path = self.root / f"{split}.corpus.csv"
        path = path if self.folder == "phoenix" else self.files[split][0]
        path.write_text(path.read_text().replace(self.written, change(self.written), most))

    def drop(self, split: str) -> None:
        """Remove the samples of a split with the label; of sentences, the gloss."""
        if self.folder == "crema":
            for path in [path for path in self.files[split] if self.written in path.name]:
                path.unlink()
        elif self.folder == "phoenix":
            self.rewrite(split, lambda _: "")
        else:
            lines = self.files[split][0].read_text().splitlines(keepends=True)
            kept = [line for line in lines if not line.startswith(self.written)]
            self.files[split][0].write_text("".join(kept))

    def findings(self, **options: object) -> str:
        return "\n".join(
            f"{f.code}: {f.message} {f.fix}" for f in findings_of(self.checks.CHECKS, self.scan(**options))
        )

    def labels(self, **options: object) -> list[str]:
        """The labels of all usable samples, sorted; of sentences, their glosses."""
        records = [record for records in self.scan(**options).splits.values() for record in records]
        words = [r.words if isinstance(r, Sentence) else (r.label,) for r in records]
        return sorted(word for some in words for word in some)


@pytest.fixture(params=TRAINERS)
def data(request: pytest.FixtureRequest, tmp_path: Path) -> Labels:
    return Labels(request.param, tmp_path, PLAIN)


def without(labels: list[str], label: str, count: int) -> list[str]:
    rest = list(labels)
    for _ in range(count):
        rest.remove(label)
    return rest


@pytest.mark.parametrize("word", ["", "XYZ", "BORED", "7", "ANG-HAP", "nan", "None"])
def test_an_unknown_or_empty_label_is_named_and_takes_no_other_class(data, word):
    before = data.labels()
    data.rewrite("test", lambda _: word, 1)
    rest = [label for label in data.labels() if label in before]
    assert rest == without(before, CLASS[data.folder], 1)
    if data.folder != "phoenix":
        assert "labels.parse: 1 of" in data.findings()
    elif len(word) > 1:  # a spelled letter and nothing are no glosses
        assert f"({1} different) are not in train: {word}" in data.findings()


def test_a_class_that_train_lacks_is_an_error_that_names_it(data):
    data.drop("train")
    errors = data.errors()
    message = errors["vocab.oov" if data.folder == "phoenix" else "balance"]
    assert CLASS[data.folder] in message
    assert "train" in message


@pytest.mark.parametrize("trainer", TRAINERS[:3])
@pytest.mark.parametrize("split", ["train", "val", "test"])
def test_the_order_of_classes_stays_when_a_split_lacks_one(trainer, split, tmp_path):
    data = Labels(trainer, tmp_path, PLAIN)

    def classes() -> list[str]:
        (table,) = [t for t in data.scan().report()["tables"] if t["title"].endswith("by class")]
        return [row[0] for row in table["rows"]]

    before = classes()
    data.drop(split)
    assert classes() == before
    assert f"{split} holds no {CLASS[data.folder]}" in data.errors()["balance"]


@pytest.mark.parametrize("trainer", SIGN)
def test_the_vocabulary_is_in_one_order_and_from_train_alone(trainer, tmp_path):
    data = Labels(trainer, tmp_path, PLAIN)

    def vocabulary() -> tuple[str, ...]:
        return Vocabulary.of([r.words for r in data.scan().splits["train"]], unknown=False).words

    before = vocabulary()
    for split in ("val", "test"):
        data.drop(split)
    assert vocabulary() == before == ("<blank>", "REGEN", "WIND")
    data.drop("train")
    assert vocabulary() == before[:2]


@pytest.mark.parametrize("form", [str.swapcase, str.title, "  {} ".format, "\u00a0{}\u200b".format])
def test_a_label_in_other_case_or_with_spaces_is_the_same_or_named(data, form):
    before = data.labels()
    data.rewrite("test", form)
    if data.labels() == before:
        assert data.errors() == {}
    elif data.folder == "phoenix":
        assert "differ from glosses of train in upper and lower case only" in data.findings()
    else:
        assert data.folder == "crema"
        assert "is neither MM-VV-EE-II-SS-RR-AA (RAVDESS) nor" in data.findings()
        assert "test holds no angry" in data.errors()["balance"]


@pytest.mark.parametrize("trainer", ["facenet-lstm", "slowfast"])
def test_numbers_and_words_of_two_data_sets_are_the_same_classes(trainer, tmp_path):
    data = Labels(trainer, tmp_path, PLAIN)
    suffix = data.files["train"][0].suffix
    before = data.labels()
    for number in emotions.RAVDESS_EMOTIONS:
        (tmp_path / "train" / f"02-01-{number}-01-01-01-12{suffix}").write_text(number)
    assert data.labels() == sorted([*before, *emotions.CLASSES])
    assert data.labels(calm="neutral", surprised="fearful") == sorted(
        [*before, *emotions.CLASSES, "neutral", "fearful"]
    )


@pytest.mark.parametrize("number", ["3", "3.0", " 3 "])
def test_numbers_and_words_in_one_column_are_the_same_classes(number, tmp_path):
    data = Labels("blendshapes", tmp_path, PLAIN)
    before = data.labels()
    data.rewrite("train", lambda _: number, 2)
    assert data.labels(label_numbers="fer2013") == before
    assert f"has a label that is no emotion: {number.strip()!r} is a number" in data.findings()


def test_two_labels_of_one_sample_are_an_error_or_listed(data):
    if data.folder == "crema":
        path = next(path for path in data.files["train"] if data.written in path.name)
        (path.parent / "sadness").mkdir()
        path.rename(path.parent / "sadness" / path.name)
        message = data.errors()["label.match"]
        assert f"{path.name}: is in the folder of another emotion: train/sadness/{path.name}" in message
        assert "its name says angry" in message
    elif data.folder == "phoenix":
        with (data.root / "train.corpus.csv").open("a") as file:
            file.write("train-0|x|Signer-train|SCHNEE\n")
        with pytest.raises(DataUnusable, match="train-0 appears twice in train"):
            data.scan()
    else:
        lines = data.files["train"][0].read_text().splitlines()
        lines[2] = lines[1].replace(data.written, "sad")
        data.files["train"][0].write_text("\n".join(lines) + "\n")
        assert "1 faces have two labels: train/faces.csv:2 = train/faces.csv:3" in data.findings()


@pytest.mark.parametrize("trainer", ["facenet-lstm", "slowfast"])
def test_folders_named_after_the_emotion_of_their_files_are_read(trainer, tmp_path):
    data = Labels(trainer, tmp_path, PLAIN)
    before = data.labels()
    for path in [path for files in data.files.values() for path in files]:
        folder = path.parent / emotions.parse(path.stem).emotion_name
        folder.mkdir(exist_ok=True)
        path.rename(folder / path.name)
    assert data.labels() == before
    assert data.errors() == {}


def test_the_sign_checks_name_a_gloss_that_is_the_blank(tmp_path):
    data = Labels("i3d-teacher", tmp_path, PLAIN)
    data.rewrite("train", lambda _: "<blank>", 1)
    assert data.checks.CHECKS == file_checks.CHECKS
    assert "change when mapped to ids and back: <blank>" in data.errors()["vocab.roundtrip"]


@pytest.mark.parametrize("trainer", ["facenet-lstm", "slowfast"])
def test_a_file_in_the_folder_of_another_actor_is_refused(trainer, tmp_path):
    data = Labels(trainer, tmp_path, PLAIN)
    before, path = data.labels(), data.files["train"][0]
    for folder in ("Actor_1001", "actor 1"):  # its own, and a number of another kind
        (path.parent / folder).mkdir()
        path = path.rename(path.parent / folder / path.name)
        assert (data.errors(), data.labels()) == ({}, before)
    (path.parent / "Actor_1002").mkdir()
    path.rename(path.parent / "Actor_1002" / path.name)
    assert "is in the folder of another actor" in data.errors()["label.match"]
