"""The folders and files that `prepare` may be given by name."""

import pytest

from trainers import __main__ as command
from trainers.engine import sources

DECLARED = {"images": "a folder of pictures", "model": "a file"}


def test_a_source_is_named_in_any_of_three_ways(tmp_path):
    (tmp_path / "m").touch()
    wanted = {"images": tmp_path, "model": tmp_path / "m"}
    pairs = [f"images={tmp_path}", f"model={tmp_path / 'm'}"]
    assert sources.read(DECLARED, pairs, []) == wanted
    assert sources.read(DECLARED, [], ["--images", str(tmp_path), f"--model={tmp_path / 'm'}"]) == wanted
    assert sources.read(DECLARED, [], []) == {}
    assert sources.read(DECLARED, ["images=."], ["--model", "m"], tmp_path) == wanted


@pytest.mark.parametrize(
    ("pairs", "words", "said"),
    [
        ([], ["--imges", "."], "did you mean --images?"),
        ([], ["--sampel", "."], "did you mean --sample?"),
        ([], ["--colour", "."], "--images PATH, a folder of pictures"),
        (["imges=."], [], "did you mean --images?"),
        (["images"], [], "write it as NAME=PATH"),
        ([], ["--images"], "wants a path: a folder of pictures"),
        ([], ["--images", "--model", "."], "--images wants a path"),
        (["images=."], ["--images", "."], "given twice"),
        ([], ["--images", "no/where"], "there is no no/where; it is a folder of pictures"),
        ([], ["folder"], "nothing asks for `folder`"),
    ],
)
def test_a_source_that_is_none_is_a_sentence(pairs, words, said):
    with pytest.raises(sources.BadSource, match=said.replace("?", r"\?")):
        sources.read(DECLARED, pairs, words)


@pytest.mark.parametrize("words", [[], ["--sampel", "x"], ["--images=."]])
def test_prepare_refuses_what_the_trainer_does_not_have_with_exit_2(words, capsys):
    assert command.main(["prepare", "facenet-lstm", *words]) == 2
    assert "--sample" in capsys.readouterr().err
