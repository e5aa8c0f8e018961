"""Write the tiny checkpoints of this folder and what transformers computes with them.

    python tests/data/parity/record.py

They let a plain clone, without transformers and without the recorded reference, check that logits are right:
a Qwen3 with the 6B tower's traits, and a GPT-OSS. Numbers here come from transformers, not from us.
"""

import os
import shutil
from pathlib import Path

import torch
import transformers
from safetensors.torch import save_file

HERE = Path(__file__).parent
IMAGE_TOKEN_ID = 5
VISION = {
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "image_size": [28, 28],
}
TEXT = {
    "vocab_size": 40,
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "max_position_embeddings": 512,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "tie_word_embeddings": False,
}
SIX_B = {"norm_type": "rms_norm", "use_qk_norm": True, "attention_bias": False}
CASES = {
    "qwen3": ("qwen3", {}, SIX_B),
    "gpt_oss": (
        "gpt_oss",
        {"num_local_experts": 3, "num_experts_per_tok": 2, "sliding_window": 6},
        {"attention_bias": True},
    ),
}


def record(name: str) -> None:
    family, text, vision = CASES[name]
    config = transformers.InternVLConfig(
        vision_config=transformers.InternVLVisionConfig(**(VISION | vision)).to_dict(),
        text_config=transformers.AutoConfig.for_model(family, **(TEXT | text)).to_dict(),
        image_token_id=IMAGE_TOKEN_ID,
        image_seq_length=1,
        tie_word_embeddings=False,
        attn_implementation="eager",
    )
    model = transformers.InternVLForConditionalGeneration(config).eval()
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for key, parameter in model.named_parameters():
            noise = torch.empty_like(parameter).normal_(0.0, 1.0, generator=generator)
            parameter.copy_(1 + 0.1 * noise if key.endswith("norm.weight") else 0.25 * noise)
    directory = HERE / name
    shutil.rmtree(directory, ignore_errors=True)
    model.save_pretrained(directory)
    input_ids = torch.randint(6, 40, (1, 20), generator=generator)
    input_ids[0, 4:6] = IMAGE_TOKEN_ID
    pixel_values = torch.randn(2, 3, 28, 28, generator=generator)
    with torch.inference_mode():
        logits = model(input_ids=input_ids, pixel_values=pixel_values).logits
        answer = model.generate(
            input_ids=input_ids,
            pixel_values=pixel_values,
            max_new_tokens=12,
            do_sample=False,
            eos_token_id=None,
        )
    save_file(
        {
            "input_ids": input_ids,
            "pixel_values": pixel_values,
            "logits": logits.clone(),
            "greedy_ids": answer[0, input_ids.shape[1] :].clone(),
        },
        directory / "recorded.safetensors",
        metadata={"transformers": transformers.__version__, "torch": torch.__version__},
    )
    # Weights and recordings must not be taken for shards of one checkpoint.
    os.replace(directory / "recorded.safetensors", HERE / f"{name}.recorded.safetensors")


if __name__ == "__main__":
    for case in CASES:
        record(case)
