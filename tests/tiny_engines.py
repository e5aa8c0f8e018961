"""Tiny random models with tokenizers trained on the spot: engines and checkpoints that answer at once."""

import tempfile
from functools import cache
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from fakes import tiny_model_config
from internvl.checkpoint.save import save_model
from internvl.engine.config import EngineConfig
from internvl.engine.engine import Engine
from internvl.models.internvl import InternVLModel
from internvl.preprocess.processor import Processor
from internvl.preprocess.tokenizer import Tokenizer, load_tokenizer
from tiny_tokenizers import TEMPLATE_OF, write_tokenizer

#: Families whose decoders differ in what a cache and a batch have to get right, and their tokenizers.
FAMILIES = {
    "qwen2": "qwen",
    "qwen3_moe": "qwen_json",
    "internlm2": "internlm2",
    "phi3": "phi3",
    "gpt_oss": "gpt_oss",
}


@cache
def _tokenizer(kind: str) -> Tokenizer:
    with tempfile.TemporaryDirectory() as directory:
        return load_tokenizer(write_tokenizer(Path(directory) / kind, kind))


@cache
def tiny_parts(family: str = "qwen2") -> tuple[InternVLModel, Processor]:
    """A model whose answers vary, and the processor of the same checkpoint."""
    tokenizer = _tokenizer(FAMILIES[family])
    config = tiny_model_config(
        family, text={"vocab_size": tokenizer.vocab_size}, template=TEMPLATE_OF[FAMILIES[family]]
    )
    processor = Processor(config, tokenizer)
    generator = torch.Generator().manual_seed(1)
    model = InternVLModel(config, image_token_id=processor.image_token_id, generator=generator)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.mul_(6.0)
    return model.eval(), processor


def tiny_engine(family: str = "qwen2", **options) -> Engine:
    """A fresh engine (caches empty) around the shared tiny model."""
    model, processor = tiny_parts(family)
    return Engine(model, processor, EngineConfig(**{"session_len": 2048, "max_batch_size": 4, **options}))


def write_tiny_checkpoint(directory: Path, family: str = "qwen2") -> Path:
    """A complete directory that `load_model` and `load_processor` read."""
    model, _ = tiny_parts(family)
    save_model(model, directory)
    return write_tokenizer(directory, FAMILIES[family])


def picture(width: int = 120, height: int = 80, seed: int = 0) -> Image.Image:
    """A picture like no other of the same size with another seed."""
    pixels = np.random.default_rng(seed).integers(0, 255, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(pixels)
