"""Commands that call a trainer, and what they show of its output."""

from __future__ import annotations

import contextlib
import itertools
from pathlib import Path

import pytest

from orchestrator import files, source
from orchestrator.commands import trainer, verify
from orchestrator.context import Context
from tests.support import new_client


def test_evaluate_shows_warnings_and_the_unit_of_the_interval(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    event = {
        "samples": 3,
        "warning": "2 of 5 samples are left out",
        "values": {"accuracy": 0.5},
        "resampled": "samples",
    }
    monkeypatch.setattr(trainer, "_checkpoint", lambda ctx, place: place)
    monkeypatch.setattr(trainer, "_call", lambda ctx, words: [event])
    with new_client() as client:
        result = client.run("evaluate", "c", "--data", "faces=.")
    assert result.code == 0
    assert "warning: 2 of 5 samples are left out" in result.err
    assert "0.5000" in result.out
    assert "the 95 % interval, samples resampled" in result.out


def test_evaluate_passes_the_folder_for_figures_on_and_names_them(monkeypatch: pytest.MonkeyPatch) -> None:
    with new_client() as client:
        folder = client.project / "figures"

        def call(ctx: Context, words: list[str]) -> list[trainer.Line]:
            assert words[-4:] == ["--plots", str(folder), "--pictures", str(client.project / "images")]
            folder.mkdir(exist_ok=True)
            return [{"values": {"wer": 0.25}, "plots": [str(folder / "per-class.svg")]}]

        monkeypatch.setattr(trainer, "_checkpoint", lambda ctx, place: place)
        monkeypatch.setattr(trainer, "_call", call)
        command = ("evaluate", "c", "--data", "faces=.", "--plots", "figures", "--pictures", "images")
        result = client.run(*command)
        assert "figures: figures/per-class.svg" in result.out
        assert (folder / ".gitignore").exists()
        answer = client.run(*command, "--json")
        assert answer.json["plots"] == [str(folder / "per-class.svg")]


def test_a_file_in_the_place_of_the_figures_is_named_before_the_evaluation(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(trainer, "_checkpoint", lambda ctx, place: place)
    monkeypatch.setattr(trainer, "_call", lambda *_: pytest.fail("it is evaluated"))
    with new_client() as client:
        client.write("figures", "mine")
        result = client.run("evaluate", "c", "--data", "faces=.", "--plots", "figures")
        assert (result.code, "figures is no folder" in result.err) == (1, True)


@pytest.mark.parametrize(
    ("words", "new"),
    [
        (("prepare", "facenet-lstm", "--sample", "sample"), "sample"),
        (("prepare", "facenet-lstm", "--to=a/b"), "a"),
        (("prepare", "blendshapes", "--images", "pictures"), "blendshapes-data"),
        (("export", "c"), "exported"),
        (("export", "c", "--to", "out/model.pt2"), "out"),
    ],
)
def test_new_folders_of_sample_data_and_exports_are_no_code(
    monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...], new: str
) -> None:
    def call(ctx: Context, words: list[str]) -> list[trainer.Line]:
        """Writes as the trainers do: into the folder that --sample, --to or nothing names."""
        place = ctx.path({"facenet-lstm": "sample", "blendshapes": "blendshapes-data"}.get(words[1], "."))
        for name, value in itertools.pairwise(words):
            place = ctx.path(value) if name == "--to" else place
        place = ctx.path("a/b") if "--to=a/b" in words else place
        folder = place if place.suffix != ".pt2" else place.parent
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "file").write_text("x")
        return []

    monkeypatch.setattr(trainer, "_checkpoint", lambda ctx, place: place)
    monkeypatch.setattr(verify, "require_intact", lambda folder: verify.Manifest({}, trainer="t", step=7))
    monkeypatch.setattr(trainer, "_call", call)
    with new_client() as client:
        client.job("print(1)")
        for _ in range(2):
            assert client.run(*words).code == 0
            assert (client.project / new / ".gitignore").read_text() == "*\n"
            sent = {entry.path for entry in source.read(client.project).tree.entries}
            assert sent == {"job.yaml", "train.py"}


@pytest.mark.parametrize(
    ("words", "folder"),
    [
        (("--sample", "sample"), "sample"),
        (("--images", "pictures"), "blendshapes-data"),
        (("--images", "pictures", "--to=my faces"), "'my faces'"),
    ],
)
def test_prepare_ends_with_commands_that_name_the_folder_it_wrote(
    monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...], folder: str
) -> None:
    monkeypatch.setattr(trainer, "_call", lambda ctx, words: [{"written": "faces"}])
    with new_client() as client:
        prepared = client.run("prepare", "blendshapes", *words)
        check, deploy = prepared.err.partition("next:\n")[2].splitlines()
        assert check.strip() == f"gpujob check blendshapes --data {folder}"
        assert deploy.strip() == f"gpujob deploy blendshapes --data {folder}"


def test_a_folder_of_the_user_is_not_hidden_from_git(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "train.py").write_text("x")
    with files.ignored_by_git(tmp_path / "mine"):
        (tmp_path / "mine" / "new").write_text("x")
    assert {path.name for path in (tmp_path / "mine").iterdir()} == {"train.py", "new"}
    (tmp_path / "empty").mkdir()
    with contextlib.suppress(KeyboardInterrupt), files.ignored_by_git(tmp_path / "empty"):
        (tmp_path / "empty" / "part").write_text("x")
        raise KeyboardInterrupt
    assert (tmp_path / "empty" / ".gitignore").exists()
