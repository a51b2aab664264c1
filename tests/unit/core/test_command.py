"""What a command runs, and what a Python file imports."""

from __future__ import annotations

import shlex

import pytest

from orchestrator.core import command
from orchestrator.core.command import Program


@pytest.mark.parametrize(
    ("line", "script"),
    [
        ("python train.py --out result.py", "train.py"),
        ("/opt/venv/bin/python3.11 -u -X dev -W ignore -Wd train.py", "train.py"),
        ("python -Xdev --check-hash-based-pycs always src/train", "src/train"),
        ("env A=1 nohup python train.py", "train.py"),
        ("timeout 10 bash -x run.sh", "run.sh"),
        ("bash -o pipefail -eu run.sh a", "run.sh"),
        ("torchrun --nproc-per-node 2 train.py x.py", "train.py"),
        ("python -m torch.distributed.run --nproc-per-node=2 train.py", "train.py"),
        ("accelerate launch --config_file a.yaml train.py", "train.py"),
        ("uv run --with x python train.py", "train.py"),
        ("python -mcProfile -o prof.out train.py", "train.py"),
        ("python", ""),
        ("python -c print(1)", ""),
        ("python -uc print(1) x.py", ""),
        ("python - x.py", ""),
        ("bash -lc 'python train.py'", ""),
        ("sh -s a", ""),
        ("nvidia-smi", ""),
        ("uv run train", ""),
    ],
)
def test_the_script_of_a_command_is_found(line: str, script: str) -> None:
    assert command.program(shlex.split(line)) == Program(script=script)


@pytest.mark.parametrize(
    ("line", "module"),
    [
        ("python -m pkg.train -m x", "pkg.train"),
        ("python3 -um pkg", "pkg"),
        ("python -mpkg", "pkg"),
        ("python -m", ""),
    ],
)
def test_the_module_of_a_command_is_found(line: str, module: str) -> None:
    assert command.program(shlex.split(line)) == Program(module=module)


def test_a_program_with_a_slash_is_started_directly() -> None:
    assert command.program(["./run", "x"]) == Program(script="./run", direct=True)


def test_imports_at_the_top_level_are_found_and_optional_ones_are_not() -> None:
    source = (
        "import os, torch.nn as nn  # import this\nfrom . import near\nfrom .near.deep import x\n"
        "from jax import (\n  numpy)\ntry:\n    import flax\nexcept ImportError: pass\n"
    )
    assert list(command.imports(source)) == ["os", "torch.nn", ".", ".near.deep", "jax"]
