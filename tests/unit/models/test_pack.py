"""A packed model says what the plain one says; a quantised one nearly."""

import copy

import pytest
import torch
from torch import nn

from internvl.engine.config import EngineConfig
from internvl.engine.engine import Engine
from internvl.errors import ConfigError
from internvl.models.pack import pack_linears
from internvl.nn.packed import Int4Linear, Int8Linear, PackedLinear
from internvl.types import GenerationConfig
from tiny_engines import picture, tiny_parts

pytestmark = pytest.mark.skipif(not torch.backends.mkldnn.is_available(), reason="torch without oneDNN")
MESSAGES = [
    {
        "role": "user",
        "content": [{"type": "image", "image": picture()}, {"type": "text", "text": "What is it?"}],
    }
]


def packed_parts(quantize=None, family="qwen2"):
    model, processor = tiny_parts(family)
    model = copy.deepcopy(model)
    pack_linears(model, quantize)
    return model, processor


def kinds(module):
    return {
        type(child)
        for child in module.modules()
        if isinstance(child, nn.Linear | PackedLinear | Int8Linear | Int4Linear)
    }


def logits(model, processor):
    inputs = processor(MESSAGES)
    with torch.inference_mode():
        return model(inputs.input_ids[None], inputs.pixel_values)


@pytest.mark.parametrize("family", ["qwen2", "internlm2", "phi3", "qwen3_moe", "gpt_oss"])
def test_packing_changes_no_answer(family):
    plain, processor = tiny_parts(family)
    packed, _ = packed_parts(family=family)
    assert torch.allclose(logits(packed, processor), logits(plain, processor), atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize(
    ("quantize", "vision", "least"), [("int8", {Int8Linear}, 0.99), ("int4", {PackedLinear}, 0.9)]
)
def test_a_quantised_model_points_the_same_way(quantize, vision, least):
    plain, processor = tiny_parts()
    packed, _ = packed_parts(quantize)
    assert kinds(packed.vision) == vision
    assert nn.Linear not in kinds(packed)
    found, expected = logits(packed, processor), logits(plain, processor)
    similarity = torch.cosine_similarity(found[0], expected[0], dim=-1)
    assert similarity.median() > least


@pytest.mark.parametrize("quantize", [None, "int8"])
def test_a_packed_model_answers_in_a_batch_as_alone(quantize):
    model, processor = packed_parts(quantize)
    config = GenerationConfig(max_new_tokens=12)
    with Engine(model, processor, EngineConfig(session_len=1024, max_batch_size=4)) as engine:
        together = engine.generate([MESSAGES, MESSAGES], config)
        alone = engine.generate([MESSAGES], config)
    assert [answer.token_ids for answer in together] == 2 * [alone[0].token_ids]


def test_what_cannot_be_quantised_is_refused():
    model, _ = tiny_parts("qwen3_moe")
    with pytest.raises(ConfigError, match="mixtures of experts"):
        pack_linears(copy.deepcopy(model), "int8")
    with pytest.raises(ConfigError, match="int8, int4"):
        EngineConfig(quantize="int2")
