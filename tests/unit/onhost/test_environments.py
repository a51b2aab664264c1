import subprocess
import sys
from pathlib import Path

import pytest

from orchestrator.core.layout import Layout
from orchestrator.onhost import environments
from orchestrator.onhost.answers import Refused


def test_an_environment_sees_what_its_parent_has_and_is_made_once(tmp_path: Path) -> None:
    """The parent is a venv itself: what it has is not the system's."""
    layout = Layout(str(tmp_path))
    made = environments.make(layout, "ab12", sys.executable, [])
    done = subprocess.run(
        [made["python"], "-c", "import pytest; print(pytest.__file__)"], capture_output=True, text=True
    )
    assert done.stdout.strip() == pytest.__file__
    inode = Path(made["python"]).lstat().st_ino
    assert environments.make(layout, "ab12", sys.executable, []) == made
    assert Path(made["python"]).lstat().st_ino == inode


def test_one_that_was_cut_is_made_anew_and_one_that_cannot_be_made_is_not_marked_whole(
    tmp_path: Path,
) -> None:
    layout = Layout(str(tmp_path))
    cut = Path(layout.environment("cd34"))
    (cut / "bin").mkdir(parents=True)
    (cut / "bin" / "python").write_text("half")
    with pytest.raises(Refused, match="could not be made"):
        environments.make(layout, "cd34", sys.executable, ["--no-index", "no-such-package-here"])
    assert not (cut / "complete").exists()
    assert environments.make(layout, "cd34", sys.executable, [])["python"]


@pytest.mark.parametrize("key", ["../x", "", "ABC", "a b"])
def test_a_key_that_is_none_names_no_folder(tmp_path: Path, key: str) -> None:
    with pytest.raises(ValueError, match="not a key"):
        Layout(str(tmp_path)).environment(key)
