"""Tiles of all running requests through the vision tower, a few at a time.

Legend: `n` tiles of a picture, `k` tiles of one call, `K` image tokens per tile, `D` LM width.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from weakref import WeakValueDictionary

import torch
from torch import Tensor

from internvl.engine.adapters import Adapters
from internvl.engine.feature_cache import FeatureCache
from internvl.engine.pictures import Picture
from internvl.engine.request import Generation
from internvl.engine.stats import Counters
from internvl.models.internvl import CPU_PATCHES, InternVLModel

#: Tiles in one call of the vision tower on a GPU.
GPU_TILES = 16


@dataclass(slots=True)
class _Share:
    """Some tiles of one picture in a call, and who asked for them."""

    generation: Generation
    picture: Picture
    tiles: Tensor
    """(k, 3, h, w)."""


class PictureEncoder:
    """Finds features that are known already, and computes the others. One thread."""

    def __init__(
        self, model: InternVLModel, features: FeatureCache, counters: Counters, adapters: Adapters
    ) -> None:
        self._model = model
        self._adapters = adapters
        self._features = features
        self._counters = counters
        self._shown: WeakValueDictionary[str, Picture] = WeakValueDictionary()
        """Pictures of running requests, encoded or not."""

    def start(self, generation: Generation) -> None:
        """Look for the features of a generation's pictures, so that only what is new has to be encoded.

        A picture that another running request shows as well becomes that one.
        """
        hits = misses = 0
        for placed in generation.request.pictures:
            if placed.stop <= generation.num_stored_tokens or not placed.picture.num_missing:
                hits += 1
                continue
            name = self._name(generation, placed.picture)
            features = self._features.get(name)
            if features is not None:
                placed.picture.features, placed.picture.tiles = features, None
                hits += 1
            elif (other := self._shown.get(name)) is not None:
                placed.picture = other
                hits += 1
            else:
                misses += 1
                if name:
                    self._shown[name] = placed.picture
        if not generation.num_preemptions:
            generation.cached_media = hits
            self._counters.picture_hits += hits
            self._counters.picture_misses += misses

    def encode(self, tiles: Mapping[Generation, int]) -> None:
        """Encode so many tiles for each of these generations, in one call per size of tile and adapter."""
        calls: dict[tuple[torch.Size, str | None], list[_Share]] = {}
        for share in _take(tiles):
            calls.setdefault((share.tiles.shape[-2:], self._adapter(share.generation)), []).append(share)
        for (_, adapter), shares in calls.items():
            self._encode(shares, adapter)

    def _adapter(self, generation: Generation) -> str | None:
        """The adapter that pictures are seen with; None where it changes only the decoder."""
        adapter = generation.request.adapter
        return adapter if self._adapters.sees(adapter) else None

    def _name(self, generation: Generation, picture: Picture) -> str:
        """What the picture's features are kept under; empty for a picture like no other."""
        names = picture.content_hash, self._adapter(generation), generation.request.cache_salt
        return repr(names) if picture.content_hash else ""

    def _encode(self, shares: list[_Share], adapter: str | None) -> None:
        started = time.perf_counter()
        device = self._model.device
        together = torch.cat([share.tiles for share in shares]).to(device=device, dtype=self._model.dtype)
        with self._adapters.active([(adapter, self._adapters.ALL)]):
            embeds = self._model.image_embeds(together)  # (k, K, D)
        if device.type == "cuda":
            torch.cuda.synchronize(device)  # for the seconds
        seconds_per_tile = (time.perf_counter() - started) / len(together)
        counts = [len(share.tiles) for share in shares]
        for share, part in zip(shares, embeds.split(counts), strict=True):
            share.generation.vision_s += seconds_per_tile * len(part)
            self._add(share.picture, part, self._name(share.generation, share.picture))
        self._counters.tiles_encoded += len(together)
        self._counters.vision_s += seconds_per_tile * len(together)

    def _add(self, picture: Picture, part: Tensor, name: str) -> None:
        """Take over encoded tiles (k, K, D); with the last of them the picture is done, and kept under `name`."""
        picture.parts.append(part)
        picture.num_encoded += len(part)
        if not picture.num_missing:
            picture.features = torch.cat(picture.parts).flatten(0, 1)  # (n * K, D)
            picture.parts, picture.tiles = [], None
            self._features.put(name, picture.features)


def tiles_per_call(model: InternVLModel, wanted: int | None = None) -> int:
    """As many tiles as the device likes: on a CPU more than its caches hold run slower, see
    `models.internvl`."""
    if wanted is not None:
        return wanted
    if model.device.type != "cpu":
        return GPU_TILES
    patches = (model.config.image_size // model.config.vision.patch_size) ** 2
    return max(1, CPU_PATCHES // patches)


def _take(tiles: Mapping[Generation, int]) -> list[_Share]:
    """Return the next tiles of each generation's pictures; no tile twice, though two may ask for it."""
    shares: list[_Share] = []
    taken: dict[int, int] = {}
    for generation, count in tiles.items():
        for placed in generation.request.pictures:
            picture = placed.picture
            if picture.tiles is None or placed.stop <= generation.num_stored_tokens:
                continue
            first = picture.num_encoded + taken.get(id(picture), 0)
            part = picture.tiles[first : first + count]
            if len(part):
                shares.append(_Share(generation, picture, part))
                taken[id(picture)] = taken.get(id(picture), 0) + len(part)
                count -= len(part)
    return shares
