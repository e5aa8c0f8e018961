"""The small files that transformers wants beside the weights: processor, tokenizer settings, chat template,
generation.

In: what we know about a model (`ModelConfig`, tokenizer, `ChatTemplate`). Out: JSON objects and the text of
a Jinja template. Called by `save.py` and `convert.py`. Their form is that of the published `-HF` checkpoints.
"""

from __future__ import annotations

import json
from typing import Any

from internvl.checkpoint.side_note import NOTE_KEY
from internvl.checkpoint.write_config import TokenIds
from internvl.config.model import Layout, ModelConfig
from internvl.preprocess.chat_template import ChatTemplate
from internvl.preprocess.processor import IMAGE_CONTEXT, IMAGE_END, IMAGE_START
from internvl.preprocess.sentencepiece_tokenizer import WORD_MARK, SentencePieceTokenizer
from internvl.preprocess.tokenizer import Tokenizer
from internvl.preprocess.transforms import IMAGENET

#: What transformers' processor replaces by the frames of a video; no token of the model.
VIDEO_TOKEN = "<video>"
_BICUBIC = 3


def picture_files(config: ModelConfig, layout: Layout) -> dict[str, dict[str, Any]]:
    """File name -> content of what says how pictures are prepared.

    In transformers' layout that is one file for version 5 and three for the versions before.
    """
    if layout == "github":
        return {"preprocessor_config.json": _clip_preprocessor(config)}
    pixels = {
        "do_convert_rgb": True,
        "do_normalize": True,
        "do_rescale": True,
        "do_resize": True,
        "image_mean": list(IMAGENET.mean),
        "image_std": list(IMAGENET.std),
        "resample": _BICUBIC,
        "rescale_factor": 1 / 255,
        "size": {"height": config.image_size, "width": config.image_size},
    }
    image = pixels | {
        # False as in the published checkpoints: InternVLProcessor itself asks for tiles unless told not to.
        "crop_to_patches": False,
        "min_patches": config.min_tiles,
        "max_patches": config.max_tiles,
    }
    video = pixels | {"do_sample_frames": False, "initial_shift": True, "return_metadata": False}
    video["video_processor_type"] = "InternVLVideoProcessor"
    owner = {"processor_class": "InternVLProcessor"}
    return {
        "processor_config.json": {
            **owner,
            "image_seq_length": config.tokens_per_tile,
            "image_processor": image | {"image_processor_type": "GotOcr2ImageProcessor"},
            "video_processor": video,
        },
        "preprocessor_config.json": image | owner | {"image_processor_type": "GotOcr2ImageProcessorFast"},
        "video_preprocessor_config.json": video | owner,
    }


def _clip_preprocessor(config: ModelConfig) -> dict[str, Any]:
    """preprocessor_config.json of the GitHub layout; its readers take only mean and std from it."""
    return {
        "crop_size": config.image_size,
        "do_center_crop": True,
        "do_normalize": True,
        "do_resize": True,
        "feature_extractor_type": "CLIPFeatureExtractor",
        "image_mean": list(IMAGENET.mean),
        "image_std": list(IMAGENET.std),
        "resample": _BICUBIC,
        "size": config.image_size,
    }


def generation_config(template: ChatTemplate, tokenizer: Tokenizer, ids: TokenIds) -> dict[str, Any]:
    """generation_config.json; the template's stop tokens end an answer, whatever the tokenizer calls eos."""
    stops = [tokenizer.token_to_id(token) for token in template.stop_tokens]
    known = [stop for stop in stops if stop is not None]
    return {
        "_from_model_config": False,
        "bos_token_id": ids.bos,
        "eos_token_id": known if len(known) > 1 else known[0],
        "pad_token_id": tokenizer.pad_token_id if tokenizer.pad_token_id is not None else ids.pad,
        "do_sample": False,
    }


def tokenizer_config(
    tokenizer: Tokenizer, template: ChatTemplate, *, qwen: bool, max_length: int, source: dict[str, Any]
) -> dict[str, Any]:
    """tokenizer_config.json for a tokenizer.json.

    Args:
        tokenizer: as loaded from the source.
        template: decides the token that ends an answer, which transformers wants as `eos_token`.
        qwen: whether transformers' own Qwen class may load it; the general class otherwise.
        max_length: tokens that the model takes.
        source: the files that this one stands for, kept so that the way back is exact.
    """
    names = tokenizer.names
    return {
        "tokenizer_class": "Qwen2Tokenizer" if qwen else "PreTrainedTokenizerFast",
        "processor_class": "InternVLProcessor",
        "model_max_length": max_length,
        "clean_up_tokenization_spaces": False,
        "add_prefix_space": False,
        "bos_token": names.bos,
        "eos_token": template.stop_tokens[0],
        "pad_token": names.pad,
        "unk_token": names.unk,
        "additional_special_tokens": list(names.additional),
        # InternVLProcessor asks the tokenizer for these four by name.
        "extra_special_tokens": {
            "start_image_token": IMAGE_START,
            "end_image_token": IMAGE_END,
            "context_image_token": IMAGE_CONTEXT,
            "video_token": VIDEO_TOKEN,
        },
        NOTE_KEY: source,
    }


def jinja_template(template: ChatTemplate, tokenizer: Tokenizer) -> str:
    """chat_template.jinja for a family's template, in transformers' convention.

    There is no default system message, and a picture stands where its part stands, followed by a line end.
    """
    frames = {"system": template.system, "user": template.user, "assistant": template.assistant}
    before = ", ".join(f"'{role}': {_literal(frame.before)}" for role, frame in frames.items())
    after = ", ".join(f"'{role}': {_literal(frame.after)}" for role, frame in frames.items())
    lines = [f"{{%- set before = {{{before}}} -%}}", f"{{%- set after = {{{after}}} -%}}"]
    if _needs_word_mark(template, tokenizer):
        # The reference's tokenizer puts a word mark before a conversation; a tokenizer.json cannot.
        lines.append(f"{{{{- {_literal(WORD_MARK)} -}}}}")
    if template.default_system == "":  # the form has a system part even when nothing is said in it
        empty = template.system.before + template.system.after
        lines.append(
            "{%- if messages[0]['role'] != 'system' -%}" + f"{{{{- {_literal(empty)} -}}}}" + "{%- endif -%}"
        )
    closing = ""
    if template.closing is not None:
        closing = f"{_literal(template.closing)} if loop.last and message['role'] == 'assistant' else "
    lines += [
        "{%- for message in messages -%}",
        "{{- before[message['role']] -}}",
        "{%- if message['content'] is string -%}",
        "{{- message['content'] -}}",
        "{%- else -%}",
        "{%- for part in message['content'] -%}",
        f"{{%- if part['type'] == 'image' -%}}{{{{- {_literal(IMAGE_CONTEXT + chr(10))} -}}}}",
        f"{{%- elif part['type'] == 'video' -%}}{{{{- {_literal(VIDEO_TOKEN + chr(10))} -}}}}",
        "{%- elif part['type'] == 'text' -%}{{- part['text'] -}}",
        "{%- endif -%}",
        "{%- endfor -%}",
        "{%- endif -%}",
        f"{{{{- {closing}after[message['role']] -}}}}",
        "{%- endfor -%}",
        "{%- if add_generation_prompt -%}",
        f"{{{{- {_literal(template.assistant.before.rstrip(' '))} -}}}}",
        "{%- endif -%}",
    ]
    return "\n".join(lines) + "\n"


def _literal(text: str) -> str:
    """A Jinja string literal; its escapes are those of JSON, without the double quotes' need for care."""
    return json.dumps(text, ensure_ascii=False)


def _needs_word_mark(template: ChatTemplate, tokenizer: Tokenizer) -> bool:
    """Whether the reference's ids of a conversation begin with a lone word mark (Phi-3)."""
    if not isinstance(tokenizer, SentencePieceTokenizer) or not tokenizer.style.mark_first:
        return False
    first = tokenizer.encode(template.user.before + "a")
    return first[len(tokenizer.prefix_ids) : len(tokenizer.prefix_ids) + 1] == [
        tokenizer.token_to_id(WORD_MARK)
    ]
