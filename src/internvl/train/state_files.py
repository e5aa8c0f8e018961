"""A tree of plain values and tensors <-> a directory of JSON and safetensors, cut into pieces; no pickle.

Leaves may be tensors, None, booleans, numbers and texts; branches dicts (keys: text or whole numbers), lists and
tuples. That is what optimizers, data sets and objectives give as their state.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from internvl.errors import CheckpointError

TREE_NAME = "state.json"


def save_tree(tree: Any, directory: Path, *, max_piece_bytes: int = 2**30) -> None:
    """Write `tree` into `directory`, which is made; every file stays below about `max_piece_bytes`.

    Raises:
        CheckpointError: A value is of a kind that cannot be written.
    """
    directory.mkdir(parents=True, exist_ok=True)
    tensors: list[Tensor] = []
    plain = _encode(tree, tensors, "state")
    piece: dict[str, Tensor] = {}
    filled, number = 0, 0
    for name, part in _parts(tensors, max_piece_bytes):
        size = part.numel() * part.itemsize
        if piece and filled + size > max_piece_bytes:
            _write_piece(directory, number, piece)
            piece, filled, number = {}, 0, number + 1
        piece[name] = part
        filled += size
    if piece:
        _write_piece(directory, number, piece)
    with (directory / TREE_NAME).open("w", encoding="utf-8") as file:
        json.dump(plain, file)
        file.flush()
        os.fsync(file.fileno())


def load_tree(directory: Path) -> Any:
    """Read what `save_tree` wrote; tensors are on the CPU.

    Raises:
        CheckpointError: Files are missing or damaged.
    """
    try:
        plain = json.loads((directory / TREE_NAME).read_text(encoding="utf-8"))
        parts: dict[str, Tensor] = {}
        for file in sorted(directory.glob("tensors-*.safetensors")):
            with safe_open(file, framework="pt") as stored:
                for name in stored.keys():  # noqa: SIM118 (no mapping)
                    parts[name] = stored.get_tensor(name)
        return _decode(plain, parts)
    except (OSError, ValueError, KeyError) as error:
        raise CheckpointError(
            f"{directory} is no complete training checkpoint ({error}); resume from an older one, or start anew"
        ) from error


def _encode(value: Any, tensors: list[Tensor], where: str) -> Any:
    if isinstance(value, Tensor):
        tensors.append(value.detach())
        return {"tensor": len(tensors) - 1, "shape": list(value.shape)}
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, Mapping):
        if not all(isinstance(key, str | int) for key in value):
            raise CheckpointError(f"{where} has keys that are neither texts nor whole numbers")
        return {"dict": [[key, _encode(item, tensors, f"{where}.{key}")] for key, item in value.items()]}
    if isinstance(value, list | tuple):
        items = [_encode(item, tensors, f"{where}[{number}]") for number, item in enumerate(value)]
        return {"tuple": items} if isinstance(value, tuple) else items
    raise CheckpointError(
        f"{where} is a {type(value).__name__}; a training state holds tensors, numbers, texts, lists and dicts"
    )


def _decode(value: Any, parts: Mapping[str, Tensor]) -> Any:
    if isinstance(value, list):
        return [_decode(item, parts) for item in value]
    if not isinstance(value, dict):
        return value
    if "tensor" in value:
        found, number = [], 0
        while (name := f"{value['tensor']}.{number}") in parts:
            found.append(parts[name])
            number += 1
        if not found:
            raise KeyError(f"tensor {value['tensor']} is missing")
        return (torch.cat(found) if len(found) > 1 else found[0]).view(value["shape"])
    if "tuple" in value:
        return tuple(_decode(item, parts) for item in value["tuple"])
    return {key: _decode(item, parts) for key, item in value["dict"]}


def _parts(tensors: list[Tensor], max_bytes: int) -> Iterator[tuple[str, Tensor]]:
    """Flat pieces of every tensor, named `<number>.<piece>`; each with memory of its own, as the format wants."""
    for number, tensor in enumerate(tensors):
        flat = tensor.cpu().contiguous().view(-1)
        step = max(1, max_bytes // max(tensor.itemsize, 1))
        for piece, start in enumerate(range(0, max(flat.numel(), 1), step)):
            yield f"{number}.{piece}", flat[start : start + step].clone()


def _write_piece(directory: Path, number: int, piece: dict[str, Tensor]) -> None:
    path = directory / f"tensors-{number:05d}.safetensors"
    save_file(piece, path)
    with path.open("rb") as file:
        os.fsync(file.fileno())
