"""Live comparison with transformers on random tiny models, for shapes that no recording covers.

transformers builds, runs and saves each model; ours loads the directory it wrote.
"""

import json

import pytest
import torch

from internvl.checkpoint.load import load_model
from peer_models import CASES, IMAGE_TOKEN_ID, peer_of

pytestmark = [pytest.mark.parity, pytest.mark.slow]


@pytest.mark.parametrize("case", CASES)
@pytest.mark.filterwarnings("ignore")
def test_logits_equal_those_of_transformers(case, tmp_path):
    peer = peer_of(case)
    peer.save_pretrained(tmp_path)
    model = load_model(tmp_path)
    generator = torch.Generator().manual_seed(2)
    input_ids = torch.randint(6, 80, (2, 40), generator=generator)
    input_ids[:, 3:7] = IMAGE_TOKEN_ID
    mask = torch.ones_like(input_ids)
    mask[1, :9] = 0
    input_ids[1, :16] = torch.tensor([0] * 9 + [7, 8, 9] + [IMAGE_TOKEN_ID] * 4)
    pixel_values = torch.randn(2, 3, 56, 56, generator=generator)
    with torch.inference_mode():
        expected = peer(input_ids=input_ids, pixel_values=pixel_values, attention_mask=mask).logits
        found = model(input_ids, pixel_values, mask)
    real = mask.bool()
    assert expected[real].std() > 0.3
    torch.testing.assert_close(found[real], expected[real], rtol=1e-4, atol=5e-5)
    tied = json.loads((tmp_path / "config.json").read_text())["tie_word_embeddings"]
    assert model.config.text.tie_embeddings == tied
