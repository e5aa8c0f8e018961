"""The package as such: what importing it costs, what it exports, that every module loads.

What is loaded is asserted, in fresh processes; how long it takes is for benchmarks/startup.py.
"""

import importlib
import json
import pkgutil
import subprocess
import sys
from importlib import resources

import pytest

import internvl

#: Libraries that a start must not wait for.
HEAVY = {
    "torch",
    "numpy",
    "PIL",
    "rich",
    "tokenizers",
    "sentencepiece",
    "safetensors",
    "huggingface_hub",
    "httpx",
}

#: In extras that the development install leaves out.
OPTIONAL = {"gradio"}

#: Never imported by the package, only by its tests.
FOREIGN = {"transformers", "lmdeploy", "vllm", "timm", "torchvision"}


def loaded_after(*lines):
    """Names of the top-level modules that a fresh interpreter has loaded after these lines."""
    script = "\n".join(
        [*lines, "import json, sys", "print(json.dumps(sorted({n.split('.')[0] for n in sys.modules})))"]
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=120, check=True
    )
    return set(json.loads(done.stdout.splitlines()[-1]))


def module_names():
    return [module.name for module in pkgutil.walk_packages(internvl.__path__, "internvl.")]


def test_importing_the_package_loads_nothing_heavy():
    assert loaded_after("import internvl") & HEAVY == set()


def test_the_help_loads_nothing_heavy():
    assert loaded_after("from internvl.cli.main import run", "assert run(['--help']) == 0") & HEAVY == set()


def test_commands_that_only_compute_sizes_load_no_torch():
    line = "assert run(['plan', 'InternVL2_5-8B', '--images', '1280x720']) == 0; assert run(['models']) == 0"
    assert "torch" not in loaded_after("from internvl.cli.main import run", line)


def test_command_modules_and_configurations_load_no_torch():
    light = [
        name
        for name in module_names()
        if name.startswith(("internvl.cli.", "internvl.config", "internvl.types", "internvl.errors"))
    ]
    assert len(light) > 10
    assert "torch" not in loaded_after(*(f"import {name}" for name in light))


@pytest.mark.parametrize("name", [name for name in module_names() if not name.endswith("__main__")])
def test_every_module_imports(name):
    try:
        importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name not in OPTIONAL:
            raise
        pytest.skip(f"{error.name} is not installed (extra demo)")


@pytest.mark.slow
def test_no_module_imports_a_foreign_implementation():
    imports = [f"import {name}" for name in module_names() if not name.endswith("__main__")]
    assert loaded_after(*imports) & FOREIGN == set()


@pytest.mark.parametrize("name", internvl.__all__)
def test_every_public_name_is_there(name):
    assert getattr(internvl, name) is not None


def test_public_names_are_listed_once_and_shown_by_dir():
    assert len(set(internvl.__all__)) == len(internvl.__all__)
    assert set(internvl.__all__) <= set(dir(internvl))


def test_a_name_that_does_not_exist_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no_such_name"):
        _ = internvl.no_such_name


def test_the_package_says_that_it_is_typed():
    assert (resources.files("internvl") / "py.typed").is_file()


def test_the_module_runs_as_a_program():
    done = subprocess.run(
        [sys.executable, "-m", "internvl", "--version"], capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stdout) == (0, f"internvl {internvl.__version__}\n")
