"""What nano is: its sizes, and where its files lie."""

from __future__ import annotations

from pathlib import Path

from internvl.config.model import ModelConfig, ProjectorConfig, RopeConfig, TextConfig, VisionConfig

ASSETS = Path(__file__).parents[2] / "assets" / "nano"
"""The shipped model; its tokenizer files are what training uses."""
VOCAB_SIZE = 2048
"""Rows of the embedding; the tokenizer may fill fewer."""
MAX_POSITION = 8192


def nano_config(image_size: int) -> ModelConfig:
    """The shape of nano at a tile size."""
    return ModelConfig(
        vision=VisionConfig(
            hidden_size=128,
            intermediate_size=512,
            num_layers=4,
            num_heads=4,
            image_size=image_size,
            layer_scale_init=1.0,
        ),
        projector=ProjectorConfig(),
        text=TextConfig(
            family="qwen3",
            vocab_size=VOCAB_SIZE,
            hidden_size=128,
            intermediate_size=384,
            num_layers=3,
            num_heads=4,
            num_kv_heads=2,
            head_dim=32,
            max_position=8192,
            rope=RopeConfig(theta=10000.0),
            qk_norm=True,
        ),
        image_size=image_size,
        max_tiles=1,
        dynamic_tiling=False,
        use_thumbnail=True,
        template="internvl2_5",
    )
