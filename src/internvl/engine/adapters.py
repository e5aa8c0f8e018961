"""Several LoRA adapters beside one model: each token of a step gets its own request's.

The model's layers stay what they are, plain, packed or quantised; hooks behind them add what the adapters of the
rows at hand say, so that requests with different adapters, and with none, are computed in one step.

Legend: `S` rows (tokens) of a call, `s` those of one adapter, `K` inputs, `N` outputs of a layer, `n` of a part,
`R` ranks of all parts together.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from internvl.checkpoint.adapters_peft import Adapter, read_adapter
from internvl.errors import ConfigError, RequestError
from internvl.models.internvl import InternVLModel
from internvl.nn.lora_linear import LoraPart

#: Columns of a weight that are looked at together where a layer keeps it packed.
COLUMNS_AT_ONCE = 1024

#: Rows of a call that have one adapter: places, or all from one to another.
Rows = slice | Tensor


@dataclass(frozen=True, slots=True)
class ServedPart:
    """Some outputs of a layer under one adapter."""

    start: int
    stop: int
    b: Tensor
    """(n, r), with the adapter's scale in it."""
    gain: Tensor | None
    """(n,) for DoRA: the magnitude over the length of the merged weight."""


@dataclass(frozen=True, slots=True)
class ServedLayer:
    """One layer under one adapter."""

    a: Tensor
    """(R, K), of all parts."""
    parts: tuple[ServedPart, ...]
    bias: Tensor | None
    """(N,) of the layer itself: DoRA does not scale it."""

    def add(self, x: Tensor, out: Tensor, rows: Rows) -> None:
        """Change `out` (S, N), which a layer made of `x` (S, K), in these rows."""
        inner = F.linear(x[rows], self.a)  # (s, R)
        ranks = [part.b.shape[1] for part in self.parts]
        for part, low in zip(self.parts, inner.split(ranks, dim=-1), strict=True):
            piece = out[rows, part.start : part.stop]
            delta = F.linear(low, part.b)  # (s, n)
            if part.gain is not None:
                product = piece if self.bias is None else piece - self.bias[part.start : part.stop]
                delta = (part.gain - 1) * product + part.gain * delta
            out[rows, part.start : part.stop] = piece + delta


class Adapters:
    """All adapters of one engine, by name. `active` says whose rows a call computes; the engine's thread only."""

    #: A number of rows that is all there are.
    ALL = -1

    def __init__(self, model: InternVLModel, sources: Mapping[str, str | Path]) -> None:
        """Read the adapters (directories or hub ids) and hang them behind the model's layers, until `close`.

        Raises:
            CheckpointError: An adapter's files do not fit the model.
            ConfigError: An adapter brings whole layers, which cannot be switched by the request.
        """
        self._here = threading.local()  # another thread may compute with the same model
        self._layers: dict[str, dict[str, ServedLayer]] = {}
        self._sees: set[str] = set()
        self.names = tuple(sources)
        handles: list[RemovableHandle] = []
        if sources:
            with torch.device("meta"):  # names and shapes, whatever the layers were packed into
                plain = InternVLModel(model.config, image_token_id=model.image_token_id)
            for name, source in sources.items():
                adapter = read_adapter(plain, source)
                if adapter.whole:
                    raise ConfigError(
                        f"the adapter {name!r} brings whole layers ({next(iter(adapter.whole))}, ...), which are not "
                        "switched by the request; merge it into a checkpoint: internvl convert --adapter"
                    )
                self._take(name, adapter, model)
        for layer, served in self._layers.items():
            module = model.get_submodule(layer)
            handles.append(module.register_forward_hook(self._hook(served)))
        self._handles = handles

    def check(self, name: str | None) -> None:
        """Raise RequestError unless this is one of the adapters, or None."""
        if name is not None and name not in self.names:
            known = (
                f"this engine's adapters are: {', '.join(self.names)}"
                if self.names
                else "this engine has none"
            )
            raise RequestError(f"no adapter {name!r}; {known} (EngineConfig.adapters)")

    def sees(self, name: str | None) -> bool:
        """Whether pictures look different under this adapter: it changes the vision tower or the projector."""
        return name in self._sees

    @contextmanager
    def active(self, runs: Sequence[tuple[str | None, int]]) -> Iterator[None]:
        """Calls in this block have rows of these adapters, so many of each, one run after the other."""
        if not self._layers or not any(name for name, _ in runs):
            yield
            return
        before = getattr(self._here, "rows", None)
        self._here.rows = _by_adapter(runs)
        try:
            yield
        finally:
            self._here.rows = before

    def close(self) -> None:
        """Leave the model as it was."""
        for handle in self._handles:
            handle.remove()

    def _take(self, name: str, adapter: Adapter, model: InternVLModel) -> None:
        for layer, parts in adapter.layers.items():
            served = _served(model.get_submodule(layer), list(parts.values()), model)
            self._layers.setdefault(layer, {})[name] = served
            if not layer.startswith("decoder."):
                self._sees.add(name)

    def _hook(self, served: Mapping[str, ServedLayer]):  # noqa: ANN202
        def add(module: nn.Module, args: tuple[Tensor, ...], out: Tensor) -> Tensor | None:
            rows_of: dict[str, Rows] | None = getattr(self._here, "rows", None)
            here = [] if rows_of is None else [name for name in rows_of if name in served]
            if rows_of is None or not here:
                return None
            x = args[0].reshape(-1, args[0].shape[-1])
            flat = out.reshape(-1, out.shape[-1])  # (S, N)
            for name in here:
                served[name].add(x, flat, rows_of[name])
            return flat.view(out.shape)

        return add


def _by_adapter(runs: Sequence[tuple[str | None, int]]) -> dict[str, Rows]:
    """Return the rows of each adapter; one run after the other where that is possible, as slices copy nothing."""
    spans: dict[str, list[tuple[int, int]]] = {}
    start = 0
    for name, count in runs:
        if count == Adapters.ALL:
            return {} if name is None else {name: slice(None)}
        if name is not None:
            before = spans.setdefault(name, [])
            if before and before[-1][1] == start:
                before[-1] = (before[-1][0], start + count)
            else:
                before.append((start, start + count))
        start += count
    return {
        name: slice(*found[0]) if len(found) == 1 else torch.cat([torch.arange(*span) for span in found])
        for name, found in spans.items()
    }


@torch.inference_mode()
def _served(module: nn.Module, parts: list[LoraPart], model: InternVLModel) -> ServedLayer:
    """Return a layer's adapter in the model's dtype, on its device."""
    parts = sorted((part.to(model.device) for part in parts), key=lambda part: part.start)
    bias: Tensor | None = getattr(module, "bias", None)
    gains = _gains(module, parts, model) if any(part.magnitude is not None for part in parts) else {}

    def cast(tensor: Tensor) -> Tensor:
        return tensor.detach().to(dtype=model.dtype)

    return ServedLayer(
        a=cast(torch.cat([part.lora_a for part in parts])),
        parts=tuple(
            ServedPart(
                part.start,
                part.stop,
                cast(part.lora_b * part.scale),
                cast(gains[part.start]) if part.start in gains else None,
            )
            for part in parts
        ),
        bias=None if bias is None else cast(bias),
    )


def _gains(module: nn.Module, parts: Sequence[LoraPart], model: InternVLModel) -> dict[int, Tensor]:
    """Return DoRA's factors (n,) by the parts' starts.

    They need the weight, which a packed layer does not show: unit vectors are sent through it, a few at a time.
    """
    K = parts[0].lora_a.shape[1]
    bias: Tensor | None = getattr(module, "bias", None)
    squares: dict[int, Tensor] = {}
    for first in range(0, K, COLUMNS_AT_ONCE):
        columns = torch.arange(first, min(first + COLUMNS_AT_ONCE, K), device=model.device)
        out = module(F.one_hot(columns, K).to(model.dtype)).float()  # (columns, N)
        weight = (out if bias is None else out - bias.float()).T  # (N, columns)
        for part in parts:
            delta = part.lora_b @ part.lora_a[:, columns] * part.scale
            square = (weight[part.start : part.stop] + delta).square().sum(dim=1)
            squares[part.start] = squares.get(part.start, 0) + square
    return {
        part.start: part.magnitude / squares[part.start].sqrt()
        for part in parts
        if part.magnitude is not None
    }
