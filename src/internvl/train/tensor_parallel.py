"""Tensor parallelism: each of `n` processes computes its share of every layer's heads and MLP columns.

Weights become DTensors by torch's own ColwiseParallel and RowwiseParallel (Megatron-LM's scheme, arXiv:1909.08053: one
all-reduce behind attention, one behind the MLP); embeddings, norms, projector and head stay whole. Our q, k, v and
gate, up share one weight each, so their rows are first put into the order in which a contiguous share holds the same
part of each; `restore_order` puts them back for export. Called by `train.parallel` and `train.setup`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor, nn

from internvl.config.model import ModelConfig
from internvl.errors import ConfigError
from internvl.models.internvl import InternVLModel
from internvl.models.vit import VisionAttention
from internvl.nn.attention import Attention
from internvl.nn.mlp import GatedMLP, GeluMLP

if TYPE_CHECKING:
    from torch.distributed.device_mesh import DeviceMesh
    from torch.distributed.tensor.parallel import ParallelStyle


class _Fused(NamedTuple):
    """A linear layer whose rows are several weights, one after the other."""

    name: str
    parts: tuple[int, ...]
    """Rows of each."""


def check_divides(config: ModelConfig, n: int) -> None:
    """Refuse a model that `n` processes cannot share out.

    Raises:
        ConfigError: What does not divide, or has no parallel form here.
    """
    text, vision = config.text, config.vision
    at = f"run.tensor_parallel = {n}"
    if text.attention_sinks or any(text.is_moe(layer) for layer in range(text.num_layers)):
        what = "attention sinks" if text.attention_sinks else "mixtures of experts"
        raise ConfigError(
            f"{at}: layers with {what} cannot be divided; leave it 1, FSDP shares their weights"
        )
    counts = {
        "attention heads of the decoder": text.num_heads,
        "key-value heads of the decoder": text.num_kv_heads,
        "MLP columns of the decoder": text.intermediate_size,
        "MLP columns of the vision tower": vision.intermediate_size,
    }
    if not vision.qk_norm:
        counts["attention heads of the vision tower"] = vision.num_heads
    for what, count in counts.items():
        if count % n:
            divisors = [m for m in range(2, count + 1) if all(each % m == 0 for each in counts.values())]
            can = f"possible here: {', '.join(map(str, (1, *divisors)))}"
            raise ConfigError(f"{at} does not divide the {count} {what}; {can}")


def divide(model: InternVLModel, mesh: DeviceMesh) -> None:
    """Give this process its share of every layer, over a mesh of one dimension; all processes call it together.

    A vision tower whose q and k are normalised over all heads together (6B) keeps its attention whole.
    """
    from torch.distributed.tensor.parallel import parallelize_module

    n = mesh.size()
    trained = {name: parameter.requires_grad for name, parameter in model.named_parameters()}
    modules = dict(model.named_modules())
    for fused in _fused(model):
        for parameter in modules[fused.name].parameters():
            parameter.data = parameter.data[_order(fused.parts, n).to(parameter.device)]
    for layer in (*model.decoder.layers, *model.vision.layers):
        parallelize_module(layer, mesh, _plan(layer))
        for module in layer.modules():
            _own_heads(module, n)
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(trained[name])  # torch's styles make new parameters, which are all trained


def restore_order(state: Mapping[str, Any], model: InternVLModel, n: int) -> dict[str, Tensor]:
    """Return whole weights of a model that `n` processes shared, in the order of one that was not.

    `model`: of the same shape, undivided.
    """
    restored = dict(state)
    for fused in _fused(model):
        inverse = _order(fused.parts, n).argsort()
        for name in (f"{fused.name}.weight", f"{fused.name}.bias"):
            if name in restored:
                restored[name] = restored[name][inverse.to(restored[name].device)]
    return restored


def _plan(layer: nn.Module) -> dict[str, ParallelStyle]:
    """How each part of a layer is shared out."""
    from torch.distributed.tensor.parallel import ColwiseParallel, RowwiseParallel, SequenceParallel

    attention, mlp = layer.get_submodule("attention"), layer.get_submodule("mlp")
    plan: dict[str, ParallelStyle] = {}
    if not (isinstance(attention, VisionAttention) and attention.q_norm is not None):
        plan |= {"attention.qkv": ColwiseParallel(), "attention.out": RowwiseParallel()}
        if isinstance(attention, Attention) and attention.q_norm is not None:
            # one weight for all heads (B, T, H, Dh), of which each process has some: gradients are added up
            norms = ("attention.q_norm", "attention.k_norm")
            plan |= {name: SequenceParallel(sequence_dim=2, use_local_output=True) for name in norms}
    if isinstance(mlp, GatedMLP):
        plan |= {"mlp.gate_up": ColwiseParallel(), "mlp.down": RowwiseParallel()}
    elif isinstance(mlp, GeluMLP):
        plan |= {"mlp.fc1": ColwiseParallel(), "mlp.fc2": RowwiseParallel()}
    return plan


def _own_heads(module: nn.Module, n: int) -> None:
    """Tell an attention that it has an n-th of its heads."""
    if isinstance(module, Attention):
        module.num_heads //= n
        module.num_kv_heads //= n
        query, key, value = (width // n for width in module.splits)
        module.splits = (query, key, value)
    elif isinstance(module, VisionAttention) and module.q_norm is None:
        module.num_heads //= n


def _fused(model: InternVLModel) -> Iterator[_Fused]:
    """The fused layers of a model that is not divided."""
    for name, module in model.named_modules():
        if isinstance(module, Attention):
            yield _Fused(f"{name}.qkv", module.splits)
        elif isinstance(module, VisionAttention) and module.q_norm is None:
            yield _Fused(f"{name}.qkv", (module.qkv.out_features // 3,) * 3)
        elif isinstance(module, GatedMLP):
            yield _Fused(f"{name}.gate_up", (module.gate_up.out_features // 2,) * 2)


def _order(parts: Sequence[int], n: int) -> Tensor:
    """Rows such that the r-th of n equal shares holds the r-th n-th of every part.

    >>> _order((4, 2), 2).tolist()
    [0, 1, 4, 2, 3, 5]
    """
    starts = torch.arange(sum(parts)).split(list(parts))
    shares = zip(*(rows.chunk(n) for rows in starts), strict=True)
    return torch.cat([part for share in shares for part in share])
