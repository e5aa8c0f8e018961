"""A checkpoint with unmerged LoRA weights against the reference before and after its own merge."""

import json

import pytest
import torch
from safetensors.torch import load_file

from golden import GOLDEN, requires_golden
from internvl.checkpoint.load import load_model
from recorded import difference, greedy

pytestmark = [pytest.mark.parity, requires_golden]

DIRECTORY = GOLDEN / "checkpoints" / "internvl2_5_qwen2_lora"


@pytest.mark.parametrize("kind", ["lora", "merged"])
def test_merging_while_loading_gives_the_reference_s_answers(kind):
    model = load_model(DIRECTORY)
    tensors = load_file(DIRECTORY / "golden_lora.safetensors")
    facts = json.loads((DIRECTORY / "golden_lora.json").read_text(encoding="utf-8"))[kind]
    input_ids = torch.tensor([facts["input_ids"]])
    with torch.inference_mode():
        image_embeds = model.image_embeds(tensors["pixel_values"])
        assert difference(image_embeds, tensors[f"{kind}.extract_feature"]) < 5e-5
        logits = model(input_ids, tensors["pixel_values"])[:, ::8]
        assert difference(logits, tensors[f"{kind}.logits"]) < 5e-4
        expected = facts["greedy_ids"]
        inputs_embeds = model.merge(input_ids, image_embeds)
        ids, _ = greedy(model, inputs_embeds, max_new_tokens=len(expected), eos_token_id=None)
    assert ids == expected
