"""The tokenizer and generation files of a checkpoint, written in the form of either layout.

In: a checkpoint directory. Out: the same tokenizer beside new weights. Between the layouts only the
wrapping changes: transformers wants a tokenizer.json, and keeps the original files under a note, from which
the way back is exact. Called by `save.py` and `convert.py`.
"""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from internvl.checkpoint.hf_config import read_image_token_id
from internvl.checkpoint.output import write_json
from internvl.checkpoint.side_note import NOTE_KEY
from internvl.checkpoint.tokenizer_json import as_tokenizer_json
from internvl.checkpoint.transformers_files import (
    generation_config,
    jinja_template,
    tokenizer_config,
)
from internvl.checkpoint.write_config import TokenIds
from internvl.config.files import read_json_object
from internvl.config.model import Layout, ModelConfig
from internvl.errors import CheckpointError
from internvl.preprocess.bpe_tokenizer import BpeTokenizer
from internvl.preprocess.chat_template import ChatTemplate, template_of
from internvl.preprocess.tokenizer import Tokenizer, load_tokenizer

#: Vocabularies, copied byte for byte in both directions.
VOCABULARY = ("tokenizer.model", "vocab.json", "merges.txt", "added_tokens.json")
#: Settings that point to code, or to transformers' processor; neither belongs to a tokenizer on its own.
_FOREIGN = ("auto_map", "processor_class")
_QWEN = ("qwen2", "qwen3", "qwen3_moe")


@dataclass(frozen=True, slots=True)
class TokenizerSource:
    """A tokenizer and the directory it came from."""

    directory: Path
    tokenizer: Tokenizer
    template: ChatTemplate
    ids: TokenIds
    settings: dict[str, Any]
    """tokenizer_config.json of the GitHub layout, without code references."""
    special_map: dict[str, Any] | None
    """special_tokens_map.json, where there is one."""
    generated_json: bool
    """Whether tokenizer.json was made from the other files."""


def read_source(directory: Path, config: ModelConfig) -> TokenizerSource:
    """Read the tokenizer that belongs to a model."""
    tokenizer = load_tokenizer(directory)
    stored = _optional_json(directory / "tokenizer_config.json") or {}
    note = stored.get(NOTE_KEY)
    has_json = (directory / "tokenizer.json").is_file()
    if note is None:
        settings, special_map = stored, _optional_json(directory / "special_tokens_map.json")
        generated = not has_json
    else:
        settings, special_map, generated = _read_note(note, directory / "tokenizer_config.json")
    ids = TokenIds(image=_image_token_id(directory, tokenizer), **_config_ids(directory))
    settings = {key: value for key, value in settings.items() if key not in _FOREIGN}
    return TokenizerSource(directory, tokenizer, template_of(config), ids, settings, special_map, generated)


def write_tokenizer(source: TokenizerSource, target: Path, config: ModelConfig, layout: Layout) -> None:
    """Write vocabulary, tokenizer settings, generation settings and, for transformers, the chat template."""
    for name in VOCABULARY:
        if (source.directory / name).is_file():
            shutil.copyfile(source.directory / name, target / name)
    if layout == "hf":
        _write_for_transformers(source, target, config)
    else:
        _write_for_github(source, target, config)


def _write_for_transformers(source: TokenizerSource, target: Path, config: ModelConfig) -> None:
    tokenizer, template = source.tokenizer, source.template
    if source.generated_json:
        as_tokenizer_json(tokenizer, source.directory).save(str(target / "tokenizer.json"))
    else:
        shutil.copyfile(source.directory / "tokenizer.json", target / "tokenizer.json")
    note = {
        "tokenizer_config": source.settings,
        "special_tokens_map": source.special_map,
        "generated_json": source.generated_json,
    }
    settings = tokenizer_config(
        tokenizer,
        template,
        qwen=config.text.family in _QWEN,
        max_length=config.text.max_position,
        source=note,
    )
    write_json(target / "tokenizer_config.json", settings)
    write_json(target / "generation_config.json", generation_config(template, tokenizer, source.ids))
    (target / "chat_template.jinja").write_text(jinja_template(template, tokenizer), encoding="utf-8")


def _write_for_github(source: TokenizerSource, target: Path, config: ModelConfig) -> None:
    if not source.generated_json:
        shutil.copyfile(source.directory / "tokenizer.json", target / "tokenizer.json")
        if config.text.family in _QWEN:
            _write_slow_vocabulary(source.tokenizer, target)
    write_json(target / "tokenizer_config.json", source.settings)
    if source.special_map is not None:
        write_json(target / "special_tokens_map.json", source.special_map)
    write_json(
        target / "generation_config.json", generation_config(source.template, source.tokenizer, source.ids)
    )


def _write_slow_vocabulary(tokenizer: Tokenizer, target: Path) -> None:
    """vocab.json and merges.txt of a byte-level tokenizer.json: upstream's code asks for Qwen's slow tokenizer."""
    if not isinstance(tokenizer, BpeTokenizer) or (target / "vocab.json").exists():
        return
    model = json.loads(tokenizer.model.to_str())
    if model["model"]["type"] != "BPE" or (model.get("decoder") or {}).get("type") != "ByteLevel":
        return
    pairs = [pair if isinstance(pair, str) else " ".join(pair) for pair in model["model"]["merges"]]
    (target / "merges.txt").write_text("\n".join(["#version: 0.2", *pairs, ""]), encoding="utf-8")
    write_json(target / "vocab.json", model["model"]["vocab"])
    write_json(
        target / "added_tokens.json", {token.content: token.id for token in tokenizer.added_tokens.values()}
    )


def _read_note(note: Any, where: Path) -> tuple[dict[str, Any], dict[str, Any] | None, bool]:
    if isinstance(note, dict):
        settings, special_map = note.get("tokenizer_config"), note.get("special_tokens_map")
        generated = note.get("generated_json")
        if (
            isinstance(settings, dict)
            and isinstance(special_map, dict | None)
            and isinstance(generated, bool)
        ):
            return settings, special_map, generated
    raise CheckpointError(
        f"{where}: '{NOTE_KEY}' should hold tokenizer_config, special_tokens_map and generated_json as "
        "`internvl convert` writes them; delete the entry to use the file as it is"
    )


def _image_token_id(directory: Path, tokenizer: Tokenizer) -> int:
    """The id in the files; it has to be the tokenizer's own."""
    image = read_image_token_id(directory)
    if tokenizer.id_to_token(image) != "<IMG_CONTEXT>":
        raise CheckpointError(
            f"{directory}: config.json says that the image token is {image}, which the tokenizer spells "
            f"{tokenizer.id_to_token(image)!r}; they are of two checkpoints"
        )
    return image


def _config_ids(directory: Path) -> dict[str, int | None]:
    """bos, eos and pad as the language model's part of config.json has them."""
    values = read_json_object(directory / "config.json")
    text = values.get("llm_config") or values.get("text_config") or {}
    found = {name: text.get(f"{name}_token_id") for name in ("bos", "eos", "pad")}
    return {name: value if isinstance(value, int) else None for name, value in found.items()}


def _optional_json(file: Path) -> dict[str, Any] | None:
    return read_json_object(file) if file.is_file() else None
