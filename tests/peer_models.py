"""Random tiny models of transformers, whose installed version is a peer in tests."""

import pytest
import torch

transformers = pytest.importorskip("transformers")

IMAGE_TOKEN_ID = 5
VISION = {
    "hidden_size": 24,
    "intermediate_size": 40,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "image_size": [56, 56],
    "attention_bias": True,
}
TEXT = {
    "vocab_size": 80,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 512,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "tie_word_embeddings": False,
}
LLAMA3 = {
    "rope_type": "llama3",
    "rope_theta": 5e5,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
}
YARN = {"rope_type": "yarn", "rope_theta": 1e6, "factor": 4.0, "original_max_position_embeddings": 16}
LONGROPE = {
    "rope_type": "longrope",
    "rope_theta": 1e4,
    "original_max_position_embeddings": 512,
    "short_factor": [1.0, 1.1, 1.3, 1.7],
    "long_factor": [1.5, 2.0, 4.0, 8.0],
}
EXPERTS = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 16, "norm_topk_prob": True}
SIX_B = {"norm_type": "rms_norm", "use_qk_norm": True, "attention_bias": False}
CASES = {
    "llama": ("llama", {"attention_bias": True, "mlp_bias": True}, {}),
    "llama3": ("llama", {"rope_parameters": LLAMA3 | {"original_max_position_embeddings": 16}}, {}),
    "linear": (
        "llama",
        {"rope_parameters": {"rope_type": "linear", "rope_theta": 1e6, "factor": 2.0}},
        SIX_B,
    ),
    "qwen2_tied": ("qwen2", {"tie_word_embeddings": True}, {}),
    "qwen2_yarn": ("qwen2", {"rope_parameters": YARN}, {}),
    "qwen2_sliding": ("qwen2", {"use_sliding_window": True, "sliding_window": 8, "max_window_layers": 2}, {}),
    "qwen3": ("qwen3", {"head_dim": 24}, SIX_B),
    "qwen3_moe": ("qwen3_moe", {"head_dim": 16, "mlp_only_layers": [1]} | EXPERTS, {}),
    "phi3": ("phi3", {"sliding_window": 8}, {}),
    "phi3_short": ("phi3", {"max_position_embeddings": 2048, "rope_parameters": LONGROPE}, {}),
    "phi3_long": (
        "phi3",
        {
            "max_position_embeddings": 128,
            "rope_parameters": LONGROPE | {"original_max_position_embeddings": 16},
        },
        {},
    ),
    "dynamic": (
        "llama",
        {
            "max_position_embeddings": 16,
            "rope_parameters": {"rope_type": "dynamic", "rope_theta": 1e4, "factor": 2.0},
        },
        {},
    ),
    "gpt_oss": (
        "gpt_oss",
        {"head_dim": 16, "num_local_experts": 4, "num_experts_per_tok": 2, "sliding_window": 8},
        {},
    ),
}


def peer_of(case):
    """A random model of transformers in float32 whose logits are spread out."""
    family, text, vision = CASES[case]
    tied = text.get("tie_word_embeddings", False)
    config = transformers.InternVLConfig(
        vision_config=transformers.InternVLVisionConfig(**(VISION | vision)).to_dict(),
        text_config=transformers.AutoConfig.for_model(family, **(TEXT | text)).to_dict(),
        image_token_id=IMAGE_TOKEN_ID,
        image_seq_length=4,
        tie_word_embeddings=tied,
        attn_implementation="eager",
    )
    torch.manual_seed(0)
    peer = transformers.InternVLForConditionalGeneration(config).eval()
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, parameter in peer.named_parameters():
            noise = torch.empty_like(parameter).normal_(0.0, 1.0, generator=generator)
            parameter.copy_(1 + 0.1 * noise if name.endswith("norm.weight") else 0.15 * noise)
    return peer
