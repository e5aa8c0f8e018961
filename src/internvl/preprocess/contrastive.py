"""Pictures and texts -> inputs of InternVL-C/G.

Retrieval squeezes the whole picture into a square; classification keeps its proportions and crops the
centre (InternVL, arXiv:2312.14238, appendix). Letters: `B` pictures or texts.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
import torch
from PIL import Image

from internvl.errors import ConfigError
from internvl.preprocess.tokenizer import Tokenizer
from internvl.preprocess.transforms import normalize

#: What the text tower was trained to read before every caption.
TEXT_PREFIX = "summarize:"
MAX_TEXT_TOKENS = 80
PAD_ID = 0


class ContrastiveProcessor:
    """Resizing and tokenisation for the two towers."""

    def __init__(self, tokenizer: Tokenizer, *, image_size: int) -> None:
        eos = tokenizer.token_to_id("</s>")
        bos = tokenizer.token_to_id("<s>")
        if eos is None or bos is None:
            raise ConfigError(
                "the tokenizer of InternVL-C/G must know <s> and </s>; is this its tokenizer.model?"
            )
        self.tokenizer = tokenizer
        self.image_size = image_size
        self.eos_token_id = eos
        self.bos_token_id = bos

    def pixel_values(
        self, images: Sequence[Image.Image], *, task: Literal["retrieval", "classification"] = "retrieval"
    ) -> torch.Tensor:
        """RGB pictures -> (B, 3, S, S) float32."""
        if task not in ("retrieval", "classification"):
            raise ConfigError(f"task is {task!r}; expected 'retrieval' or 'classification'")
        fit = self._squeeze if task == "retrieval" else self._crop
        return normalize(np.stack([np.asarray(fit(image.convert("RGB"))) for image in images]))

    def text_ids(self, texts: Sequence[str], *, prefix: str = TEXT_PREFIX) -> torch.Tensor:
        """Captions -> (B, 80) int64: `<s>`, prefix, caption, `</s>`, then 0.

        Longer captions are cut, as in the training of the model.
        """
        batch = torch.full((len(texts), MAX_TEXT_TOKENS), PAD_ID)
        for row, text in zip(batch, texts, strict=True):
            ids = [*self.prompt_ids(prefix + text)[: MAX_TEXT_TOKENS - 1], self.eos_token_id]
            row[: len(ids)] = torch.tensor(ids)
        return batch

    def prompt_ids(self, text: str) -> list[int]:
        """`<s>` and the text, without an end: what captioning continues ("English caption:")."""
        return [self.bos_token_id, *self.tokenizer.encode(text, special=False)]

    def _squeeze(self, image: Image.Image) -> Image.Image:
        return image.resize((self.image_size, self.image_size), Image.Resampling.BICUBIC)

    def _crop(self, image: Image.Image) -> Image.Image:
        size = self.image_size
        # The shorter side becomes `size`; the longer one is rounded down, as torchvision's Resize does.
        width, height = image.size
        scaled = (size, int(size * height / width)) if width <= height else (int(size * width / height), size)
        image = image.resize(scaled, Image.Resampling.BICUBIC)
        left, top = (round((side - size) / 2) for side in image.size)
        return image.crop((left, top, left + size, top + size))
