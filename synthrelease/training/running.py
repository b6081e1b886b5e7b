"""One training as the machine sees it: several processes under `torchrun`, and requests to stop."""

from __future__ import annotations

import atexit
import contextlib
import datetime
import os
import signal
import threading
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from types import FrameType
from typing import Literal

import torch
import torch.distributed as distributed
from torch import Tensor, nn

from synthrelease.errors import SettingsError

Precision = Literal["none", "bf16", "fp16"]


@dataclass(frozen=True)
class Processes:
    """The processes that train together, and this one's place among them."""

    rank: int
    world: int
    device: torch.device

    @property
    def leads(self) -> bool:
        """Whether this process writes files and talks; exactly one does."""
        return self.rank == 0

    def share(self, drawn: Tensor) -> Tensor:
        """Return this process's rows of what was drawn for all of them: every world-th."""
        return drawn[self.rank :: self.world]

    def mean(self, value: Tensor) -> Tensor:
        """Return a tensor's mean over the processes."""
        return value if self.world == 1 else self.total(value) / self.world

    def total(self, value: Tensor) -> Tensor:
        """Return a tensor's sum over the processes, on the device that it came from."""
        if self.world == 1:
            return value
        added = value.detach().to(self.device, copy=True)
        distributed.all_reduce(added)
        return added.to(value.device)


def choose_device(name: str = "auto") -> torch.device:
    """Return the device of that name; auto is a GPU where there is one."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise SettingsError(f"There is no device {name!r}.", "Use auto, cpu, cuda or cuda:1.") from error
    if device.type == "cuda" and not torch.cuda.is_available():
        raise SettingsError(f"Device {name!r} was asked for, but PyTorch sees no GPU.", "Use --device cpu.")
    return device


def autocast(device: torch.device, precision: Precision) -> torch.autocast:
    """Return the context in which matrix products run in fewer bits, or in which nothing changes."""
    kind = torch.float16 if precision == "fp16" else torch.bfloat16
    return torch.autocast(device.type, dtype=kind, enabled=precision != "none")


def is_leader() -> bool:
    """Return whether this process is the only one, or the one of those that `torchrun` started that talks."""
    return os.environ.get("RANK", "0") == "0"


@contextlib.contextmanager
def processes(device: torch.device) -> Iterator[Processes]:
    """Join the processes that `torchrun` started, if it did; else be the only one."""
    world = int(os.environ.get("WORLD_SIZE", "1"))
    if world == 1:
        yield Processes(0, 1, device)
        return
    rank, local = int(os.environ["RANK"]), int(os.environ.get("LOCAL_RANK", "0"))
    if device.type == "cuda":
        device = torch.device("cuda", local)
        torch.cuda.set_device(device)
    if not distributed.is_initialized():
        backend = "nccl" if device.type == "cuda" else "gloo"
        # Others wait while the leading process samples and screens, which takes longer than the usual 10 minutes.
        distributed.init_process_group(backend, rank=rank, world_size=world, timeout=datetime.timedelta(hours=12))
        # Left at the very end: joining again, for another training, would meet processes that have not left yet.
        atexit.register(distributed.destroy_process_group)
    yield Processes(rank, world, device)


def average_gradients(parameters: Iterable[nn.Parameter], together: Processes) -> None:
    """Replace every gradient by its mean over the processes, in one message.

    torch's DistributedDataParallel fails where a phase leaves some parameters without gradients (lazy regularisers).
    Here they are left out, as with one process: what a phase computes depends on the step, never on the process.
    """
    if together.world == 1:
        return
    gradients = [p.grad for p in parameters if p.grad is not None]
    flat = torch.cat([g.reshape(-1) for g in gradients])
    distributed.all_reduce(flat)
    flat /= together.world
    for gradient, mean in zip(gradients, torch.split(flat, [g.numel() for g in gradients]), strict=True):
        gradient.copy_(mean.view_as(gradient))


def from_leader(value: bool, together: Processes) -> bool:
    """Return what the leading process passed, in every process: they must stop together."""
    if together.world == 1:
        return value
    told = torch.tensor([int(value)], device=together.device)
    distributed.broadcast(told, src=0)
    return bool(told.item())


def in_any(value: bool, together: Processes) -> bool:
    """Return whether any process passed True, in every process."""
    if together.world == 1:
        return value
    told = torch.tensor([int(value)], device=together.device)
    distributed.all_reduce(told, op=distributed.ReduceOp.MAX)
    return bool(told.item())


class StopRequest:
    """Whether somebody asked to stop; `asked` is looked at between steps, so that no step is half done."""

    def __init__(self) -> None:
        self.asked = False

    def __bool__(self) -> bool:
        return self.asked


@contextlib.contextmanager
def stop_requests() -> Iterator[StopRequest]:
    """Turn the first Ctrl-C, or a scheduler's SIGTERM, into a request; a second Ctrl-C stops at once.

    Outside the main thread signals are left alone.
    """
    request = StopRequest()
    if threading.current_thread() is not threading.main_thread():
        yield request
        return

    def ask(number: int, frame: FrameType | None) -> None:
        if request.asked:
            raise KeyboardInterrupt
        request.asked = True

    before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield request
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
