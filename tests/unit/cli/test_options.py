"""What an option means does not depend on the command, and what happens without it stands in `EngineConfig`."""

import dataclasses
import importlib
import inspect
import typing

import pytest
import typer

from internvl.engine.config import EngineConfig

COMMANDS = ("chat", "batch", "serve", "demo")
#: Lists of NAME=DIRECTORY on the command line are a mapping in the configuration.
OF_ANOTHER_FORM = {"adapters"}
FIELDS = {
    field.name: field.default
    for field in dataclasses.fields(EngineConfig)
    if field.name not in OF_ANOTHER_FORM
}
#: LMDeploy's name for one of ours.
SPELLED = {"vision_max_batch_size": "vision_batch_size"}


def engine_options(name):
    """Parameter name -> its default, option and type, for those that are fields of EngineConfig."""
    command = importlib.import_module(f"internvl.cli.{name}").command
    hints = typing.get_type_hints(command, include_extras=True)
    found = {}
    for parameter in inspect.signature(command).parameters.values():
        field = SPELLED.get(parameter.name, parameter.name)
        if field in FIELDS:
            found[field] = (parameter.default, hints[parameter.name])
    return found


@pytest.mark.parametrize("name", COMMANDS)
def test_without_an_option_the_engine_does_as_its_configuration_says(name):
    options = engine_options(name)
    assert {"session_len", "dtype", "quantize", "device", "revision", "max_tiles"} <= options.keys()
    assert {field: default for field, (default, _) in options.items()} == {
        field: FIELDS[field] for field in options
    }


@pytest.mark.parametrize("name", COMMANDS)
def test_options_of_one_name_are_the_same_in_every_command(name):
    served = engine_options("serve")
    options = engine_options(name)
    for field in served.keys() & options.keys():
        mine, its = typing.get_args(options[field][1]), typing.get_args(served[field][1])
        assert mine[0] == its[0], field
        assert (mine[1].help, mine[1].min) == (its[1].help, its[1].min), field


def test_serve_has_an_option_for_what_its_memory_and_speed_depend_on():
    options = engine_options("serve")
    assert {"max_batch_size", "cache_max_tokens", "prefill_chunk_tokens", "cache_max_entry_count"} <= set(
        options
    )
    assert all(isinstance(typing.get_args(hint)[1], typer.models.OptionInfo) for _, hint in options.values())
