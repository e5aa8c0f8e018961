"""A model in memory -> a checkpoint directory, in either layout.

The tables of `key_maps` are read backwards: each stored tensor is put together from the views of one of our
parameters, written, and dropped, so that saving needs hardly more memory than the largest parameter. A
directory appears under its name only when it is complete. Called by training, by `convert.py`, and by
whoever changed a model.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import torch
from torch import Tensor

from internvl.checkpoint.key_maps import KeyStyle, Link, links
from internvl.checkpoint.output import complete_directory, to_disk, write_json
from internvl.checkpoint.shards import DTYPES, INDEX_NAME, SINGLE_NAME
from internvl.checkpoint.transformers_files import picture_files
from internvl.checkpoint.write_config import TokenIds, config_json
from internvl.config.model import Layout, ModelConfig
from internvl.errors import CheckpointError
from internvl.nn.lora import has_lora

if TYPE_CHECKING:
    from internvl.models.internvl import InternVLModel

#: Released checkpoints are cut at this size; a hub takes it, and a broken download costs at most this.
MAX_SHARD_BYTES = 5 * 10**9

#: Layout -> the tensor names written: upstream's, and those of transformers >= 4.52.
KEY_STYLES: dict[Layout, KeyStyle] = {"github": "github", "hf": "hf"}

#: Gives a parameter of ours by name; asked once for each, in order.
GetParameter = Callable[[str], Tensor]

_DTYPE_NAMES = {dtype: name for name, dtype in DTYPES.items()}


@dataclass(frozen=True, slots=True)
class StoredTensor:
    """One tensor to write: its name, form, and the views of our parameter that make it up."""

    name: str
    dtype: torch.dtype
    shape: tuple[int, ...]
    parts: tuple[Link, ...]

    @property
    def size_bytes(self) -> int:
        """Bytes in the file."""
        return torch.Size(self.shape).numel() * self.dtype.itemsize


def save_model(
    model: InternVLModel,
    directory: str | Path,
    *,
    layout: Layout = "github",
    max_shard_bytes: int = MAX_SHARD_BYTES,
    tokenizer_from: str | Path | None = None,
    overwrite: bool = False,
) -> Path:
    """Write a model as a checkpoint directory; return it.

    Law: `load_model` of the result gives the same parameters, bit for bit, and the same config but for its
    layout.

    Args: model: on any device, of any dtype. directory: where to; its parents are made. layout: "github"
    (upstream's names) or "hf" (transformers'). max_shard_bytes: a file is closed before it exceeds this.
    tokenizer_from: a checkpoint directory whose tokenizer belongs to this model; its files are written
    beside the weights, in the form of `layout`, which makes the directory complete. overwrite: replace a
    directory that is there already.

    Raises:
        CheckpointError: the directory is there already, or the layout has no way to say what the model is, or it has
            adapters.
    """
    from internvl.checkpoint.tokenizer_export import read_source, write_tokenizer

    if has_lora(model):
        raise CheckpointError(
            "this model has adapters beside its weights: write them with save_adapter, or merge them first (merge_lora)"
        )
    parameters = dict(model.named_parameters())
    dtypes = {name: parameter.dtype for name, parameter in parameters.items()}
    tensors = plan_tensors(
        parameters, dtypes, links(shapes_of(parameters), model.config.text, KEY_STYLES[layout])
    )
    source = None if tokenizer_from is None else read_source(Path(tokenizer_from), model.config)
    ids = TokenIds(image=model.image_token_id) if source is None else source.ids
    with complete_directory(Path(directory), overwrite=overwrite) as target:
        write_weights(
            target, tensors, lambda name: parameters[name].detach(), max_shard_bytes=max_shard_bytes
        )
        write_config_files(target, model.config, layout, ids=ids, dtype=main_dtype(tensors))
        if source is not None:
            write_tokenizer(source, target, model.config, layout)
    return Path(directory)


def write_config_files(
    directory: Path, config: ModelConfig, layout: Layout, *, ids: TokenIds, dtype: str
) -> None:
    """Write config.json, and how pictures are prepared."""
    write_json(directory / "config.json", config_json(config, layout, ids=ids, dtype=dtype))
    for name, content in picture_files(config, layout).items():
        write_json(directory / name, content)


def shapes_of(parameters: Mapping[str, Tensor]) -> dict[str, torch.Size]:
    """Parameter name -> shape."""
    return {name: parameter.shape for name, parameter in parameters.items()}


def plan_tensors(
    parameters: Iterable[str], dtypes: Mapping[str, torch.dtype], table: Sequence[Link]
) -> list[StoredTensor]:
    """What will be written, in the order of our parameters.

    Every stored tensor is made of parts of one parameter, so that only that one has to be in memory.
    """
    by_name: dict[str, list[Link]] = {}
    for link in table:
        by_name.setdefault(link.stored, []).append(link)
    order = {name: number for number, name in enumerate(parameters)}
    tensors = [
        StoredTensor(name, dtypes[parts[0].ours], parts[0].shape, tuple(parts))
        for name, parts in by_name.items()
    ]
    assert all(len({part.ours for part in tensor.parts}) == 1 for tensor in tensors)
    return sorted(tensors, key=lambda tensor: order[tensor.parts[0].ours])


def write_weights(
    directory: Path,
    tensors: Sequence[StoredTensor],
    get: GetParameter,
    *,
    max_shard_bytes: int = MAX_SHARD_BYTES,
) -> None:
    """Write safetensors: one file, or shards with an index. One parameter is in memory at a time."""
    shards = _shards(tensors, max_shard_bytes)
    current: tuple[str, Tensor] = ("", torch.empty(0))
    weight_map: dict[str, str] = {}
    for number, shard in enumerate(shards, start=1):
        file = SINGLE_NAME if len(shards) == 1 else f"model-{number:05d}-of-{len(shards):05d}.safetensors"
        with (directory / file).open("wb") as out:
            out.write(_header(shard))
            for tensor in shard:
                ours = tensor.parts[0].ours
                if current[0] != ours:
                    current = (ours, get(ours).to("cpu"))
                _write_tensor(out, _assemble(tensor, current[1]))
            to_disk(out)
        weight_map |= dict.fromkeys((tensor.name for tensor in shard), file)
    if len(shards) > 1:
        total = sum(tensor.size_bytes for tensor in tensors)
        write_json(directory / INDEX_NAME, {"metadata": {"total_size": total}, "weight_map": weight_map})


def main_dtype(tensors: Sequence[StoredTensor]) -> str:
    """The dtype of most of the bytes, as config.json spells it."""
    sizes: dict[torch.dtype, int] = {}
    for tensor in tensors:
        sizes[tensor.dtype] = sizes.get(tensor.dtype, 0) + tensor.size_bytes
    return str(max(sizes, key=lambda dtype: sizes[dtype])).removeprefix("torch.")


def _shards(tensors: Sequence[StoredTensor], max_bytes: int) -> list[list[StoredTensor]]:
    """Tensors in order, cut before a file would exceed `max_bytes`; a larger tensor has a file to itself."""
    if max_bytes < 1:
        raise CheckpointError(f"max_shard_bytes is {max_bytes}; expected a positive number of bytes")
    shards: list[list[StoredTensor]] = [[]]
    filled = 0
    for tensor in tensors:
        if shards[-1] and filled + tensor.size_bytes > max_bytes:
            shards.append([])
            filled = 0
        shards[-1].append(tensor)
        filled += tensor.size_bytes
    return shards


def _header(tensors: Sequence[StoredTensor]) -> bytes:
    """The safetensors header: length, then JSON padded to 8 bytes, so that the data is aligned."""
    entries: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    end = 0
    for tensor in tensors:
        begin, end = end, end + tensor.size_bytes
        entries[tensor.name] = {
            "dtype": _DTYPE_NAMES[tensor.dtype],
            "shape": list(tensor.shape),
            "data_offsets": [begin, end],
        }
    text = json.dumps(entries, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text


def _assemble(tensor: StoredTensor, parameter: Tensor) -> Tensor:
    if len(tensor.parts) == 1:
        link = tensor.parts[0]
        return link.view(parameter).reshape(tensor.shape).contiguous()
    result = torch.empty(tensor.shape, dtype=tensor.dtype)
    for link in tensor.parts:
        link.stored_view(result).copy_(link.view(parameter))
    return result


def _write_tensor(out: BinaryIO, tensor: Tensor) -> None:
    if tensor.numel():
        out.write(tensor.view(-1).view(torch.uint8).numpy().data)
