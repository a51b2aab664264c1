"""What the helper finds out about its machine: GPUs, CUDA, interpreters."""

import ctypes
import os
import sys
from pathlib import Path

import pytest

from orchestrator.core.layout import Layout
from orchestrator.onhost import gpus, host_facts


def test_a_driver_that_is_not_installed_means_no_gpu(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert gpus.sample() == []


@pytest.mark.parametrize("script", ["echo Driver/library version mismatch; exit 18", "sleep 60", "exit 9"])
def test_gpus_whose_driver_fails_or_hangs_are_unknown_and_not_absent(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, script: str
) -> None:
    tool = tmp_path / "nvidia-smi"
    tool.write_text(f"#!/bin/sh\n{script}\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin:/usr/bin")
    assert gpus.sample(timeout=0.3) is None


def test_a_gpu_on_the_bus_without_a_driver_is_unknown(tmp_path: Path) -> None:
    for address, vendor in (("0000:00:01.0", "0x8086"), ("0000:00:1e.0", "0x10de")):
        (tmp_path / address).mkdir()
        (tmp_path / address / "vendor").write_text(vendor + "\n")
    assert gpus._has_nvidia_device(str(tmp_path))
    assert not gpus._has_nvidia_device(str(tmp_path / "empty"))


@pytest.mark.parametrize("output", ["CUDA Version: 12.4 ", "CUDA UMD Version: 12.4 ", "CUDA Version  : 12.4"])
def test_the_cuda_version_is_read_from_the_driver_if_the_library_fails(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, output: str
) -> None:
    def absent(name: str) -> None:
        raise OSError(name)

    monkeypatch.setattr(ctypes, "CDLL", absent)
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin:/usr/bin")
    assert gpus.cuda() is None
    tool = tmp_path / "nvidia-smi"
    tool.write_text(f"#!/bin/sh\necho '| NVIDIA-SMI 550.54  Driver Version: 550.54  {output}|'\n")
    tool.chmod(0o755)
    assert gpus.cuda() == "12.4"


def test_the_cuda_version_of_torch_is_read_without_importing_it(tmp_path: Path) -> None:
    package = tmp_path / "lib" / "torch"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("raise RuntimeError('imported')")
    (package / "version.py").write_text("from typing import Optional\ncuda: Optional[str] = '12.8'\n")
    python = tmp_path / "python"
    python.write_text(f'#!/bin/sh\nPYTHONPATH={tmp_path}/lib exec {sys.executable} "$@"\n')
    python.chmod(0o755)
    assert (host_facts.python_facts(str(python)) or {})["cuda"] == "12.8"


def test_gpus_are_parsed_from_the_output_of_the_driver(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    tool = tmp_path / "nvidia-smi"
    tool.write_text("#!/bin/sh\necho '0, NVIDIA A10G, 512, 23028, 97, [N/A], GPU-1, 550.54'\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin:/usr/bin")
    (gpu,) = gpus.sample()
    assert (gpu.name, gpu.used_mib, gpu.use_percent, gpu.celsius) == (
        "NVIDIA A10G",
        512,
        97,
        None,
    )


def test_an_interpreter_that_has_two_names_is_examined_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    python = tmp_path / "python3"
    python.symlink_to(sys.executable)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    monkeypatch.setattr(host_facts, "addresses", list)
    request = host_facts.Request(pythons=("python3", str(python), "no-such-python"))
    assert len(host_facts.gather(Layout(str(tmp_path)), request)["pythons"]) == 1
