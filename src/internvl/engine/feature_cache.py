"""Image embeddings by the content of their tiles: a picture that comes again is not encoded again.

Legend: `n` tiles of a picture, `K` image tokens per tile, `D` LM width.
"""

from __future__ import annotations

from collections import OrderedDict

from torch import Tensor


class FeatureCache:
    """Least recently used first out; bounded by bytes. One thread."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._entries: OrderedDict[str, Tensor] = OrderedDict()
        self.size_bytes = 0

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, content_hash: str) -> Tensor | None:
        """Return the embeddings (n * K, D) of these tiles, or None; an empty hash is never found."""
        features = self._entries.get(content_hash)
        if features is not None:
            self._entries.move_to_end(content_hash)
        return features

    def put(self, content_hash: str, features: Tensor) -> None:
        """Keep the embeddings (n * K, D); the longest unused make room. Too large for the cache: not kept."""
        size = features.numel() * features.element_size()
        if not content_hash or size > self._max_bytes or content_hash in self._entries:
            return
        if features.untyped_storage().nbytes() > size:
            # A view would keep alive all the pictures that were encoded together.
            features = features.clone()
        self._entries[content_hash] = features
        self.size_bytes += size
        while self.size_bytes > self._max_bytes:
            _, oldest = self._entries.popitem(last=False)
            self.size_bytes -= oldest.numel() * oldest.element_size()
