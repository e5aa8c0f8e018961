"""`internvl models`: the released checkpoints, what they need, and what fits this machine."""

from __future__ import annotations

import difflib
import fnmatch
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, get_args

import typer
from rich.console import Console
from rich.text import Text

from internvl.cli.machine import Machine, inspect_machine
from internvl.cli.output import amount, console, plain, print_json, print_table, table
from internvl.config import memory, presets
from internvl.config.memory import Dtype, Parameters
from internvl.config.presets import Preset
from internvl.errors import ConfigError

_DTYPES: tuple[Dtype, ...] = ("float32", "bfloat16", "int8", "int4")
_SHORT = {"float32": "fp32", "bfloat16": "bf16", "int8": "int8", "int4": "int4"}

#: What "fits" stands for: one conversation of this many tokens about one picture of 13 tiles.
_SESSION_LEN, _NUM_TILES, _PROMPT_TOKENS = 8192, 13, 3500

#: Terminals narrower than this get two lines per model.
_WIDE = 170


def command(
    pattern: Annotated[
        str,
        typer.Argument(help="Only names that contain this; * and ? as in file names.", show_default=False),
    ] = "",
    all_variants: Annotated[
        bool, typer.Option("--all", help="A line for every checkpoint, also -MPO, -Instruct, -HF and so on.")
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print JSON, with every checkpoint and number.")
    ] = False,
) -> None:
    """List the released checkpoints and the memory that each needs.

    "fits" names the most precise format in which one conversation about one picture fits this machine.
    """
    chosen = _select(pattern)
    machine = inspect_machine()
    if as_json:
        print_json([_as_dict(preset, machine) for preset in chosen])
        return
    if not pattern and not all_variants:
        chosen = [preset for preset in chosen if not preset.variant]
    _print(chosen, machine, with_variants=not pattern and not all_variants)


def _select(pattern: str) -> list[Preset]:
    known = list(presets.all_presets().values())
    if not pattern:
        return known
    wanted = pattern.lower()
    if not any(character in wanted for character in "*?["):
        wanted = f"*{wanted}*"
    matches = [preset for preset in known if fnmatch.fnmatch(preset.hub_id.lower(), wanted)]
    if not matches and "." in wanted:  # people write InternVL2.5, the hub writes InternVL2_5
        matches = [p for p in known if fnmatch.fnmatch(p.hub_id.lower(), wanted.replace(".", "_"))]
    if not matches:
        near = difflib.get_close_matches(pattern, [preset.name for preset in known], n=3, cutoff=0.5)
        hint = f"Did you mean {' or '.join(near)}?" if near else "Without a pattern all are listed."
        raise ConfigError(f"no released checkpoint matches {pattern!r}. {hint}")
    return matches


def parameters_of(preset: Preset) -> Parameters:
    """Return the parameters of any kind of checkpoint."""
    if preset.config is not None:
        return memory.count_parameters(preset.config)
    if preset.contrastive is not None:
        return memory.count_contrastive(preset.contrastive)
    return Parameters(vision=memory.count_vision(preset.vision))


def needed_bytes(preset: Preset, dtype: Dtype) -> int:
    """Return what one conversation about one picture takes; without a decoder, weights and runtime."""
    if preset.config is None:
        return memory.weight_bytes(parameters_of(preset), dtype) + memory.RUNTIME_BYTES
    return memory.estimate(
        preset.config,
        dtype=dtype,
        session_len=min(_SESSION_LEN, preset.context_length),
        num_tiles=min(_NUM_TILES, preset.config.max_tiles + 1),
        prompt_tokens=min(_PROMPT_TOKENS, preset.context_length),
    ).total


def _print(chosen: list[Preset], machine: Machine, *, with_variants: bool) -> None:
    out = console()
    wide = out.width >= _WIDE
    memory_columns = tuple(_SHORT[dtype] for dtype in _DTYPES)
    about = ("language model", "licence", *(("variants",) if with_variants else ())) if wide else ()
    made = table(
        "hub id" if wide else "OpenGVLab/",
        "params",
        "ctx",
        *memory_columns,
        "fits",
        *about,
        right=("params", "ctx", *memory_columns),
    )
    for preset in chosen:
        made.add_row(*_cells(preset, machine, wide=wide, with_variants=with_variants))
    out.print(plain(f"this machine: {machine.describe()}"))
    out.print(
        plain("params: billions; ctx: trained context in tokens; fp32 to int4: weights in GB (10^9 bytes)")
    )
    print_table(out, made)
    _print_notes(out, chosen, with_variants=with_variants)


def _cells(preset: Preset, machine: Machine, *, wide: bool, with_variants: bool) -> list[Text]:
    counted = parameters_of(preset)
    fitting = {dtype: machine.places(needed_bytes(preset, dtype), now=False) for dtype in _DTYPES}
    weights = [
        plain(f"{memory.weight_bytes(counted, dtype) / 1e9:.1f}", "green" if fitting[dtype] else "dim")
        for dtype in _DTYPES
    ]
    best = next((dtype for dtype in _DTYPES if fitting[dtype]), None)
    fits = "-" if best is None else _SHORT[best]
    if best is not None and machine.gpus:
        fits += f" {fitting[best][0]}"
    about = [preset.backbone or "-", _licences(preset)]
    name = plain(preset.hub_id if wide else preset.name, "bold")
    if wide and with_variants:
        about.append(" ".join(_variants(preset)))
    if not wide:
        name.append("\n" + ", ".join(filter("-".__ne__, about)), "not bold dim")
        about = []
    if preset.unsupported:
        name.append(" (not yet)", "not bold yellow")
    context = f"{preset.context_length // 1024}k" if preset.context_length >= 1024 else "-"
    return [
        name,
        plain(f"{counted.total / 1e9:.1f}"),
        plain(context),
        *weights,
        plain(fits),
        *map(plain, about),
    ]


def _licences(preset: Preset) -> str:
    """The card's licence, and the language model's where it is another one."""
    if preset.backbone_licence in ("", preset.licence, "Apache-2.0"):
        return preset.licence
    return f"{preset.licence} (LLM: {preset.backbone_licence})"


def _variants(preset: Preset) -> list[str]:
    return [p.variant for p in presets.all_presets().values() if p.base == preset.name and p.variant]


def _print_notes(out: Console, chosen: list[Preset], *, with_variants: bool) -> None:
    notes = ["int8 and int4 are for planning: weight-only formats, vision tower and embeddings in bf16"]
    for reason in dict.fromkeys(preset.unsupported for preset in chosen if preset.unsupported):
        notes.append(f"not yet: {reason}")
    if with_variants:
        notes.append(
            "a size's variants (-MPO, -Instruct, -HF, ...) have its shape and needs: --all lists them"
        )
    if (bundled := _bundled_bytes()) and with_variants:
        notes.insert(0, f"nano, the bundled model and default of every command: {amount(bundled)} of weights")
    notes.append("internvl plan MODEL --images 1280x720 shows what a request costs")
    for note in notes:
        out.print(plain(note, "dim"), soft_wrap=True)


def _bundled_bytes() -> int:
    """Size of nano's weights; 0 where the installation lacks them, which `internvl doctor` reports."""
    assets = resources.files("internvl") / "assets" / "nano"
    if not assets.is_dir():
        return 0
    files = [Path(str(file)) for file in assets.iterdir() if file.name.endswith(".safetensors")]
    return sum(file.stat().st_size for file in files)


def _as_dict(preset: Preset, machine: Machine) -> dict[str, Any]:
    counted = parameters_of(preset)
    config = preset.config
    dtypes: tuple[Dtype, ...] = get_args(Dtype)
    return {
        "name": preset.name,
        "hub_id": preset.hub_id,
        "kind": preset.kind,
        "release": preset.release,
        "variant_of": preset.base if preset.variant else None,
        "layout": config.layout if config else None,
        "parameters": {
            "total": counted.total,
            "active": counted.active,
            "vision": counted.vision,
            "projector": counted.projector,
            "text": counted.text,
        },
        "vision_tower": preset.vision_name,
        "backbone": preset.backbone or None,
        "context_length": preset.context_length or None,
        "max_position": config.text.max_position if config else None,
        "max_tiles": config.max_tiles if config else None,
        "tokens_per_tile": config.tokens_per_tile if config else None,
        "template": config.template if config else None,
        "licence": preset.licence,
        "backbone_licence": preset.backbone_licence or None,
        "supported": not preset.unsupported,
        "unsupported_reason": preset.unsupported or None,
        "weight_bytes": {dtype: memory.weight_bytes(counted, dtype) for dtype in dtypes},
        "needed_bytes": {dtype: needed_bytes(preset, dtype) for dtype in dtypes},
        "fits": {dtype: machine.places(needed_bytes(preset, dtype), now=False) for dtype in dtypes},
    }
