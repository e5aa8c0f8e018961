"""What tells two models of the same name apart."""

from __future__ import annotations

import hashlib

import torch

from internvl.models.internvl import InternVLModel

VALUES_PER_TENSOR = 64


def fingerprint(model: InternVLModel) -> str:
    """Return a short hash of names, shapes and some values of all weights: training changes it."""
    digest = hashlib.sha256()
    tensors = model.state_dict()
    for name in sorted(tensors):
        value = tensors[name].detach()
        flat = value.reshape(-1)
        some = flat[:: max(1, flat.numel() // VALUES_PER_TENSOR)].contiguous().cpu()
        digest.update(f"{name} {tuple(value.shape)} {value.dtype}".encode())
        digest.update(some.view(torch.uint8).numpy().tobytes() if some.numel() else b"")
    return digest.hexdigest()[:16]
