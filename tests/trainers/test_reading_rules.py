"""One reading layer for all trainers: hidden files, names of splits, groups, damaged files, tables."""

from collections.abc import Mapping
from pathlib import Path
from types import ModuleType

import pytest

from orchestrator.onhost import folders
from trainers import registry
from trainers.blendshapes import names
from trainers.data import emotions, walk
from trainers.engine.check import findings_of

TRAINERS = ("facenet-lstm", "slowfast", "blendshapes", "i3d-teacher", "mobilenet-v3")
ACTORS = {"train": range(1001, 1009), "val": range(1011, 1014), "test": range(1021, 1024)}
LFS = "version https://git-lfs.github.com/spec/v1\noid sha256:0123\nsize 99\n"


class Data:
    """A data folder of a trainer with a few samples in each split, whose folders are named by `words`."""

    def __init__(self, name: str, root: Path, words: Mapping[str, str]) -> None:
        self.name, self.root, self.words = name, root, words
        self.folder = {"facenet-lstm": "crema", "slowfast": "crema", "blendshapes": "blendshapes"}.get(
            name, "phoenix"
        )
        self.files: dict[str, list[Path]] = {}
        for split, word in words.items():
            self.files[split] = getattr(self, f"_{self.folder}")(split, word)

    def _write(self, place: str, text: str) -> Path:
        path = self.root / place
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    def _crema(self, split: str, word: str) -> list[Path]:
        suffix = "npz" if self.name == "facenet-lstm" else "flv"
        codes = enumerate(emotions.CREMA_EMOTIONS)
        stems = [f"{a}_{emotions.CREMA_SENTENCES[i]}_{code}_XX" for i, code in codes for a in ACTORS[split]]
        return [self._write(f"{word}/{stem}.{suffix}", stem) for stem in stems]

    def _blendshapes(self, split: str, word: str) -> list[Path]:
        lines = [",".join(("label", "group", *names.ALL))]
        for number, actor in enumerate(ACTORS[split]):
            for place, label in enumerate(("happy", "sad", "neutral")):
                value = (number * 3 + place + 1) / 100 + len(word) / 1000 + actor / 1e5
                lines.append(",".join((label, str(actor), *[f"{value:.9f}"] * len(names.ALL))))
        return [self._write(f"{word}/faces.csv", "\n".join(lines) + "\n")]

    def _phoenix(self, split: str, word: str) -> list[Path]:
        ids = [f"{split}-{number}" for number in range(3)]
        lines = ["id|folder|signer|annotation", *(f"{id}|x|Signer-{split}|REGEN WIND" for id in ids)]
        self._write(f"{word}.corpus.csv", "\n".join(lines) + "\n")
        return [self._write(f"features/{word}/{id}.npz", id) for id in ids]

    @property
    def checks(self) -> ModuleType:
        module = registry.part(self.name, "file_checks")
        assert module
        return module

    def sizes(self, **options: object) -> dict[str, int]:
        return {split: len(records) for split, records in self.scan(**options).splits.items()}

    def scan(self, **options: object):
        config = registry.describe(self.name).config(**options)
        return self.checks.scan({self.folder: self.root}, config)

    def errors(self, **options: object) -> dict[str, str]:
        findings = findings_of(self.checks.CHECKS, self.scan(**options))
        return {f.code: f"{f.message} {f.fix}" for f in findings if f.severity == "error"}


@pytest.fixture(params=TRAINERS)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


PLAIN = {"train": "train", "val": "val", "test": "test"}


@pytest.mark.parametrize(
    ("val", "test"),
    [("valid", "test"), ("dev", "testing"), ("Validation", "Test"), ("eval", "tst"), ("devel", "holdout")],
)
def test_a_split_may_have_any_of_its_usual_names(name, tmp_path, val, test):
    usual = Data(name, tmp_path / "usual", PLAIN).sizes()
    words = {"train": "Training", "val": val, "test": test}
    assert Data(name, tmp_path / "other", words).sizes() == usual
    assert all(usual.values())


def test_hidden_copies_are_not_read_and_listed_as_left_out(name, tmp_path):
    data = Data(name, tmp_path, PLAIN)
    before = data.sizes()
    for split in PLAIN:
        for path in data.files[split]:
            content = path.read_bytes()
            (path.parent / f"._{path.name}").write_bytes(content)
            for folder in (".ipynb_checkpoints", "__MACOSX"):
                (path.parent / folder).mkdir(exist_ok=True)
                (path.parent / folder / path.name).write_bytes(content)
        (path.parent / "Thumbs.db").write_bytes(b"x")
    assert data.sizes() == before
    assert data.errors() == {}
    if data.folder != "phoenix":  # whose corpus files list every sentence
        hidden = [refusal for refusal in data.scan().refused if refusal.code == "files.hidden"]
        assert len(hidden) == 3 * sum(len(files) for files in data.files.values())


@pytest.mark.parametrize("content", ["", LFS], ids=["empty", "git-lfs pointer"])
def test_a_file_without_its_content_is_refused_before_it_is_opened(name, tmp_path, content):
    data = Data(name, tmp_path, PLAIN)
    for path in data.files["train"]:
        path.write_text(content)
    refused = [refusal for refusal in data.scan().refused if refusal.code == "files.there"]
    assert len(refused) == len(data.files["train"])
    assert all(refusal.broken for refusal in refused)
    assert ("git lfs pull" in data.errors()["files.there"]) == bool(content)


def test_suffixes_may_be_in_capitals(name, tmp_path):
    data = Data(name, tmp_path, PLAIN)
    before = data.sizes()
    for path in [path for files in data.files.values() for path in files]:
        path.rename(path.with_suffix(path.suffix.upper()))
    assert data.sizes() == before


@pytest.mark.parametrize("trainer", TRAINERS[:3])
def test_samples_of_which_some_name_no_split_are_refused(trainer, tmp_path):
    data = Data(trainer, tmp_path, {"train": "train", "val": "val", "test": "more"})
    assert "name no split" in data.errors()["split.named"]
    assert "split.named" not in data.errors(named_splits="ignore")


@pytest.mark.parametrize("trainer", TRAINERS[:3])
def test_two_words_for_one_split_are_refused(trainer, tmp_path):
    data = Data(trainer, tmp_path, {"train": "train", "val": "dev", "test": "eval"})
    assert "samples of dev and of eval, which both mean val" in data.errors()["split.named"]


@pytest.mark.parametrize("trainer", TRAINERS[:3])
def test_named_splits_are_kept_and_an_option_draws_them_anew(trainer, tmp_path):
    data = Data(trainer, tmp_path, PLAIN)
    groups = {split: {record.group for record in records} for split, records in data.scan().splits.items()}
    assert {split: len(names) for split, names in groups.items()} == {"train": 8, "val": 3, "test": 3}
    drawn = {split: {r.group for r in rs} for split, rs in data.scan(named_splits="ignore").splits.items()}
    assert drawn != groups


@pytest.mark.parametrize("mark", ["\ufeff", ""])
def test_tables_may_begin_with_a_mark_and_end_with_blank_lines(tmp_path, mark):
    for trainer in ("blendshapes", "i3d-teacher"):
        data = Data(trainer, tmp_path / trainer, PLAIN)
        before = data.sizes()
        for path in data.root.rglob("*.csv"):
            path.write_text(mark + path.read_text().replace("\n", "\r\n") + "\r\n\r\n", newline="")
        assert data.sizes() == before


def test_the_client_counts_nothing_that_trainers_hide_as_litter():
    """Trainers read no name that begins with a dot; the client sends such names, for commands that do."""
    assert set(folders.LITTER) >= walk.LITTER
    assert all(walk.is_hidden(name) for name in (*folders.LITTER, "._a.png"))


def test_sound_data_uses_every_option_about_files(name, tmp_path):
    data = Data(name, tmp_path, PLAIN)
    config = registry.describe(name).config()
    findings_of(data.checks.CHECKS, data.checks.scan({data.folder: data.root}, config))
    assert "max_refused" in config.read()
