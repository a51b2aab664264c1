"""The folders and files that `prepare` may be given by name."""

from pathlib import Path

import pytest

from trainers import __main__ as command
from trainers.engine import sources

DECLARED = {"images": "a folder of pictures", "model": "a file"}


def test_a_source_is_named_in_any_of_three_ways(tmp_path):
    (tmp_path / "m").touch()
    expected = {"images": tmp_path, "model": tmp_path / "m"}
    pairs = [f"images={tmp_path}", f"model={tmp_path / 'm'}"]
    assert sources.read(DECLARED, pairs, []) == expected
    assert sources.read(DECLARED, [], ["--images", str(tmp_path), f"--model={tmp_path / 'm'}"]) == expected
    assert sources.read(DECLARED, [], []) == {}
    assert sources.read(DECLARED, ["images=."], ["--model", "m"], tmp_path) == expected


@pytest.mark.parametrize(
    ("pairs", "words", "message"),
    [
        ([], ["--imges", "."], "did you mean --images?"),
        ([], ["--sampel", "."], "did you mean --sample?"),
        ([], ["--colour", "."], "--images PATH, a folder of pictures"),
        (["imges=."], [], "did you mean --images?"),
        (["images"], [], "write it as NAME=PATH"),
        ([], ["--images"], "needs a path: a folder of pictures"),
        ([], ["--images", "--model", "."], "--images needs a path"),
        (["images=."], ["--images", "."], "given twice"),
        ([], ["--images", "no/where"], "there is no no/where; it is a folder of pictures"),
        ([], ["folder"], "unexpected argument `folder`"),
    ],
)
def test_an_unknown_source_is_explained_in_a_sentence(pairs, words, message):
    with pytest.raises(sources.BadSource, match=message.replace("?", r"\?")):
        sources.read(DECLARED, pairs, words)


def test_a_data_folder_is_given_by_name_or_by_the_folder_that_holds_it(tmp_path):
    for name in ("ravdess", "crema", "other"):
        (tmp_path / "a=b" / name).mkdir(parents=True)
    known = {"ravdess": "videos", "crema": "videos"}
    both = {name: str(tmp_path / "a=b" / name) for name in known}
    assert sources.folders(known, [f"{name}={path}" for name, path in both.items()], Path()) == both
    assert sources.folders(known, [str(tmp_path / "a=b")], Path()) == both
    for value, message in (
        ([str(tmp_path)], "no folder ravdess or crema is in it"),
        (["crema="], "write it as NAME=PATH"),
        (["crema=a", "crema=b"], "gives crema twice"),
    ):
        with pytest.raises(sources.BadSource, match=message):
            sources.folders(known, value, Path())


@pytest.mark.parametrize("words", [[], ["--sampel", "x"], ["--images=."]])
def test_prepare_refuses_what_the_trainer_does_not_have_with_exit_2(words, capsys):
    assert command.main(["prepare", "facenet-lstm", *words]) == 2
    assert "--sample" in capsys.readouterr().err
