"""The recorded conversations as messages and model inputs, for parity tests of what follows the processor."""

import json
from collections.abc import Iterator
from pathlib import Path

import torch
from PIL import Image
from safetensors.torch import load_file

from golden import GOLDEN
from internvl.types import ModelInputs

GITHUB = sorted(path.parents[1].name for path in GOLDEN.glob("checkpoints/*/golden/golden.json"))
HF = sorted(path.parents[1].name for path in GOLDEN.glob("checkpoints_hf/*/golden/golden.json"))


def read_recording(directory: Path) -> dict:
    return json.loads((directory / "golden" / "golden.json").read_text())


def picture_parts(recording: dict, names: list[str] | None) -> list[dict]:
    """Content parts for "image0", "frames", ...; opened, so that intake changes nothing (FACTS 6.1)."""
    parts = []
    for name in names or ():
        entries = recording["frames"] if name == "frames" else [recording["images"][int(name[5:])]]
        for entry in entries:
            image = Image.open(GOLDEN / "images" / entry["file"])
            limits = {"max_tiles": entry["max_num"], "thumbnail": entry["use_thumbnail"]}
            parts.append({"type": "image", "image": image, **limits})
    return parts


def messages_of(recording: dict, case: dict) -> list[dict]:
    """One recorded chat() call: its history, pictures and question."""
    pictures = picture_parts(recording, case["pixel_values"])
    messages = []
    if case["system_message"] is not None:
        messages.append({"role": "system", "content": case["system_message"]})
    for question, answer in case["history"] or ():
        shown, pictures = pictures[: question.count("<image>")], pictures[question.count("<image>") :]
        messages.append({"role": "user", "content": [*shown, {"type": "text", "text": question}]})
        messages.append({"role": "assistant", "content": answer})
    messages.append({"role": "user", "content": [*pictures, {"type": "text", "text": case["question"]}]})
    return messages


def batch_messages(recording: dict) -> list[list[dict]]:
    """The conversations of the recorded batch_chat() call."""
    case = recording["cases"]["batch_chat"]
    return [
        [
            {
                "role": "user",
                "content": [*picture_parts(recording, [image]), {"type": "text", "text": question}],
            }
        ]
        for question, image in zip(case["questions"], case["pixel_values"], strict=True)
    ]


def hf_inputs(directory: Path, recording: dict) -> Iterator[tuple[str, list[ModelInputs]]]:
    """Each recorded transformers case as model inputs without padding.

    The pixels are the recorded ones, since those answers were made with torchvision's resize, not Pillow's;
    the cases whose pixels were not recorded are left out.
    """
    tensors = load_file(directory / "golden" / "golden.safetensors")
    for name, case in recording["cases"].items():
        tiles = tensors.get(f"{name}.pixel_values")
        if tiles is None and case["num_tiles"]:
            continue
        image_token_id = recording["config"]["image_token_id"]
        per_tile = None
        if tiles is not None:
            num_image_tokens = sum(ids.count(image_token_id) for ids in case["input_ids"])
            per_tile = num_image_tokens // len(tiles)
        rows = []
        for ids, mask in zip(case["input_ids"], case["attention_mask"], strict=True):
            real = [i for i, keep in zip(ids, mask, strict=True) if keep]
            count = real.count(image_token_id) // per_tile if per_tile else 0
            mine, tiles = (tiles[:count], tiles[count:]) if count else (None, tiles)
            rows.append(ModelInputs(input_ids=torch.tensor(real), pixel_values=mine))
        yield name, rows


def until_stop(ids: list[int], stop: int | tuple[int, ...]) -> list[int]:
    """Recorded ids up to and including the first stop token (behind it the reference only pads)."""
    stops = (stop,) if isinstance(stop, int) else stop
    end = next((i for i, token in enumerate(ids) if token in stops), len(ids) - 1)
    return ids[: end + 1]
