"""Recipes: TOML files -> `TrainConfig`. Every key is checked against the dataclasses; a typo is answered by its cure.

A recipe may begin with `base = "other.toml"` (relative to itself): what it says itself comes over what that one says.
"""

from __future__ import annotations

import dataclasses
import difflib
import tomllib
import types
import typing
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from internvl.errors import ConfigError
from internvl.train.config import TrainConfig

#: A chain of recipes longer than this is a circle.
MAX_BASES = 8


def read_recipe(path: str | Path, overrides: Sequence[str] = ()) -> TrainConfig:
    """Read a recipe; `overrides` are `section.key=value` as on the command line, the last one wins.

    Raises:
        ConfigError: No such file, no TOML, an unknown key (with the nearest one), or a value of the wrong kind.
    """
    values = _read(Path(path))
    for override in overrides:
        _override(values, override)
    return build(TrainConfig, values, str(path))


def build(kind: type[Any], values: Mapping[str, Any], where: str, section: str = "") -> Any:
    """Make the dataclass `kind` from a tree of plain values."""
    hints = typing.get_type_hints(kind)
    arguments = {}
    for key, value in values.items():
        name = f"{section}{key}"
        if key not in hints:
            raise ConfigError(f"{where}: unknown key {name!r}. {_nearest(kind, key, section)}")
        arguments[key] = _convert(hints[key], value, where, name)
    try:
        return kind(**arguments)
    except ConfigError as error:
        raise ConfigError(f"{where}: {error}") from None


def to_tree(config: Any) -> dict[str, Any]:
    """The plain values of a config, as JSON holds them; `build` of it gives the config again."""
    return dataclasses.asdict(config)


def _read(path: Path, depth: int = 0) -> dict[str, Any]:
    if depth > MAX_BASES:
        raise ConfigError(
            f"{path}: recipes build on each other more than {MAX_BASES} deep; is `base` a circle?"
        )
    try:
        with path.open("rb") as file:
            values = tomllib.load(file)
    except FileNotFoundError:
        raise ConfigError(f"there is no recipe {path}; name a .toml file, e.g. one of recipes/") from None
    except (OSError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(f"{path} cannot be read as a recipe: {error}") from None
    base = values.pop("base", None)
    if base is None:
        return values
    return _merge(_read(path.parent / base, depth + 1), values)


def _merge(below: dict[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    for key, value in above.items():
        if isinstance(value, dict) and isinstance(below.get(key), dict):
            _merge(below[key], value)
        else:
            below[key] = value
    return below


def _override(values: dict[str, Any], override: str) -> None:
    name, equals, text = override.partition("=")
    keys = name.strip().split(".")
    if not equals or not all(keys):
        raise ConfigError(f"--set {override!r}: expected section.key=value, e.g. run.steps=100")
    for key in keys[:-1]:
        values = values.setdefault(key, {})
        if not isinstance(values, dict):
            raise ConfigError(f"--set {override!r}: {key!r} is a value, not a section")
    values[keys[-1]] = _value(text.strip())


def _value(text: str) -> Any:
    """A TOML value; what is none is taken as the text it is, so that paths need no quotes."""
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def _nearest(kind: type[Any], key: str, section: str) -> str:
    known = [field.name for field in dataclasses.fields(kind)]
    near = difflib.get_close_matches(key, known, 1)
    if near:
        return f"Did you mean {section}{near[0]}?"
    # the right key in the wrong section is the commonest mistake
    for field in dataclasses.fields(TrainConfig):
        inner = typing.get_type_hints(TrainConfig)[field.name]
        if dataclasses.is_dataclass(inner):
            near = difflib.get_close_matches(key, [f.name for f in dataclasses.fields(inner)], 1, cutoff=0.8)
            if near:
                return f"Did you mean {field.name}.{near[0]}?"
    return f"Known: {', '.join(known)}"


def _convert(hint: Any, value: Any, where: str, name: str) -> Any:
    """Check `value` against a type hint; integers are fine as floats, arrays become tuples."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if dataclasses.is_dataclass(hint) and isinstance(hint, type):
        if not isinstance(value, Mapping):
            raise ConfigError(f"{where}: {name} is a section, [{name}]; found {value!r}")
        return build(hint, value, where, f"{name}.")
    if origin in (types.UnionType, typing.Union):
        if value is None or (value == "none" and type(None) in arguments):
            return None
        inner = [argument for argument in arguments if argument is not type(None)]
        fitting = [argument for argument in inner if isinstance(value, _plain_types(argument))]
        return _convert((fitting or inner)[0], value, where, name)
    if origin is typing.Literal:
        if value in arguments:
            return value
        near = difflib.get_close_matches(str(value), [str(a) for a in arguments], 1)
        hint_text = f" Did you mean {near[0]!r}?" if near else ""
        raise ConfigError(
            f"{where}: {name} is {value!r}; expected one of {', '.join(map(str, arguments))}.{hint_text}"
        )
    if origin is tuple:
        return _convert_tuple(arguments, value, where, name)
    if hint is Any:
        return value
    if origin in (dict, Mapping):
        if not isinstance(value, Mapping):
            raise ConfigError(f"{where}: {name} is a table; found {value!r}")
        return {key: _convert(arguments[1], item, where, f"{name}.{key}") for key, item in value.items()}
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if type(value) is not hint:
        expected = {bool: "true or false", int: "a whole number", float: "a number", str: "a text"}[hint]
        raise ConfigError(f"{where}: {name} is {value!r}; expected {expected}")
    return value


def _plain_types(hint: Any) -> tuple[type, ...]:
    """What a TOML value for this hint may be."""
    origin = typing.get_origin(hint) or hint
    if origin is tuple:
        return (list, tuple)
    return (origin,) if isinstance(origin, type) else (str, int, float)


def _convert_tuple(arguments: tuple[Any, ...], value: Any, where: str, name: str) -> tuple[Any, ...]:
    if isinstance(value, str) and arguments[0] is str:
        value = [value]
    if not isinstance(value, list | tuple):
        raise ConfigError(f"{where}: {name} is {value!r}; expected a list")
    if arguments[-1] is not Ellipsis and len(value) != len(arguments):
        raise ConfigError(f"{where}: {name} holds {len(value)} values; expected {len(arguments)}")
    return tuple(_convert(arguments[0], item, where, name) for item in value)
