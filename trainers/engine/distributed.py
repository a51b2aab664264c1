"""The processes of one training: those that torchrun started, or this one alone."""

import os
from collections.abc import Iterable
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn

from trainers.engine.health import Finding, error
from trainers.engine.workers import end_at_once

T = TypeVar("T")


class Group:
    """A process's rank, the number of processes, its device, and collective operations."""

    def __init__(
        self, device: torch.device, rank: int = 0, size: int = 1, is_main: bool | None = None
    ) -> None:
        self.device = device
        self.rank = rank
        self.size = size
        self.is_main = rank == 0 if is_main is None else is_main
        """Whether this process writes files and prints: rank 0; on several hosts the first of each host."""

    def sum(self, values: Tensor) -> Tensor:
        """Sum `values` over all processes, in place; returns them."""
        if self.size > 1:
            dist.all_reduce(values)
        return values

    def gather(self, values: dict[int, T]) -> dict[int, T]:
        """Combine the dicts of all processes; every process gets all entries."""
        if self.size == 1:
            return values
        parts: list[Any] = [None] * self.size
        dist.all_gather_object(parts, values)
        return {key: value for part in parts for key, value in part.items()}

    def send(self, values: Tensor, source: int) -> Tensor:
        """Copy `values` of the process `source` to every process, in place; returns them."""
        on_device = values.to(self.device)
        dist.broadcast(on_device, source)
        return values.copy_(on_device)

    def sum_gradients(self, parameters: Iterable[nn.Parameter], extra: Tensor) -> Tensor:
        """Sum all gradients and `extra` (K,) over all processes in one exchange; returns the summed `extra`.

        A process whose share of a small batch is empty has no gradients and adds zeros.
        """
        trainable = [p for p in parameters if p.requires_grad]
        if self.size == 1:
            return extra
        grads = [torch.zeros_like(p) if p.grad is None else p.grad for p in trainable]
        flat = self.sum(torch.cat([extra.float(), *(g.float().flatten() for g in grads)]))
        start = len(extra)
        for p in trainable:
            p.grad = flat[start : start + p.numel()].view_as(p).to(p.dtype)
            start += p.numel()
        return flat[: len(extra)]

    def same_start(self, model: nn.Module) -> None:
        """Copy the weights and buffers of rank 0 to every process."""
        if self.size > 1:
            for value in model.state_dict().values():
                dist.broadcast(value, 0)

    def mean_buffers(self, model: nn.Module) -> None:
        """Average floating-point buffers (batch normalisation's running statistics) over all processes."""
        buffers = [b for b in model.buffers() if b.is_floating_point()]
        if self.size > 1 and buffers:
            flat = self.sum(torch.cat([b.flatten() for b in buffers])) / self.size
            means = torch.split(flat, [b.numel() for b in buffers])
            for buffer, mean in zip(buffers, means, strict=True):
                buffer.copy_(mean.view_as(buffer))

    def barrier(self) -> None:
        """Wait until every process has called this method."""
        if self.size > 1:
            dist.barrier()

    def shutdown(self, code: int) -> None:
        """Leave the process group; if there are several processes, exit this one with `code`."""
        if self.size > 1:
            dist.destroy_process_group()
            # gloo's threads sometimes abort an interpreter that exits normally (exit code 134).
            end_at_once(code)


def pick_device(option: str, local_rank: int = 0) -> torch.device:
    """The device for the option `device`; `auto` is a GPU if one is available, else the CPU."""
    if option == "cuda" or (option == "auto" and torch.cuda.is_available()):
        return torch.device("cuda", local_rank)
    return torch.device("cpu")


def missing(option: str) -> list[Finding]:
    """An error if GPUs are required and this host has fewer than one per process."""
    gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    processes = int(os.environ.get("LOCAL_WORLD_SIZE") or os.environ.get("WORLD_SIZE") or 1)
    if gpus >= processes or option == "cpu" or (option == "auto" and not gpus):
        return []
    torch_version = f"PyTorch {torch.__version__}"
    message = f"`device` is {option}, and {torch_version} finds {gpus} GPUs for {processes} processes"
    if not gpus:
        without = torch.version.cuda is None and torch.version.hip is None
        how = "is built without CUDA" if without else "finds no GPU here"
        message = f"`device` is {option}, and {torch_version} {how}"
    fix = "start one process a GPU" if gpus else "take device: auto, or a host with a GPU"
    return [error("config.choice", message, fix, "device")]


def join(option: str) -> Group:
    """Join the group described by torchrun's environment variables, or create a group of one process."""
    size = int(os.environ.get("WORLD_SIZE", "1"))
    device = pick_device(option, int(os.environ.get("LOCAL_RANK", "0")))
    if device.type == "cuda":
        # Without it cuDNN's LSTM gives different bits in each run.
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.cuda.set_device(device)
        torch.backends.cudnn.deterministic = True
        torch.backends.cudnn.benchmark = False
    if size == 1:
        return Group(device)
    backend = "nccl" if device.type == "cuda" else "gloo"
    # Rank 0 may build the cache while the others wait, which can take long.
    dist.init_process_group(backend, timeout=timedelta(hours=2))
    hosts = int(os.environ.get("GPUJOB_NNODES", "1"))
    # Each of several hosts has a run folder of its own, which is complete.
    is_main = int(os.environ["LOCAL_RANK"]) == 0 if hosts > 1 else None
    return Group(device, dist.get_rank(), size, is_main)
