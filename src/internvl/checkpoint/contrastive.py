"""Files of InternVL-C/G (OpenGVLab/InternVL-14B-224px) -> model and processor."""

from __future__ import annotations

from pathlib import Path

import torch

from internvl.checkpoint.adapters import unwrap_names
from internvl.checkpoint.hf_config import Section, parse_vision
from internvl.checkpoint.key_maps import contrastive_links
from internvl.checkpoint.load import DTypeName, fill, parameter_shapes, resolve_directory
from internvl.checkpoint.shards import open_shards
from internvl.config.files import read_json_object
from internvl.config.model import ContrastiveConfig, RopeConfig, TextConfig
from internvl.errors import CheckpointError
from internvl.models.contrastive import ContrastiveModel
from internvl.preprocess.contrastive import ContrastiveProcessor
from internvl.preprocess.tokenizer import load_tokenizer


def read_contrastive_config(directory: Path) -> ContrastiveConfig:
    """config.json of an InternVL-C/G checkpoint."""
    path = directory / "config.json"
    top = Section(read_json_object(path), str(path))
    if "qllama_config" not in top.values:
        raise CheckpointError(
            f"{path} has no qllama_config: this is not InternVL-C/G; chat models load by load_model"
        )
    text = top.section("qllama_config")
    vision = parse_vision(top.section("vision_config"))
    hidden_size, num_heads = int(text.need("hidden_size")), int(text.need("num_attention_heads"))
    return ContrastiveConfig(
        vision=vision,
        text=TextConfig(
            family="llama",
            vocab_size=int(text.need("vocab_size")),
            hidden_size=hidden_size,
            intermediate_size=int(text.need("intermediate_size")),
            num_layers=int(text.need("num_hidden_layers")),
            num_heads=num_heads,
            num_kv_heads=num_heads,
            head_dim=hidden_size // num_heads,
            norm_eps=float(text.get("rms_norm_eps", 1e-6)),
            max_position=int(text.get("max_position_embeddings", 2048)),
            rope=RopeConfig(theta=10000.0),
        ),
        embed_dim=int(top.need("clip_embed_dim")),
        pool_heads=int(top.need("attn_pool_num_heads")),
        num_query_tokens=int(top.need("num_query_token")),
        cross_attention_frequency=int(text.get("cross_attention_frequency", 2)),
        image_size=int(top.get("force_image_size", vision.image_size)),
    )


def load_contrastive_model(
    path_or_id: str | Path,
    *,
    dtype: DTypeName | torch.dtype = "auto",
    device: str | torch.device = "cpu",
    revision: str | None = None,
) -> ContrastiveModel:
    """Load InternVL-C/G for inference; arguments and errors as in `load_model`."""
    directory = resolve_directory(path_or_id, revision)
    config = read_contrastive_config(directory)
    with open_shards(directory) as shards:
        with torch.device("meta"):
            model = ContrastiveModel(config)
        wanted = contrastive_links(parameter_shapes(model))
        fill(
            model,
            wanted,
            shards,
            unwrap_names(shards),
            dtype=dtype,
            device=torch.device(device),
            where=str(directory),
        )
    return model.requires_grad_(False).eval()


def load_contrastive_processor(
    path_or_id: str | Path, *, revision: str | None = None
) -> ContrastiveProcessor:
    """Load what turns pictures and captions into inputs of InternVL-C/G."""
    directory = resolve_directory(path_or_id, revision)
    config = read_contrastive_config(directory)
    return ContrastiveProcessor(load_tokenizer(directory), image_size=config.image_size)
