"""Texts and pictures -> pooled features, by the engine's model and beside its answers.

Legend: `T` tokens, `N` tiles, `K` image tokens per tile, `P` patches per tile, `D` language model width, `C`
vision tower width.
"""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor

import torch
from torch import Tensor

from internvl.engine.engine import Engine
from internvl.errors import RequestError
from internvl.server.schemas.embeddings import Pooling
from internvl.types import ModelInputs


class Features:
    """Computes one input at a time, in a thread of its own."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="internvl-features")

    def close(self) -> None:
        """End the thread."""
        self._thread.shutdown(wait=False, cancel_futures=True)

    async def of(self, inputs: ModelInputs, pooling: Pooling, *, normalize: bool) -> Tensor:
        """Return the features of one input, (D,) or for "vision" (C,), float32.

        Args:
            inputs: Ids, and the tiles of their image tokens.
            pooling: As `schemas.embeddings.EmbeddingRequest` says.
            normalize: Give the vector the length 1.

        Raises:
            RequestError: "vision" of an input without pictures.
        """
        loop = asyncio.get_running_loop()
        pooled = await loop.run_in_executor(self._thread, self._pool, inputs, pooling)
        return torch.nn.functional.normalize(pooled, dim=0) if normalize else pooled

    @torch.inference_mode()
    def _pool(self, inputs: ModelInputs, pooling: Pooling) -> Tensor:
        model, tiles = self._engine.model, inputs.pixel_values
        if tiles is not None:
            tiles = tiles.to(model.device, model.dtype)
        if pooling == "vision":
            if tiles is None:
                raise RequestError("pooling 'vision' is about pictures; this input has none. Use 'mean'")
            return model.vision_features(tiles).flatten(0, 1).float().mean(dim=0).cpu()  # (N, P, C) -> (C,)
        image_embeds = None if tiles is None else model.image_embeds(tiles)  # (N, K, D)
        embeds = model.merge(inputs.input_ids[None], image_embeds)  # (1, T, D)
        of_pictures = inputs.input_ids == model.image_token_id  # (T,)
        own = of_pictures if tiles is not None else torch.ones_like(of_pictures)
        states = embeds if pooling == "projected" else model.decoder(embeds)
        if pooling == "last":
            return states[0, -1].float().cpu()
        return states[0][own.to(states.device)].float().mean(dim=0).cpu()
