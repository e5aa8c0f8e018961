"""Scheduled work -> tensors -> logits: the only part of the engine that calls the decoder.

Legend: `S` tokens of a step, packed; `D` width, `V` vocabulary.
"""

from __future__ import annotations

import time
from bisect import bisect_left
from collections.abc import Sequence

import torch
from torch import Tensor

from internvl.engine.adapters import Adapters
from internvl.engine.encoder import PictureEncoder
from internvl.engine.feature_cache import FeatureCache
from internvl.engine.scheduler import Chunk
from internvl.engine.stats import Counters
from internvl.models.internvl import InternVLModel
from internvl.nn.kv_cache import KVCache


class Runner:
    """Holds the model, the keys and values, and the pictures' features. One thread."""

    def __init__(
        self,
        model: InternVLModel,
        *,
        num_blocks: int,
        block_size: int,
        num_rows: int,
        vision_cache_bytes: int,
        counters: Counters,
        adapters: Adapters | None = None,
    ) -> None:
        self._model = model
        self._counters = counters
        self._adapters = adapters or Adapters(model, {})
        self.features = FeatureCache(vision_cache_bytes)
        self.pictures = PictureEncoder(model, self.features, counters, self._adapters)
        self._kv_cache = KVCache.paged(
            model.config.text,
            num_blocks=num_blocks,
            block_size=block_size,
            num_rows=num_rows,
            dtype=model.dtype,
            device=model.device,
        )

    def compute(self, chunks: Sequence[Chunk]) -> Tensor:
        """Compute chunks of several generations together.

        Returns the logits (n, V) after those among the chunks that are their generation's last, in order.
        """
        started = time.perf_counter()
        for chunk in chunks:
            self._open_row(chunk)
        num_new = [chunk.end - chunk.start for chunk in chunks]
        names = [chunk.generation.request.adapter for chunk in chunks]
        with self._adapters.active(list(zip(names, num_new, strict=True))):
            hidden_states = self._model.decoder(
                self._embed(chunks),
                kv_cache=self._kv_cache,
                rows=[chunk.generation.row for chunk in chunks],
                num_new=num_new,
            )  # (1, S, D)
        ends, end = [], 0
        for chunk in chunks:
            end += chunk.end - chunk.start
            if chunk.last:
                ends.append(end - 1)
        last = hidden_states[0] if len(ends) == end else hidden_states[0, ends]
        with self._adapters.active([(chunk.generation.request.adapter, 1) for chunk in chunks if chunk.last]):
            logits = self._model.decoder.lm_head(last)  # (n, V)
        self._counters.model_s += time.perf_counter() - started
        return logits

    def _open_row(self, chunk: Chunk) -> None:
        """Let the cache know where a generation's tokens are; they may have moved since its last chunk."""
        generation = chunk.generation
        row = self._kv_cache.rows[generation.row]
        if row.blocks is not generation.blocks or row.length != chunk.start:
            prompt_length = len(generation.prompt_ids)
            self._kv_cache.open(
                generation.row, generation.blocks, length=chunk.start, prompt_length=prompt_length
            )

    def _embed(self, chunks: Sequence[Chunk]) -> Tensor:
        """Return the embeddings (1, S, D) of the chunks' tokens, one chunk after the other."""
        ids: list[int] = []
        places: list[int] = []
        features: list[Tensor] = []
        for chunk in chunks:
            _find_features(chunk, len(ids) - chunk.start, places, features)
            ids += chunk.generation.token_ids(chunk.start, chunk.end)
        embeds = self._model.text_embeds(torch.tensor([ids]))
        if places:
            embeds[0, torch.tensor(places, device=embeds.device)] = torch.cat(features).to(embeds)
        return embeds


def _find_features(chunk: Chunk, shift: int, places: list[int], features: list[Tensor]) -> None:
    """Append the places of a chunk's image tokens, shifted, and the features (m, D) that belong there."""
    request = chunk.generation.request
    positions = request.image_positions
    first, last = bisect_left(positions, chunk.start), bisect_left(positions, chunk.end)
    places += [position + shift for position in positions[first:last]]
    for placed in request.pictures:
        start, stop = max(first, placed.rank), min(last, placed.rank + placed.num_tokens)
        if start < stop:
            assert placed.picture.features is not None, "a picture is needed before it was encoded"
            features.append(placed.picture.features[start - placed.rank : stop - placed.rank])
