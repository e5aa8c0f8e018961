"""Texts and pictures -> pooled features, by the engine's model and beside its answers.

Legend: `T` tokens, `N` tiles, `K` image tokens per tile, `P` patches per tile, `D` language model width, `C`
vision tower width.
"""

from __future__ import annotations

import threading

import torch
from torch import Tensor

from internvl.engine.engine import Engine
from internvl.errors import RequestError
from internvl.server.schemas.embeddings import Pooling
from internvl.types import ModelInputs


class Features:
    """Computes one input at a time; may be called from any thread."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._lock = threading.Lock()

    def of(self, inputs: ModelInputs, pooling: Pooling, *, normalize: bool) -> Tensor:
        """Return the features of one input, (D,) or for "vision" (C,), float32.

        Args:
            inputs: Ids, and the tiles of their image tokens.
            pooling: As `schemas.embeddings.EmbeddingRequest` says.
            normalize: Give the vector the length 1.

        Raises:
            RequestError: "vision" of an input without pictures.
        """
        with self._lock, torch.inference_mode():
            pooled = self._pool(inputs, pooling).float().cpu()
        return torch.nn.functional.normalize(pooled, dim=0) if normalize else pooled

    def _pool(self, inputs: ModelInputs, pooling: Pooling) -> Tensor:
        model, tiles = self._engine.model, inputs.pixel_values
        if tiles is not None:
            tiles = tiles.to(model.device, model.dtype)
        if pooling == "vision":
            if tiles is None:
                raise RequestError("pooling 'vision' is about pictures; this input has none. Use 'mean'")
            return model.vision_features(tiles).flatten(0, 1).mean(dim=0)  # (N, P, C) -> (C,)
        image_embeds = None if tiles is None else model.image_embeds(tiles)  # (N, K, D)
        embeds = model.merge(inputs.input_ids[None], image_embeds)  # (1, T, D)
        of_pictures = inputs.input_ids == model.image_token_id  # (T,)
        own = of_pictures if tiles is not None else torch.ones_like(of_pictures)
        states = embeds if pooling == "projected" else model.decoder(embeds)
        if pooling == "last":
            return states[0, -1]
        return states[0][own.to(states.device)].mean(dim=0)
