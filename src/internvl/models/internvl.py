"""The chat model: tiles and token ids -> logits.

`pixel_values (N, 3, h, w) -> vision_features (N, P, C) -> image_embeds (N, K, D)`, put in place of the
image tokens of `text_embeds (B, T, D)`, then the decoder: `hidden_states (B, T, D) -> logits (B, T, V)`.
Callers: the engine (piece by piece, with a cache), training (`forward`) and tests.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from internvl.config.model import ModelConfig
from internvl.errors import ConfigError, RequestError
from internvl.models.decoder import make_decoder
from internvl.models.init import init_weights
from internvl.models.projector import Projector
from internvl.models.vit import InternViT

#: Patches given to the vision tower at once on a CPU: more do not fit its caches and run slower.
CPU_PATCHES = 1600


class InternVLModel(nn.Module):
    """Vision tower, projector and decoder.

    Built outside the meta device it starts with `init_weights` from `generator` (default: seed 0).
    """

    def __init__(
        self, config: ModelConfig, *, image_token_id: int, generator: torch.Generator | None = None
    ) -> None:
        super().__init__()
        self.config = config
        self.image_token_id = image_token_id
        layers = config.vision.num_layers
        if not -layers - 1 <= config.select_layer <= layers:
            raise ConfigError(
                f"ModelConfig.select_layer {config.select_layer} is no hidden state of a vision tower with "
                f"{layers} layers; it must lie in [{-layers - 1}, {layers}]"
            )
        # Index of the selected hidden state, which is also how many layers lead to it.
        self.num_vision_layers = config.select_layer % (layers + 1)
        self.vision = InternViT(config.vision)
        self.projector = Projector(config.projector, config.vision.hidden_size, config.text.hidden_size)
        self.decoder = make_decoder(config.text)
        if self.device.type != "meta":
            self.init_weights(generator or torch.Generator().manual_seed(0))

    def init_weights(self, generator: torch.Generator) -> None:
        """Start from scratch; `models.init` says how."""
        init_weights(self, generator)

    @property
    def device(self) -> torch.device:
        """Where the embeddings lie."""
        return self.decoder.norm.weight.device

    @property
    def dtype(self) -> torch.dtype:
        """Of the embeddings."""
        return self.decoder.norm.weight.dtype

    def vision_features(self, pixel_values: Tensor, *, origin: tuple[int, int] | None = None) -> Tensor:
        """Tiles (N, 3, h, w), normalised, to the selected layer (N, P, C) without class token.

        `origin`: see `InternViT.forward`.
        """
        if pixel_values.dim() != 4 or pixel_values.shape[1] != 3:
            raise RequestError(f"pixel_values have shape {tuple(pixel_values.shape)}; expected (N, 3, h, w)")
        pixel_values = pixel_values.to(self.vision.class_embedding.device)
        group = len(pixel_values)
        if pixel_values.device.type == "cpu" and not torch.is_grad_enabled():
            h, w = pixel_values.shape[-2:]
            patches = max(1, h * w // self.config.vision.patch_size**2)
            group = max(1, CPU_PATCHES // patches)
        features = [
            self.vision(tiles, num_layers=self.num_vision_layers, origin=origin)[:, 1:]
            for tiles in pixel_values.split(max(group, 1))
        ]
        return features[0] if len(features) == 1 else torch.cat(features)

    def image_embeds(self, pixel_values: Tensor) -> Tensor:
        """Tiles (N, 3, h, w) to what stands for them in the prompt, (N, K, D)."""
        rows, columns = (side // self.config.vision.patch_size for side in pixel_values.shape[-2:])
        return self.projector(self.vision_features(pixel_values), rows, columns)

    def text_embeds(self, input_ids: Tensor) -> Tensor:
        """(B, T) -> (B, T, D)."""
        return self.decoder.embed(input_ids.to(self.device))

    def merge(self, input_ids: Tensor, image_embeds: Tensor | None) -> Tensor:
        """Embed `input_ids` (B, T) with the image tokens replaced, in order, by `image_embeds` (n, K, D).

        Raises RequestError unless there are exactly n * K image tokens: nothing is cut off or repeated.
        """
        if input_ids.dim() != 2:
            raise RequestError(f"input_ids have shape {tuple(input_ids.shape)}; expected (B, T)")
        input_ids = input_ids.to(self.device)
        text_embeds = self.text_embeds(input_ids)
        is_image = input_ids == self.image_token_id  # (B, T)
        expected = int(is_image.sum())
        found = 0 if image_embeds is None else image_embeds.shape[0] * image_embeds.shape[1]
        if expected != found:
            tiles = (
                "no tiles"
                if image_embeds is None
                else f"{image_embeds.shape[0]} tiles x {image_embeds.shape[1]}"
            )
            raise RequestError(
                f"input_ids hold {expected} image tokens (id {self.image_token_id}), pixel_values give "
                f"{found} ({tiles}). Build both with one processor call, and leave no picture out."
            )
        if image_embeds is None or found == 0:
            return text_embeds
        flat = image_embeds.flatten(0, 1).to(text_embeds)  # (n, K, D) -> (n*K, D)
        return text_embeds.masked_scatter(is_image[..., None], flat)

    def forward(
        self, input_ids: Tensor, pixel_values: Tensor | None = None, attention_mask: Tensor | None = None
    ) -> Tensor:
        """Logits (B, T, V) for `input_ids` (B, T); tiles (N, 3, h, w) of all sequences in order of their
        tokens.

        `attention_mask` (B, T) is 0 at padding, on either side.
        """
        image_embeds = (
            None if pixel_values is None or len(pixel_values) == 0 else self.image_embeds(pixel_values)
        )
        inputs_embeds = self.merge(input_ids, image_embeds)
        return self.decoder.lm_head(self.decoder(inputs_embeds, attention_mask=attention_mask))
