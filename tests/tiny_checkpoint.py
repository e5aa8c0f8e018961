"""Tiny complete checkpoint directories, made here: random weights beside a tokenizer of the family's kind."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch

from fakes import tiny_model
from internvl.checkpoint.save import save_model
from internvl.config.model import Layout
from internvl.models.internvl import InternVLModel
from internvl.preprocess.tokenizer import load_tokenizer
from tiny_tokenizers import TEMPLATE_OF, write_tokenizer

#: Family (of `fakes.FAMILIES`) -> kind of tokenizer its releases have; the rest have Qwen's.
TOKENIZER_OF = {
    "llama": "yi",
    "yi": "yi",
    "llama3": "metaspace_json",
    "internlm2": "internlm2",
    "internlm2_linear": "internlm2",
    "internlm3": "internlm3",
    "phi3": "phi3",
    "gpt_oss": "gpt_oss",
}


def write_checkpoint(
    directory: Path,
    family: str = "qwen2",
    *,
    layout: Layout = "github",
    dtype: torch.dtype = torch.float32,
    **changes: Any,
) -> InternVLModel:
    """Write a complete directory; return the model that was saved."""
    kind = TOKENIZER_OF.get(family, "qwen")
    source = write_tokenizer(directory.with_name(f"{directory.name}.tokenizer"), kind)
    tokenizer = load_tokenizer(source)
    image = tokenizer.token_to_id("<IMG_CONTEXT>")
    assert image is not None
    # The tokenizer's directory also has to say which token that is.
    (source / "config.json").write_text(json.dumps({"image_token_id": image}))
    text = {"vocab_size": tokenizer.vocab_size + 3, **changes.pop("text", {})}
    if family == "gpt_oss":
        text.setdefault("intermediate_size", 16)  # one width for all its MLPs, which are all experts
    changes.setdefault("template", TEMPLATE_OF[kind])
    model = tiny_model(family, text=text, **changes).to(dtype)
    model.image_token_id = image
    save_model(model, directory, layout=layout, tokenizer_from=source)
    return model
