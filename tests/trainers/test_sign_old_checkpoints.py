"""Sign language checkpoints of an earlier version are restored with the same outputs.

The fixtures were written by commit 55b617d: a run of the preset `tiny` on the sample, with most weights of
its largest layers set to 0 so that they compress, and what that version answered for `features()`.
"""

import json
import tarfile
from pathlib import Path

import numpy as np
import pytest

from trainers import __main__ as command
from trainers import registry
from trainers.engine import checkpoint

FIXTURES = Path(__file__).parents[1] / "fixtures" / "sign"
EXPECTED = json.loads((FIXTURES / "expected.json").read_text())


def features() -> np.ndarray:
    """Return the features of a synthetic sentence, (24, 1629) float16."""
    draw = np.random.default_rng(5)
    start, step = draw.random(1629), draw.normal(0, 0.01, (24, 1629))
    return (start + np.cumsum(step, 0)).astype(np.float16)


@pytest.fixture(params=EXPECTED)
def old(request, tmp_path) -> tuple[str, Path]:
    """The name of a trainer, and its old checkpoint."""
    name = request.param
    with tarfile.open(FIXTURES / f"{name}-checkpoint.tar.xz") as tar:
        tar.extractall(tmp_path, filter="data")
    return name, tmp_path / str(EXPECTED[name]["step"])


def test_an_old_checkpoint_gives_the_logits_it_gave(old):
    name, folder = old
    restored = registry.trainer(name).restore(checkpoint.read(folder))
    logits, expected = restored.logits(features()), EXPECTED[name]
    assert list(restored.classes) == expected["classes"]
    assert logits[0].tolist() == pytest.approx(expected["first"], abs=2e-3)
    assert logits.abs().sum(1).tolist() == pytest.approx(expected["row_sums"], rel=1e-3)


def test_an_old_checkpoint_predicts_and_is_verified(old, tmp_path, capsys):
    name, folder = old
    np.save(tmp_path / "x.npy", features())
    assert command.main(["predict", str(folder), str(tmp_path / "x.npy")]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert (answer["frames"], answer["glosses"]) == (24, EXPECTED[name]["glosses"])
    assert command.main(["verify", str(folder)]) == 0
    assert json.loads(capsys.readouterr().out)["classes"] == EXPECTED[name]["classes"]
