"""What one layout's config.json has no field for, kept under a key of our own, so that a round trip loses
nothing.

transformers' format knows no LLM family behind Llama's shape, no template, thumbnail or pixel shuffle
version; upstream's knows no template of transformers' kind. Other programs ignore the key. Written by
`write_config`, read by `hf_config`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, get_args

from internvl.config.model import Layout, ModelConfig, TilePolicy
from internvl.errors import CheckpointError

#: Key of the note in config.json and in tokenizer_config.json.
NOTE_KEY = "internvl"

#: Part of the description -> fields of it that only the note can hold.
_IN_TRANSFORMERS: dict[str, tuple[str, ...]] = {
    "": ("template", "release", "use_thumbnail", "dynamic_tiling", "tile_policy"),
    "vision": ("drop_path_rate",),
    "projector": ("pixel_shuffle", "norm_eps"),
    "text": ("family",),
}
_IN_GITHUB: dict[str, tuple[str, ...]] = {
    "": ("template", "release", "tile_policy"),
    "projector": ("norm_eps",),
}


def note_of(config: ModelConfig, layout: Layout) -> dict[str, Any]:
    """The note that belongs into a config.json of this layout."""
    table = _IN_GITHUB if layout == "github" else _IN_TRANSFORMERS
    return {
        f"{part}.{name}" if part else name: getattr(getattr(config, part) if part else config, name)
        for part, names in table.items()
        for name in names
        if not (name == "tile_policy" and config.tile_policy == "reference")  # nothing to note
    }


def apply_note(config: ModelConfig, values: Mapping[str, Any], where: str) -> ModelConfig:
    """The description with what the note of its config.json adds; unchanged where there is none.

    Args:
        config: as read from the fields that other programs know.
        values: the whole config.json.
        where: its path, for errors.

    Raises:
        CheckpointError: a field that the note cannot hold, or a value of the wrong kind.
    """
    note = values.get(NOTE_KEY)
    if note is None:
        return config
    if not isinstance(note, dict):
        raise CheckpointError(f"{where}: '{NOTE_KEY}' holds {type(note).__name__}; expected an object")
    changes: dict[str, dict[str, Any]] = {part: {} for part in _IN_TRANSFORMERS}
    for key, value in note.items():
        part, _, name = key.rpartition(".")
        if name not in _IN_TRANSFORMERS.get(part, ()):
            raise CheckpointError(f"{where}: '{NOTE_KEY}' has an unknown entry {key!r}")
        owner = getattr(config, part) if part else config
        present = getattr(owner, name)
        if type(value) is not type(present) and not (isinstance(present, float) and type(value) is int):
            raise CheckpointError(
                f"{where}: '{NOTE_KEY}' has {key} = {value!r}; expected {type(present).__name__}"
            )
        changes[part][name] = value
    _check_choices(config, changes, where)
    inner = {part: replace(getattr(config, part), **new) for part, new in changes.items() if part and new}
    return replace(config, **changes[""], **inner)


def _check_choices(config: ModelConfig, changes: Mapping[str, Mapping[str, Any]], where: str) -> None:
    # Only these are spelled as another family in transformers' layout, see `write_config`.
    disguised = {"llama", "internlm2", "internlm3"} if config.text.family in ("llama", "qwen2") else set()
    families = {config.text.family} | disguised
    choices = (
        ("text", "family", families),
        ("projector", "pixel_shuffle", {"v1", "v2"}),
        ("", "tile_policy", set(get_args(TilePolicy))),
    )
    for part, name, allowed in choices:
        value = changes[part].get(name)
        if value is not None and value not in allowed:
            raise CheckpointError(
                f"{where}: '{NOTE_KEY}' has {f'{part}.{name}'.lstrip('.')} = {value!r}; "
                f"expected {' or '.join(sorted(allowed))}"
            )
