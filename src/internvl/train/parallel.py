"""Several processes that train one model: torchrun starts them, FSDP2 shares out the weights among them.

With tensor parallelism the ranks form groups that compute one batch together (`train.tensor_parallel`); FSDP then
shares out weights, and data, over the groups. One process alone needs none of it, and every function here then does
nothing. Legend: a rank is one process.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

import torch
import torch.distributed as dist
from torch import Tensor, nn

from internvl.errors import ConfigError
from internvl.train.config import Precision
from internvl.train.objectives import TokenLoss
from internvl.train.tensor_parallel import divide


@dataclass(frozen=True, slots=True)
class Ranks:
    """This process among all that train."""

    rank: int = 0
    size: int = 1
    device: torch.device = torch.device("cpu")
    tensor: int = 1
    """Neighbouring ranks that compute one batch together, each its share of every layer."""

    @property
    def data_rank(self) -> int:
        """Which part of the data this one reads; the same for all ranks of a group."""
        return self.rank // self.tensor

    @property
    def data_size(self) -> int:
        """How many parts the data has."""
        return self.size // self.tensor

    @property
    def is_first(self) -> bool:
        """Whether this one writes logs and files."""
        return self.rank == 0


@contextmanager
def ranks(device: str = "auto") -> Iterator[Ranks]:
    """Join the processes that torchrun started (RANK, LOCAL_RANK, WORLD_SIZE); alone without it.

    Raises:
        ConfigError: `device` asks for CUDA where there is none.
    """
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    if device.startswith("cuda") and not torch.cuda.is_available():
        raise ConfigError(f"run.device is {device!r}, but torch sees no CUDA device; set run.device=cpu")
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if size == 1:
        yield Ranks(device=torch.device(device))
        return
    rank, local = int(os.environ["RANK"]), int(os.environ.get("LOCAL_RANK", "0"))
    mine = torch.device("cuda", local) if device.startswith("cuda") else torch.device("cpu")
    if mine.type == "cuda":
        torch.cuda.set_device(mine)
    dist.init_process_group("nccl" if mine.type == "cuda" else "gloo")
    try:
        yield Ranks(rank, size, mine)
        dist.barrier()  # who leaves first takes the connections from under the others' threads
    finally:
        dist.destroy_process_group()


def grouped(where: Ranks, tensor: int) -> Ranks:
    """Return the ranks as groups of `tensor`.

    Raises:
        ConfigError: There are not as many, or no multiple of it.
    """
    if where.size % tensor:
        raise ConfigError(
            f"run.tensor_parallel = {tensor} needs a multiple of {tensor} processes; there are {where.size}. "
            f"torchrun --nproc-per-node {tensor} -m internvl train ... starts them"
        )
    return replace(where, tensor=tensor)


def wait_for_all(where: Ranks) -> None:
    """Go on when every process has come here; alone: at once."""
    if where.size > 1:
        dist.barrier()


def leave(where: Ranks, code: int = 0) -> None:
    """End one of several processes at once with an exit code, all work done and written; alone: nothing.

    Gloo's threads that a device mesh still holds are now and then not joined when the interpreter is taken down, which
    then aborts ("terminate called without an active exception") after everything has gone well.
    """
    if where.size > 1:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def shard(losses: TokenLoss, where: Ranks, precision: Precision) -> None:
    """Give each rank its share of every weight, layer by layer (FSDP2 over groups, DTensor within); alone: nothing.

    Gradients are reduced in float32. Frozen vision towers are shared out too, so every rank must run every layer in
    every pass: `TokenLoss.needs_tile`.
    """
    if where.size == 1:
        return
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard

    sizes = (where.data_size, where.tensor)
    meshes = init_device_mesh(where.device.type, sizes, mesh_dim_names=("data", "tensor"))
    mesh = meshes["data"]
    policy = MixedPrecisionPolicy()
    if precision == "bf16":
        policy = MixedPrecisionPolicy(param_dtype=torch.bfloat16, reduce_dtype=torch.float32)
    model = losses.model
    if where.tensor > 1:
        divide(model, meshes["tensor"])
    for layer in (*model.vision.layers, *model.decoder.layers):
        fully_shard(layer, mesh=mesh, mp_policy=policy)
    fully_shard(losses, mesh=mesh, mp_policy=policy)
    losses.needs_tile = True


def last_of_step(losses: nn.Module, last: bool) -> None:
    """Say whether the next backward pass is the last before the update: only then are gradients exchanged."""
    exchange = getattr(losses, "set_requires_gradient_sync", None)
    if callable(exchange):  # sharded
        exchange(last)


def sum_over_ranks(values: Mapping[str, Tensor], where: Ranks) -> dict[str, float]:
    """Add up named numbers of all parts of the data; all ranks must give the same names."""
    if not values:
        return {}
    names = sorted(values)
    total = torch.stack([values[name].detach().double().to(where.device) for name in names])
    if where.size > 1:
        dist.all_reduce(total)
        total /= where.tensor  # the ranks of a group have all counted the same
    return dict(zip(names, total.tolist(), strict=True))


def clip_gradients(parameters: Sequence[nn.Parameter], largest: float) -> float:
    """Scale all gradients down to a norm of `largest` together; return the norm that they had."""
    by_mesh: dict[object, list[nn.Parameter]] = {}
    for parameter in parameters:
        if parameter.grad is not None:
            by_mesh.setdefault(getattr(parameter, "device_mesh", None), []).append(parameter)
    if len(by_mesh) <= 1:
        return float(whole(nn.utils.clip_grad_norm_(parameters, largest)))
    # divided weights lie on another mesh than the others, and torch adds up norms within one mesh only
    norms = [
        whole(nn.utils.get_total_norm([p.grad for p in group if p.grad is not None]))
        for group in by_mesh.values()
    ]
    norm = torch.linalg.vector_norm(torch.stack(norms))
    for group in by_mesh.values():
        nn.utils.clip_grads_with_norm_(group, largest, norm)
    return float(norm)


def whole(tensor: Tensor) -> Tensor:
    """The full tensor of a share (all ranks must ask together); any other as it is."""
    gather = getattr(tensor, "full_tensor", None)
    return tensor if gather is None else gather()
