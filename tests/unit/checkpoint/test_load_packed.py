"""Layers packed while they are read are those packed afterwards."""

import copy
from dataclasses import replace

import pytest
import torch
from torch import nn

from internvl.checkpoint.load import load_model
from internvl.checkpoint.save import save_model
from internvl.errors import ConfigError
from internvl.models.internvl import InternVLModel
from internvl.models.pack import Packing, pack_linears, weight_bytes
from internvl.nn.packed import PackedEmbedding
from tiny_engines import tiny_parts

pytestmark = pytest.mark.skipif(not torch.backends.mkldnn.is_available(), reason="torch without oneDNN")
IDS = torch.arange(5, 25)[None]


@pytest.fixture(scope="module", params=[False, True], ids=["untied", "tied"])
def directory(request, tmp_path_factory):
    model, _ = tiny_parts()
    config = replace(model.config, text=replace(model.config.text, tie_embeddings=request.param))
    model = InternVLModel(
        config, image_token_id=model.image_token_id, generator=torch.Generator().manual_seed(0)
    )
    return save_model(model.to(torch.bfloat16), tmp_path_factory.mktemp("tiny") / "bf16")


@pytest.mark.parametrize("quantize", [None, "int8", "int4"])
@pytest.mark.parametrize("layout_dtype", ["float32", "auto"])
def test_packing_while_reading_is_packing_afterwards(directory, quantize, layout_dtype):
    read = load_model(directory, dtype=layout_dtype, packing=Packing(quantize=quantize))
    later = load_model(directory, dtype=layout_dtype)
    pack_linears(later, quantize)
    assert read.dtype == later.dtype
    with torch.inference_mode():
        assert torch.equal(read(IDS), later(IDS))
    assert weight_bytes(read) == weight_bytes(later)


def test_tables_in_half_precision_stay_so_and_give_float32(directory):
    model = load_model(directory, dtype="float32", packing=Packing())
    assert isinstance(model.decoder.embed, PackedEmbedding)
    assert model.decoder.embed.weight.dtype == torch.bfloat16
    assert model.text_embeds(IDS).dtype == torch.float32
    assert not any(isinstance(layer, nn.Embedding) for layer in model.modules())


def test_what_cannot_be_quantised_is_refused_before_anything_is_read(tmp_path):
    model, _ = tiny_parts("qwen3_moe")
    directory = save_model(copy.deepcopy(model), tmp_path / "moe")
    (directory / "model.safetensors").write_bytes(b"not weights")
    with pytest.raises(ConfigError, match="mixtures of experts"):
        load_model(directory, packing=Packing(quantize="int8"))
