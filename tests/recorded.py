"""The recorded checkpoints of the reference: their cases, tensors and pictures as model inputs."""

import json
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import torch
from PIL import Image
from safetensors.torch import load_file

from golden import GOLDEN
from internvl.models.internvl import InternVLModel
from internvl.nn.kv_cache import KVCache
from internvl.preprocess.tiling import cut_tiles, tile_grid
from internvl.preprocess.transforms import normalize


def recorded_checkpoints(group: str) -> list[str]:
    """Names under golden/<group> that hold recorded cases; empty without recordings."""
    return sorted(path.parent.parent.name for path in (GOLDEN / group).glob("*/golden/golden.json"))


@dataclass(frozen=True)
class Recording:
    """One recorded checkpoint."""

    group: str
    name: str
    _pixels: dict[str, torch.Tensor] = field(default_factory=dict)

    @property
    def directory(self) -> Path:
        return GOLDEN / self.group / self.name

    @cached_property
    def facts(self) -> dict:
        return json.loads((self.directory / "golden" / "golden.json").read_text(encoding="utf-8"))

    @cached_property
    def tensors(self) -> dict[str, torch.Tensor]:
        return load_file(self.directory / "golden" / "golden.safetensors")

    @property
    def cases(self) -> dict[str, dict]:
        return self.facts["cases"]

    def pixel_values(self, names: list[str] | None) -> torch.Tensor | None:
        """The tiles of these pictures ("image0", "frames"), one after the other."""
        if not names:
            return None
        return torch.cat([self._picture(name) for name in names])

    def _picture(self, name: str) -> torch.Tensor:
        if name not in self._pixels:
            if name != "frames":
                self._pixels[name] = _tiles(self.facts["images"][int(name.removeprefix("image"))])
            elif self.facts.get("frames_pixel_values_file"):
                self._pixels[name] = load_file(GOLDEN / self.facts["frames_pixel_values_file"])[
                    "pixel_values"
                ]
            else:
                self._pixels[name] = torch.cat([_tiles(frame) for frame in self.facts["frames"]])
        return self._pixels[name]


def _tiles(picture: dict) -> torch.Tensor:
    if "pixel_values_file" in picture:
        return load_file(GOLDEN / picture["pixel_values_file"])["pixel_values"]
    image = Image.open(GOLDEN / "images" / picture["file"]).convert("RGB")
    size = picture.get("image_size", 448)
    grid = tile_grid(*image.size, max_tiles=picture["max_num"], image_size=size)
    return normalize(cut_tiles(image, grid=grid, image_size=size, thumbnail=picture["use_thumbnail"]))


def greedy(
    model: InternVLModel, inputs_embeds: torch.Tensor, *, max_new_tokens: int, eos_token_id: int | None
) -> tuple[list[int], torch.Tensor]:
    """Prefill (1, T, D), then take the likeliest token each step; ids and logits (n, V)."""
    cache = KVCache.allocate(
        model.config.text,
        batch_size=1,
        max_length=inputs_embeds.shape[1] + max_new_tokens,
        dtype=model.dtype,
        device=model.device,
    )
    hidden = model.decoder(inputs_embeds, kv_cache=cache)
    ids, scores = [], []
    while True:
        logits = model.decoder.lm_head(hidden[:, -1])
        scores.append(logits[0])
        ids.append(int(logits.argmax()))
        if ids[-1] == eos_token_id or len(ids) == max_new_tokens:
            return ids, torch.stack(scores)
        hidden = model.decoder(model.text_embeds(torch.tensor([[ids[-1]]])), kv_cache=cache)


def difference(found: torch.Tensor, expected: torch.Tensor) -> float:
    """Largest absolute difference."""
    assert found.shape == expected.shape
    return float((found.float() - expected).abs().max())
