"""The model that a command line names, as shapes: a released checkpoint, a directory, nano, a test model."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from internvl.config import presets
from internvl.config.model import ModelConfig
from internvl.errors import CheckpointError, ConfigError


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownModel:
    """Shapes of one model, and where they came from."""

    name: str
    config: ModelConfig
    source: str
    """"released checkpoint", or the directory whose config.json was read."""
    context_length: int
    """Tokens that it was trained to handle, as far as known."""
    base: str = ""
    """The released checkpoint of this shape; empty for directories."""


def find_model(name: str) -> KnownModel:
    """Return the shapes of a preset, hub id, directory, "nano" or "tiny-FAMILY".

    Weights are not needed, and nothing is downloaded. Raises ConfigError with the nearest spellings when
    nothing has this name, CheckpointError when a directory is no checkpoint.
    """
    if name == "nano" or Path(name).expanduser().exists() or name.startswith(("/", "./", "../", "~")):
        return _from_directory(name)
    if name.startswith("tiny-") and (family := name.removeprefix("tiny-")) in presets.TINY_FAMILIES:
        config = presets.tiny(family)
        return KnownModel(
            name=name, config=config, source="test model", context_length=config.text.max_position
        )
    organisation, _, rest = name.rpartition("/")
    if organisation not in ("", "OpenGVLab") and "/" not in organisation and rest:
        return _from_cache(name)
    preset = presets.find(name)
    if preset.config is None:
        raise ConfigError(
            f"{preset.name} is a {preset.kind} model without a decoder to plan for; "
            "name a chat model (`internvl models` lists them)"
        )
    return KnownModel(
        name=preset.hub_id,
        config=preset.config,
        source="released checkpoint",
        context_length=preset.context_length,
        base=preset.base,
    )


def _from_directory(name: str) -> KnownModel:
    from internvl.checkpoint.hf_config import read_model_config
    from internvl.checkpoint.hub import resolve

    directory = resolve(name)
    config = read_model_config(directory)
    return KnownModel(
        name=name, config=config, source=str(directory), context_length=config.text.max_position
    )


def _from_cache(name: str) -> KnownModel:
    """A hub id that is no release of ours: someone's fine-tune, if it was downloaded before."""
    from internvl.checkpoint.hf_config import read_model_config
    from internvl.checkpoint.hub import resolve

    try:
        directory = resolve(name, offline=True)
    except CheckpointError as error:
        raise ConfigError(
            f"{name} is no released checkpoint and is not in the local cache; name the release that it was "
            "tuned from (`internvl models` lists them), or its directory"
        ) from error
    config = read_model_config(directory)
    return KnownModel(
        name=name, config=config, source=str(directory), context_length=config.text.max_position
    )
