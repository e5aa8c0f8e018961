"""Logits and answers against numbers that transformers computed (tests/data/parity/record.py)."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from internvl.checkpoint.load import load_model
from recorded import greedy

DATA = Path(__file__).parents[2] / "data" / "parity"


@pytest.mark.parametrize("name", ["qwen3", "gpt_oss"])
def test_logits_and_answers_equal_the_recorded_ones(name):
    model = load_model(DATA / name)
    recorded = load_file(DATA / f"{name}.recorded.safetensors")
    input_ids, pixel_values = recorded["input_ids"], recorded["pixel_values"]
    with torch.inference_mode():
        torch.testing.assert_close(model(input_ids, pixel_values), recorded["logits"], rtol=1e-4, atol=1e-4)
        inputs_embeds = model.merge(input_ids, model.image_embeds(pixel_values))
        ids, _ = greedy(model, inputs_embeds, max_new_tokens=12, eos_token_id=None)
    assert ids == recorded["greedy_ids"].tolist()
