"""The processes of one training, as torchrun starts them; one alone without it."""

import os
from collections.abc import Iterable
from datetime import timedelta

import torch
import torch.distributed as dist
from torch import Tensor, nn

from trainers.engine.health import Finding, error
from trainers.engine.workers import end_at_once


class Group:
    """Rank, size, device, and the sums over all processes."""

    def __init__(self, device: torch.device, rank: int = 0, size: int = 1) -> None:
        self.device = device
        self.rank = rank
        self.size = size

    @property
    def is_main(self) -> bool:
        """Whether this process is the one that writes files."""
        return self.rank == 0

    def sum(self, values: Tensor) -> Tensor:
        """The sum over all processes, in place."""
        if self.size > 1:
            dist.all_reduce(values)
        return values

    def sum_gradients(self, parameters: Iterable[nn.Parameter], extra: Tensor) -> Tensor:
        """Sum every gradient, and `extra` (K,) with them, in one exchange; gives `extra` back.

        A process whose share of a small batch is empty has no gradients and adds zeros.
        """
        held = [p for p in parameters if p.requires_grad]
        if self.size == 1:
            return extra
        grads = [torch.zeros_like(p) if p.grad is None else p.grad for p in held]
        flat = self.sum(torch.cat([extra.float(), *(g.float().flatten() for g in grads)]))
        start = len(extra)
        for p in held:
            p.grad = flat[start : start + p.numel()].view_as(p).to(p.dtype)
            start += p.numel()
        return flat[: len(extra)]

    def same_start(self, model: nn.Module) -> None:
        """Give every process the weights and buffers of rank 0."""
        if self.size > 1:
            for value in model.state_dict().values():
                dist.broadcast(value, 0)

    def mean_buffers(self, model: nn.Module) -> None:
        """Give every process the mean of all running statistics (of batch normalisation)."""
        held = [b for b in model.buffers() if b.is_floating_point()]
        if self.size > 1 and held:
            flat = self.sum(torch.cat([b.flatten() for b in held])) / self.size
            for buffer, mean in zip(held, flat.split([b.numel() for b in held]), strict=True):
                buffer.copy_(mean.view_as(buffer))

    def barrier(self) -> None:
        """Until every process has come here."""
        if self.size > 1:
            dist.barrier()

    def shutdown(self, code: int) -> None:
        """End the exchange, and with it a process that is one of several, with this exit code."""
        if self.size > 1:
            dist.destroy_process_group()
            # The threads of gloo now and then abort an interpreter that ends by itself (exit 134).
            end_at_once(code)


def pick_device(asked: str, local_rank: int = 0) -> torch.device:
    """`auto` is a GPU where there is one."""
    if asked == "cuda" or (asked == "auto" and torch.cuda.is_available()):
        return torch.device("cuda", local_rank)
    return torch.device("cpu")


def missing(asked: str) -> list[Finding]:
    """A GPU is asked for, and there is not one for each process of this host."""
    there = torch.cuda.device_count() if torch.cuda.is_available() else 0
    wanted = int(os.environ.get("LOCAL_WORLD_SIZE") or os.environ.get("WORLD_SIZE") or 1)
    if there >= wanted or asked == "cpu" or (asked == "auto" and not there):
        return []
    seen = f"`device` is {asked}, and PyTorch {torch.__version__} finds {there} GPUs for {wanted} processes"
    if not there:
        without = torch.version.cuda is None and torch.version.hip is None
        how = "is built without CUDA" if without else "finds no GPU here"
        seen = f"`device` is {asked}, and PyTorch {torch.__version__} {how}"
    fix = "start one process a GPU" if there else "take device: auto, or a host with a GPU"
    return [error("config.choice", seen, fix, "device")]


def join(asked: str) -> Group:
    """Join the group that torchrun's variables describe, or be one alone."""
    size = int(os.environ.get("WORLD_SIZE", "1"))
    device = pick_device(asked, int(os.environ.get("LOCAL_RANK", "0")))
    if device.type == "cuda":
        # Without it cuDNN's LSTM gives other bits each time.
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.cuda.set_device(device)
        torch.backends.cudnn.deterministic = True
        torch.backends.cudnn.benchmark = False
    if size == 1:
        return Group(device)
    backend = "nccl" if device.type == "cuda" else "gloo"
    # Rank 0 may build the cache while the others wait, which can take long.
    dist.init_process_group(backend, timeout=timedelta(hours=2))
    return Group(device, dist.get_rank(), size)
