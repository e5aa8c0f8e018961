"""Any checkpoint -> a complete directory in the layout that was asked for.

Tensors go through one by one: stored names of the source -> our parameter -> stored names of the target,
both by the tables of `key_maps`, so that a round trip gives back every byte. Called by `internvl convert`
and `benchmarks`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, fields, is_dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from internvl.checkpoint.adapters import StoredNames, unwrap_names
from internvl.checkpoint.adapters_peft import read_adapter
from internvl.checkpoint.hf_config import read_model_config
from internvl.checkpoint.hub import resolve
from internvl.checkpoint.key_maps import Link, detect_key_style, links
from internvl.checkpoint.load import (
    check,
    copy_part,
    parameter_shapes,
    resolve_dtype,
    with_stored_head,
)
from internvl.checkpoint.output import complete_directory
from internvl.checkpoint.save import (
    KEY_STYLES,
    MAX_SHARD_BYTES,
    main_dtype,
    plan_tensors,
    write_config_files,
    write_weights,
)
from internvl.checkpoint.shards import Shards, open_shards, refuse_links_outside
from internvl.checkpoint.tokenizer_export import read_source, write_tokenizer
from internvl.checkpoint.write_config import differences_in_transformers
from internvl.config.model import Layout, ModelConfig
from internvl.errors import CheckpointError, ConfigError
from internvl.models.internvl import InternVLModel


@dataclass(frozen=True, slots=True, kw_only=True)
class Conversion:
    """What was written."""

    directory: Path
    layout: Layout
    config: ModelConfig
    """As it reads back from the new directory."""
    num_tensors: int
    size_bytes: int
    notes: list[str] = field(default_factory=list)
    """What the user should know, a sentence each."""


def convert(
    source: str | Path,
    target: str | Path,
    *,
    layout: Layout,
    max_shard_bytes: int = MAX_SHARD_BYTES,
    revision: str | None = None,
    adapter: str | Path | None = None,
    overwrite: bool = False,
    on_bytes: Callable[[int, int], None] | None = None,
) -> Conversion:
    """Rewrite a checkpoint in another layout (or the same one, which reshards it and merges LoRA weights).

    Args:
        source: a directory in any layout, a hub id, or "nano".
        target: where to; its parents are made.
        layout: "github" (upstream's names) or "hf" (transformers').
        max_shard_bytes: a weight file is closed before it exceeds this.
        revision: of a hub id.
        adapter: a directory or hub id with a LoRA in PEFT's files, which is merged into the weights.
        overwrite: replace a directory that is there already.
        on_bytes: told (bytes done, bytes in all) while tensors are written.

    Raises:
        CheckpointError: the source is incomplete or unsafe, or the layout cannot hold it.
    """
    if layout not in KEY_STYLES:
        raise ConfigError(f"layout {layout!r} is unknown; expected {' or '.join(KEY_STYLES)}")
    origin, directory = resolve(source, revision=revision), Path(target)
    if directory.exists() and directory.resolve() == origin.resolve():
        raise CheckpointError(f"{directory} is the source itself; name another target")
    refuse_links_outside(origin)
    config = read_model_config(origin)
    files = read_source(origin, config)
    with open_shards(origin) as shards:
        names = unwrap_names(shards)
        config = with_stored_head(config, names)
        with torch.device("meta"):
            model = InternVLModel(config, image_token_id=files.ids.image)
        added = None if adapter is None else read_adapter(model, adapter)
        shapes = parameter_shapes(model)
        if added is not None and "decoder.lm_head" in added.layers and config.text.tie_embeddings:
            raise CheckpointError(
                f"{adapter} adapts lm_head, which this model shares with its input embeddings: load it beside the "
                "model (EngineConfig.adapters) instead of merging it"
            )
        style, fused = detect_key_style(names.stored), _has_fused_experts(names)
        parameters = _Parameters(
            links(shapes, config.text, style, fused_experts=fused), shapes, shards, names
        )
        check(parameters.wanted, shards, names, str(origin))
        tensors = plan_tensors(shapes, parameters.dtypes, links(shapes, config.text, KEY_STYLES[layout]))
        total = sum(tensor.size_bytes for tensor in tensors)
        done = 0

        def get(ours: str) -> Tensor:
            nonlocal done
            parameter = parameters.read(ours)
            if added is not None:
                parameter = added.merged(ours, parameter)
            done += parameter.numel() * parameter.element_size()
            if on_bytes is not None:
                on_bytes(done, total)
            return parameter

        with complete_directory(directory, overwrite=overwrite) as partial:
            write_weights(partial, tensors, get, max_shard_bytes=max_shard_bytes)
            write_tokenizer(files, partial, config, layout)
            write_config_files(partial, config, layout, ids=files.ids, dtype=main_dtype(tensors))
            written = read_model_config(partial)
            _require_same(config, written, layout)
    notes = _notes(config, layout, names)
    if added is not None:
        notes.insert(0, f"the adapter {adapter} was merged into {len(added.layers)} weights")
    return Conversion(
        directory=directory,
        layout=layout,
        config=written,
        num_tensors=len(tensors),
        size_bytes=total,
        notes=notes,
    )


class _Parameters:
    """Our parameters, read from the source's files when they are asked for."""

    def __init__(
        self, wanted: list[Link], shapes: dict[str, torch.Size], shards: Shards, names: StoredNames
    ) -> None:
        self.wanted = wanted
        self._shapes = shapes
        self._shards = shards
        self._names = names
        self._parts: dict[str, list[Link]] = {}
        for link in wanted:
            self._parts.setdefault(link.ours, []).append(link)

    @property
    def dtypes(self) -> dict[str, torch.dtype]:
        """Our names -> the dtype of the tensors that make them up."""
        return {ours: self._dtype(ours) for ours in self._parts}

    def _dtype(self, ours: str) -> torch.dtype:
        found = {
            link.stored: self._shards.infos[self._names.stored[link.stored]].dtype
            for link in self._parts[ours]
            if link.stored not in self._names.packed
        }
        if not found:  # packed weights are unpacked to what the others are stored in
            return resolve_dtype("auto", self.wanted, self._shards, self._names, torch.device("cpu"))
        if len(set(found.values())) > 1:
            kinds = ", ".join(f"{name} is {dtype}" for name, dtype in found.items())
            raise CheckpointError(f"tensors that belong together differ in dtype: {kinds}. Store them alike")
        return next(iter(found.values()))

    def read(self, ours: str) -> Tensor:
        """One parameter, copied out of the files, whose memory is given back."""
        parameter = torch.empty(self._shapes[ours], dtype=self._dtype(ours))
        for link in self._parts[ours]:
            copy_part(link, parameter, self._shards, self._names)
        return parameter


def _has_fused_experts(names: StoredNames) -> bool:
    return any(name.endswith(".mlp.experts.gate_up_proj") for name in names.stored)


def _require_same(config: ModelConfig, written: ModelConfig, layout: Layout) -> None:
    """Better no directory than one that describes another model."""
    lost = list(_differences(replace(config, layout=layout), written, "config"))
    if lost:
        raise CheckpointError(
            f"the {layout} layout has no way to say {'; '.join(lost)}. Keep this checkpoint in its present layout"
        )


def _differences(one: Any, other: Any, path: str) -> Iterator[str]:
    """The fields, by their path, in which two descriptions differ."""
    if is_dataclass(one) and type(one) is type(other):
        for part in fields(one):
            yield from _differences(getattr(one, part.name), getattr(other, part.name), f"{path}.{part.name}")
    elif one != other:
        yield f"{path} = {one!r} (it would read back as {other!r})"


def _notes(config: ModelConfig, layout: Layout, names: StoredNames) -> list[str]:
    notes = []
    if names.pairs:
        notes.append(f"{len(names.pairs)} LoRA pairs were merged into their weights")
    if names.packed:
        notes.append(
            f"{len(names.packed)} packed (mxfp4) weights were unpacked; the way back does not pack them"
        )
    return notes + (differences_in_transformers(config) if layout == "hf" else [])
