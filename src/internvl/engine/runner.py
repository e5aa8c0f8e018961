"""Scheduled work -> tensors -> logits: the only part of the engine that calls the model.

Legend: `B` generations, `T` tokens, `N` tiles, `n` tiles of one picture, `K` image tokens per tile, `D`
width, `V` vocabulary.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

import torch
from torch import Tensor

from internvl.engine.feature_cache import FeatureCache
from internvl.engine.request import Generation, Request
from internvl.engine.scheduler import Prefill
from internvl.errors import InternVLError, RequestError
from internvl.models.internvl import CPU_PATCHES, InternVLModel
from internvl.nn.kv_cache import KVCache
from internvl.types import MediaUsage, ModelInputs

#: Tiles in one call of the vision tower on a GPU.
GPU_TILES = 16


class Interrupted(InternVLError):
    """The request was aborted while its pictures were encoded, which may take seconds."""


class Runner:
    """Holds the model, the key-value rows and the pictures' features. One thread."""

    def __init__(
        self,
        model: InternVLModel,
        *,
        num_rows: int,
        max_length: int,
        vision_batch_size: int | None = None,
        vision_cache_bytes: int = 0,
    ) -> None:
        self._model = model
        self._vision_batch_size = vision_batch_size or _tiles_per_call(model)
        self.features = FeatureCache(vision_cache_bytes)
        self._kv_cache = KVCache.allocate(
            model.config.text,
            batch_size=num_rows,
            max_length=max_length,
            dtype=model.dtype,
            device=model.device,
        )
        self._prompts: dict[Generation, Tensor] = {}

    def prefill(self, step: Prefill) -> Tensor | None:
        """Compute one chunk of a prompt; return the logits (V,) after its last token, None before that."""
        generation = step.generation
        if step.first:
            self._kv_cache.truncate(generation.row, generation.num_cached_tokens)
            self._kv_cache.expect(generation.row, len(generation.prompt_ids))
            self._prompts[generation] = self._embed_new_part(generation)
        offset = generation.num_cached_tokens
        chunk = self._prompts[generation][:, step.start - offset : step.end - offset]  # (1, T, D)
        hidden_states = self._decoder(chunk, [generation.row])
        if not step.last:
            return None
        del self._prompts[generation]
        return self._model.decoder.lm_head(hidden_states[0, -1])  # (V,)

    def decode(self, generations: Sequence[Generation]) -> Tensor:
        """Feed each answer's last token; return the logits (B, V) of the next ones."""
        last = torch.tensor([[generation.answer.token_ids[-1]] for generation in generations])  # (B, 1)
        embeds = self._model.text_embeds(last)  # (B, 1, D)
        hidden_states = self._decoder(embeds, [generation.row for generation in generations])
        return self._model.decoder.lm_head(hidden_states[:, -1])

    def forget(self, generation: Generation) -> None:
        """Drop what was kept for a prompt that will not be finished."""
        self._prompts.pop(generation, None)

    def _decoder(self, inputs_embeds: Tensor, rows: list[int]) -> Tensor:
        return self._model.decoder(inputs_embeds, kv_cache=self._kv_cache, rows=torch.tensor(rows))

    def _embed_new_part(self, generation: Generation) -> Tensor:
        """Return the embeddings (1, T, D) of the prompt tokens that are not in the row yet."""
        inputs = generation.request.inputs
        start = generation.num_cached_tokens
        new_ids = inputs.input_ids[start:]
        is_image = inputs.input_ids == self._model.image_token_id
        features = self._image_embeds(generation, num_stored=int(is_image[:start].sum()))
        return self._model.merge(new_ids[None], features)

    def _image_embeds(self, generation: Generation, *, num_stored: int) -> Tensor | None:
        """Return the embeddings (n, K, D) of the pictures behind the first `num_stored` image tokens."""
        pictures = _pictures(generation.request.inputs)
        while pictures and num_stored > 0:
            media, _ = pictures.pop(0)
            num_stored -= media.num_tokens if media is not None else 0
            generation.cached_media += 1
        if not pictures:
            return None
        found = [self.features.get(media.content_hash) if media else None for media, _ in pictures]
        missing = [i for i, features in enumerate(found) if features is None]
        generation.cached_media += len(found) - len(missing)
        if missing:
            started = time.perf_counter()
            encoded = self._encode([pictures[i][1] for i in missing], generation.request)
            for i, features in zip(missing, encoded, strict=True):
                found[i] = features
                if (media := pictures[i][0]) is not None:
                    self.features.put(media.content_hash, features)
            generation.vision_s += time.perf_counter() - started
        return torch.cat([features for features in found if features is not None])

    def _encode(self, pictures: list[Tensor], request: Request) -> list[Tensor]:
        """Tiles (n, 3, h, w) per picture -> embeddings (n, K, D) per picture."""
        tiles = torch.cat(pictures).to(device=self._model.device, dtype=self._model.dtype)  # (N, 3, h, w)
        embeds = []
        for group in tiles.split(self._vision_batch_size):
            if request.abort_requested:
                raise Interrupted("aborted while pictures were encoded")
            embeds.append(self._model.image_embeds(group))
        if tiles.device.type == "cuda":
            torch.cuda.synchronize(tiles.device)  # for vision_s
        return list(torch.cat(embeds).split([len(picture) for picture in pictures]))  # (N, K, D) -> (n, K, D)


def _tiles_per_call(model: InternVLModel) -> int:
    """As many tiles as the device likes: on a CPU more than its caches hold run slower, see
    `models.internvl`."""
    if model.device.type != "cpu":
        return GPU_TILES
    patches = (model.config.image_size // model.config.vision.patch_size) ** 2
    return max(1, CPU_PATCHES // patches)


def _pictures(inputs: ModelInputs) -> list[tuple[MediaUsage | None, Tensor]]:
    """Return each picture's description and tiles (n, 3, h, w), in prompt order.

    Tiles without descriptions (hand-made ModelInputs) count as one unknown picture.
    """
    tiles = inputs.pixel_values
    if tiles is None or len(tiles) == 0:
        return []
    if not inputs.media:
        return [(None, tiles)]
    sizes = [media.num_tiles for media in inputs.media]
    if sum(sizes) != len(tiles):
        raise RequestError(
            f"ModelInputs.media describe {sum(sizes)} tiles, pixel_values hold {len(tiles)};"
            " build both with one processor call"
        )
    return list(zip(inputs.media, tiles.split(sizes), strict=True))
