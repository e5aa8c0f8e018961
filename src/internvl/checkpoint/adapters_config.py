"""adapter_config.json as PEFT writes it: read with everything checked that changes what an adapter computes."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from internvl.config.files import read_json_object
from internvl.errors import CheckpointError

CONFIG_NAME = "adapter_config.json"

#: Fields that make an adapter compute something else, the values that ask for nothing, and what else there is to do.
_REFUSED: dict[str, tuple[tuple[Any, ...], str]] = {
    "bias": (("none", None), "train it without, or merge it with peft"),
    "lora_bias": ((False, None), "train it without, or merge it with peft"),
    "fan_in_fan_out": ((False, None), "that is for GPT-2's layers, which this family has none of"),
    "layer_replication": ((None, []), "merge it with peft"),
    "target_parameters": ((None, []), "experts cannot be adapted here; merge it with peft"),
    "trainable_token_indices": ((None, [], {}), "merge it with peft"),
    "alora_invocation_tokens": ((None, []), "activated LoRA is not known here"),
    "arrow_config": ((None,), "merge it with peft"),
    "use_qalora": ((False, None), "merge it with peft"),
    "use_bdlora": ((False, None), "merge it with peft"),
    "kasa_config": ((None,), "merge it with peft"),
    "monteclora_config": ((None,), "merge it with peft"),
}

#: Ways to start that leave the base weights alone; the others (PiSSA, OLoRA, LoftQ, ...) change them.
_PLAIN_STARTS = (True, False, None, "gaussian", "orthogonal", "eva")


@dataclass(frozen=True, slots=True, kw_only=True)
class AdapterConfig:
    """What the numbers in an adapter's file mean."""

    r: int
    alpha: float
    dropout: float = 0.0
    use_rslora: bool = False
    use_dora: bool = False
    rank_pattern: Mapping[str, int] = field(default_factory=dict)
    """Names of modules (as PEFT matches them) -> ranks other than `r`."""
    alpha_pattern: Mapping[str, float] = field(default_factory=dict)
    modules_to_save: tuple[str, ...] = ()
    """Modules that are stored whole."""
    base: str | None = None
    """The model that it was trained on, as its writer called it."""

    def rank_of(self, module: str) -> int:
        """The rank of a module, by its stored name."""
        return _by_pattern(self.rank_pattern, module, self.r)

    def alpha_of(self, module: str) -> float:
        """The alpha of a module, by its stored name."""
        return _by_pattern(self.alpha_pattern, module, self.alpha)


def read_adapter_config(directory: Path) -> AdapterConfig:
    """Read and check a directory's adapter_config.json.

    Raises:
        CheckpointError: It is no LoRA, or of a kind that this package would compute wrongly; by name.
    """
    file = directory / CONFIG_NAME
    content = read_json_object(file)

    def refuse(what: str) -> CheckpointError:
        return CheckpointError(f"{file}: {what}")

    if content.get("peft_type") != "LORA":
        raise refuse(
            f"peft_type is {content.get('peft_type')!r}; only LORA adapters (DoRA among them) are read"
        )
    for name, (harmless, instead) in _REFUSED.items():
        value = content.get(name)
        if value not in harmless:
            raise refuse(f"{name}={value!r} is not supported; {instead}")
    start = content.get("init_lora_weights", True)
    if start not in _PLAIN_STARTS:
        raise refuse(
            f"init_lora_weights={start!r} changed the base weights too; save it with peft's "
            "path_initial_model_for_weight_conversion, which makes a plain LoRA of it"
        )
    r: Any = content.get("r")
    alpha: Any = content.get("lora_alpha")
    dropout: Any = content.get("lora_dropout", 0.0)
    if type(r) is not int or r < 1:
        raise refuse(f"r is {r!r}; expected a whole number of at least 1")
    if not _is_number(alpha) or not _is_number(dropout) or not 0 <= dropout < 1:
        raise refuse(f"lora_alpha {alpha!r} or lora_dropout {dropout!r} is no number in its range")
    ranks, alphas = content.get("rank_pattern") or {}, content.get("alpha_pattern") or {}
    if not isinstance(ranks, dict) or not all(type(rank) is int and rank > 0 for rank in ranks.values()):
        raise refuse("rank_pattern is not an object of positive whole numbers")
    if not isinstance(alphas, dict) or not all(_is_number(each) for each in alphas.values()):
        raise refuse("alpha_pattern is not an object of numbers")
    for pattern in (*ranks, *alphas):
        # Any regular expression is allowed by PEFT, but one from a file may take for ever: names and wildcards do.
        if not re.fullmatch(r"\^?[\w.\\*+|()?:-]*\$?", pattern) or re.search(r"[*+][)*+?]|\)[*+]", pattern):
            raise refuse(f"the pattern {pattern!r} is no name of modules")
    saved = content.get("modules_to_save") or []
    if not isinstance(saved, list) or not all(isinstance(name, str) for name in saved):
        raise refuse("modules_to_save is not a list of names")
    base = content.get("base_model_name_or_path")
    return AdapterConfig(
        r=r,
        alpha=float(alpha),
        dropout=float(dropout),
        use_rslora=_flag(content, "use_rslora", refuse),
        use_dora=_flag(content, "use_dora", refuse),
        rank_pattern=ranks,
        alpha_pattern={name: float(each) for name, each in alphas.items()},
        modules_to_save=tuple(saved),
        base=base if isinstance(base, str) else None,
    )


def adapter_config_json(config: AdapterConfig, targets: list[str]) -> dict[str, Any]:
    """The file's content: the fields that say something; PEFT has defaults for the others."""
    return {
        "peft_type": "LORA",
        "task_type": None,
        "base_model_name_or_path": config.base,
        "inference_mode": True,
        "r": config.r,
        "lora_alpha": int(config.alpha) if config.alpha == int(config.alpha) else config.alpha,
        "lora_dropout": config.dropout,
        "use_rslora": config.use_rslora,
        "use_dora": config.use_dora,
        "target_modules": targets,
        "rank_pattern": dict(config.rank_pattern),
        "alpha_pattern": dict(config.alpha_pattern),
        "modules_to_save": list(config.modules_to_save) or None,
        "bias": "none",
        "fan_in_fan_out": False,
        "init_lora_weights": True,
    }


def shortest_targets(modules: set[str], everything: set[str]) -> list[str]:
    """Names for `target_modules`: the last words of `modules` where these name nothing else, else whole names."""
    words = {module.rpartition(".")[2] for module in modules}
    meant = {module for module in everything if module.rpartition(".")[2] in words}
    return sorted(words if meant == modules else modules)


def most_common(values: list[Any]) -> Any:
    """The value that most have."""
    return Counter(values).most_common(1)[0][0]


def _by_pattern(patterns: Mapping[str, Any], module: str, default: Any) -> Any:
    """As PEFT looks a module up: the first pattern that is the name's end, from a dot on."""
    for pattern, value in patterns.items():
        if re.match(rf"(.*\.)?({pattern})$", module):
            return value
    return default


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _flag(content: dict[str, Any], name: str, refuse: Any) -> bool:
    value = content.get(name, False)
    if not isinstance(value, bool):
        raise refuse(f"{name} is {value!r}; expected true or false")
    return value
