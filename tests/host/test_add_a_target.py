"""The target of docs/add-a-target.md, built from the page's own code blocks; see also test_contract.py."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.host import add_a_target
from tests.support import REPOSITORY, Client


def test_a_run_on_the_new_target_is_deployed_and_its_output_fetched(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    add_a_target.install(monkeypatch)
    target = f"folder:{client.root}"
    client.write("data/words/one.txt", "hello")
    client.job(
        "import os, pathlib\n"
        "folder = pathlib.Path(os.environ['GPUJOB_DATA_WORDS'])\n"
        "pathlib.Path('result.txt').write_text((folder / 'one.txt').read_text() + str(folder))",
        data={"words": "data/words"},
        outputs=["result.txt"],
        resources={"gpus": 0},
    )
    deployed = client.run("deploy", "job", "--on", target, "--follow")
    assert deployed.code == 0, deployed.err
    run = deployed.out.split()[0]
    fetched = client.run("fetch", run)
    assert fetched.code == 0, fetched.err
    result = (client.project / "fetched" / run / "outputs" / "result.txt").read_text()
    assert result.startswith(f"hello{client.root}/data/words/")


def test_the_page_adds_one_short_module_that_passes_the_type_check(tmp_path: Path) -> None:
    text = add_a_target.module_source()
    assert len(text.splitlines()) <= 110
    module = tmp_path / "folder.py"
    module.write_text(text)
    words = [sys.executable, "-m", "mypy", "--strict", "--cache-dir", str(tmp_path / "cache"), str(module)]
    result = subprocess.run(words, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout
